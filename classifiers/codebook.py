"""Codebooks: the k-means codewords that bags of words and VLAD count and sum by."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from cinefeat.classifiers.bags import as_bag, is_single, stack_bags
from cinefeat.classifiers.kmeans import kmeans, nearest
from cinefeat.classifiers.sampling import seed_sequence
from cinefeat.classifiers.types import Array, RandomState


class KMeansCodebook(TransformerMixin, BaseEstimator):
    """Learn codewords by k-means (Lloyd, k-means++ seeds, the best of several starts).

    Parameters
    ----------
    n_words : int
        K, the number of codewords.
    n_init : int
        Starts from different seeds; the one of least inertia is kept.
    max_iter : int
        The most Lloyd iterations of one start.
    tol : float
        A start ends when the inertia falls by less than this part of itself.
    random_state : int, Generator, RandomState or None
        The seed; None gives another codebook each time.

    Attributes
    ----------
    codewords_ : ndarray of shape (K, D), float32
    inertia_ : float
        Sum over the sample of the squared distance to the nearest codeword.
    n_iter_ : int
        Iterations of the kept start.
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
        tol: float = 1e-4,
        random_state: RandomState = None,
    ) -> None:
        self.n_words = n_words
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
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
        seed = seed_sequence(self.random_state)
        best = kmeans(sample, self.n_words, self.n_init, self.max_iter, self.tol, seed)
        self.codewords_ = best.codewords
        self.inertia_ = best.inertia
        self.n_iter_ = best.n_iter
        self.n_features_in_ = sample.shape[1]
        return self

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
            return nearest(as_bag(bags, self.n_features_in_), self.codewords_)
        return [nearest(as_bag(x, self.n_features_in_), self.codewords_) for x in bags]

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
        origin = self.codewords_.mean(axis=0)
        rows, words = x - origin, self.codewords_ - origin
        squares = np.square(rows).sum(axis=1)[:, None] + np.square(words).sum(axis=1)
        return np.sqrt(np.maximum(squares - 2 * rows @ words.T, 0))
