"""Codebooks: the k-means codewords by which bags of words count and VLAD sums residuals."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from cinefeat.classifiers.bags import as_bag, is_single, stack_bags
from cinefeat.classifiers.kmeans import kmeans, nearest, squared_distances, squared_to_all
from cinefeat.classifiers.sampling import seed_sequence
from cinefeat.classifiers.types import Array, RandomState


class KMeansCodebook(TransformerMixin, BaseEstimator):
    """Learn codewords by k-means: Lloyd from k-means++ seeds, the best of several starts.

    Parameters
    ----------
    n_words : int
        K, the number of codewords.
    n_init : int
        Starts from different seeds; the one of least inertia is kept.
    max_iter : int
        The most passes of one start over all descriptors and codewords.
    tol : float
        A start ends when such a pass lowers the inertia by less than this part of itself.
    branching : int, optional
        Learn the codewords as leaves of a tree: the sample is split into `branching` clusters, each
        of which gets codewords in proportion to its descriptors and is split again while it has
        more than `branching`. Faster for many words, at a somewhat greater inertia. None is one
        flat k-means. Descriptors are assigned to the nearest of all leaves either way.
    device : str
        Where the products run: "cpu" or a torch device such as "cuda".
    random_state : int, Generator, RandomState or None
        The seed; None gives another codebook each time.

    Attributes
    ----------
    codewords_ : ndarray of shape (K, D), float32
    inertia_ : float
        Sum over the sample of the squared distance to the nearest codeword.
    bandwidth_ : float
        Root mean squared distance of the sample to its nearest codewords.
    n_features_in_ : int
        D.

    Examples
    --------
    >>> sample = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> codebook = KMeansCodebook(n_words=2, random_state=0).fit([sample])
    >>> np.sort(codebook.codewords_.ravel())
    array([0.5, 9.5], dtype=float32)
    >>> codebook.inertia_
    1.0
    """

    def __init__(
        self,
        n_words: int = 4000,
        *,
        n_init: int = 8,
        max_iter: int = 100,
        tol: float = 1e-3,
        branching: int | None = None,
        device: str = "cpu",
        random_state: RandomState = None,
    ) -> None:
        self.n_words = n_words
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.branching = branching
        self.device = device
        self.random_state = random_state

    def fit(self, bags: Iterable[Array] | Array, y: Any = None) -> Self:
        """Learn the codewords of all descriptors of `bags`.

        Parameters
        ----------
        bags : iterable of (N_i, D) arrays, or one (N, D) array
            Held in memory together; draw a `reservoir_sample` of a corpus first.
        y : ignored

        Raises
        ------
        ValueError
            If there are fewer descriptors than `n_words`, or one is NaN or infinite.
        """
        sample = stack_bags(bags)
        if self.n_words > len(sample):
            raise ValueError(
                f"n_words={self.n_words} exceeds the {len(sample)} descriptors to learn from: "
                "lower n_words or give more descriptors"
            )
        if min(self.n_words, self.n_init) < 1 or (self.branching or 2) < 2:
            raise ValueError(
                f"n_words={self.n_words}, n_init={self.n_init}, branching={self.branching}: "
                "the least are 1, 1 and 2"
            )
        self.codewords_ = self._leaves(sample, self.n_words, seed_sequence(self.random_state))
        labels = nearest(sample, self.codewords_, self.device)
        self.inertia_ = float(squared_distances(sample, self.codewords_, labels).sum())
        self.bandwidth_ = float(np.sqrt(self.inertia_ / len(sample)))
        self.n_features_in_ = sample.shape[1]
        return self

    def _leaves(self, x: Array, n_words: int, seed: np.random.SeedSequence) -> Array:
        """Return `n_words` codewords of `x`, by a tree where one is asked for and needed."""
        n_branches = n_words if self.branching is None else min(n_words, self.branching)
        split = kmeans(x, n_branches, self.n_init, self.max_iter, self.tol, seed, self.device)
        if n_branches == n_words:
            return split.codewords
        labels = nearest(x, split.codewords, self.device)
        parts = share(np.bincount(labels, minlength=n_branches), n_words)
        leaves = [
            self._leaves(x[labels == b], part, child)
            for b, (part, child) in enumerate(zip(parts, seed.spawn(n_branches), strict=True))
            if part
        ]
        return np.concatenate(leaves)

    def predict(self, bags: Iterable[Array] | Array) -> Any:
        """Return the index of each descriptor's nearest codeword, ties to the lower index.

        Parameters
        ----------
        bags : iterable of (N_i, D) arrays, or one (N, D) array

        Returns
        -------
        list of (N_i,) int64 arrays, or one array for a single 2-D input
        """
        if is_single(bags):
            return nearest(as_bag(bags, self.n_features_in_), self.codewords_, self.device)
        return [nearest(as_bag(x, self.n_features_in_), self.codewords_, self.device) for x in bags]

    def transform(self, bags: Iterable[Array] | Array) -> Any:
        """Return the Euclidean distance of each descriptor to each codeword.

        Returns
        -------
        list of (N_i, K) float32 arrays, or one array for a single 2-D input
        """
        if is_single(bags):
            return self._distances(as_bag(bags, self.n_features_in_))
        return [self._distances(as_bag(x, self.n_features_in_)) for x in bags]

    def _distances(self, x: Array) -> Array:
        return np.sqrt(np.maximum(squared_to_all(x, self.codewords_), 0))


def share(counts: Array, n_words: int) -> list[int]:
    """Split `n_words` among clusters in proportion to their descriptors, by largest remainder.

    Every cluster with a descriptor gets at least one word, and none more words than descriptors.

    Examples
    --------
    >>> share(np.array([70, 29, 1]), 10)
    [6, 3, 1]
    """
    least = np.minimum(counts, 1)
    parts = least.copy()
    while (missing := n_words - int(parts.sum())) > 0:
        room = counts - parts
        wish = room / room.sum() * missing
        grant = np.minimum(np.floor(wish).astype(np.int64), room)
        if not grant.any():
            order = np.argsort(-(wish - grant), kind="stable")
            grant[order[:missing]] = np.minimum(1, room[order[:missing]])
        parts = parts + grant
    return [int(p) for p in parts]
