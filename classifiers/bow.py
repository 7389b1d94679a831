"""Bags of words: how often each codeword occurs in each cell of a space-time grid."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from cinefeat.classifiers.bags import as_bag, iter_bags, row_chunks
from cinefeat.classifiers.codebook import KMeansCodebook
from cinefeat.classifiers.kmeans import nearest, squared_to_all
from cinefeat.classifiers.normalize import l1_norm
from cinefeat.classifiers.sampling import reservoir_sample
from cinefeat.classifiers.types import Array, RandomState

# Wang et al. (IJCV 2013), section 5.1: the whole frame, 2 x 2 and three horizontal bands, each over
# the whole clip and over its two halves; cells along x, y, t
DT_GRIDS = ((1, 1, 1), (2, 2, 1), (1, 3, 1), (1, 1, 2), (2, 2, 2), (1, 3, 2))


class BagOfWords(TransformerMixin, BaseEstimator):
    """Encode a bag as histograms of its descriptors' nearest codewords.

    For each grid, a descriptor votes in the cell that holds its position: once for its nearest
    codeword (ties to the lower index), or, with soft assignment, for its `n_nearest` codewords with
    weights ``exp(-d^2 / (2 b^2))`` that are scaled to sum to 1, b being the codebook's bandwidth.
    The histogram of a grid, all its cells together, is divided by its sum and is one channel; an
    empty bag encodes to zeros.

    Parameters
    ----------
    n_words : int
        K, codewords of the k-means codebook.
    grids : sequence of (int, int, int)
        Cells along x, y and t of each grid; `DT_GRIDS` has the six of the dense trajectories.
    assignment : {"hard", "soft"}
        Votes for the nearest codeword, or for several.
    n_nearest : int
        Codewords that a descriptor votes for in soft assignment.
    n_samples : int
        Descriptors to learn the codebook from, drawn uniformly from the bags.
    n_init, max_iter, branching, device
        As in `KMeansCodebook`.
    random_state : int, Generator, RandomState or None
        The seed of the sample and of the codebook.

    Attributes
    ----------
    codebook_ : KMeansCodebook
    channel_sizes_ : ndarray of shape (n_grids,), int64
        Columns of each grid's channel, in the order of `grids`.

    Notes
    -----
    Column ``(cell * K) + word`` of a channel, where ``cell = (t * ny + y) * nx + x``.

    References
    ----------
    .. [1] Wang, Klaser, Schmid, Liu. Dense trajectories and motion boundary descriptors for action
       recognition. IJCV 2013, section 5.1.
    .. [2] van Gemert, Veenman, Smeulders, Geusebroek. Visual word ambiguity. PAMI 2010 (soft
       votes).

    Examples
    --------
    >>> bags = [np.array([[0.0], [0.2], [10.0]]), np.array([[9.8]])]
    >>> encoder = BagOfWords(n_words=2, random_state=0).fit(bags)
    >>> np.sort(encoder.transform(bags), axis=1).round(2)
    array([[0.33, 0.67],
           [0.  , 1.  ]], dtype=float32)
    """

    def __init__(
        self,
        n_words: int = 4000,
        *,
        grids: Sequence[tuple[int, int, int]] = ((1, 1, 1),),
        assignment: Literal["hard", "soft"] = "hard",
        n_nearest: int = 5,
        n_samples: int = 100_000,
        n_init: int = 8,
        max_iter: int = 100,
        branching: int | None = None,
        device: str = "cpu",
        random_state: RandomState = None,
    ) -> None:
        self.n_words = n_words
        self.grids = grids
        self.assignment = assignment
        self.n_nearest = n_nearest
        self.n_samples = n_samples
        self.n_init = n_init
        self.max_iter = max_iter
        self.branching = branching
        self.device = device
        self.random_state = random_state

    def fit(self, bags: Iterable[Array] | Array, y: Any = None) -> Self:
        """Learn the codebook from a sample of `bags`, which are read once and in order.

        Parameters
        ----------
        bags : iterable of (N_i, D) arrays
            May be a generator: only the sample is held.
        y : ignored
        """
        sample = reservoir_sample(iter_bags(bags), self.n_samples, self.random_state)
        codebook = KMeansCodebook(
            self.n_words,
            n_init=self.n_init,
            max_iter=self.max_iter,
            branching=self.branching,
            device=self.device,
            random_state=self.random_state,
        )
        self._check_settings()  # before the codebook, which takes long
        self._take(codebook.fit(sample))
        return self

    @classmethod
    def from_codebook(
        cls,
        codebook: KMeansCodebook,
        grids: Sequence[tuple[int, int, int]] = ((1, 1, 1),),
        *,
        assignment: Literal["hard", "soft"] = "hard",
        n_nearest: int = 5,
    ) -> Self:
        """Return a fitted encoder on a codebook that was learned elsewhere.

        Parameters
        ----------
        codebook : KMeansCodebook
            Fitted; kept, not copied.
        grids, assignment, n_nearest
            As in the class.
        """
        encoder = cls(
            len(codebook.codewords_),
            grids=grids,
            assignment=assignment,
            n_nearest=n_nearest,
            device=codebook.device,
        )
        encoder._check_settings()
        encoder._take(codebook)
        return encoder

    def _check_settings(self) -> None:
        for grid in self.grids:
            _n_cells(grid)
        if self.assignment not in ("hard", "soft"):
            raise ValueError(f"assignment={self.assignment!r}: choose 'hard' or 'soft'")

    def _take(self, codebook: KMeansCodebook) -> None:
        self.codebook_ = codebook
        n_words = len(codebook.codewords_)
        self.channel_sizes_ = np.array([_n_cells(g) * n_words for g in self.grids], np.int64)

    def transform(self, bags: Iterable[Array], positions: Iterable[Array] | None = None) -> Array:
        """Encode each bag.

        Parameters
        ----------
        bags : iterable of n (N_i, D) arrays
        positions : iterable of n (N_i, 3) arrays, optional
            x, y and t of each descriptor as parts of the frame and of the clip, in [0, 1); needed
            for grids of more than one cell.

        Returns
        -------
        ndarray of shape (n, sum(channel_sizes_)), float32

        Raises
        ------
        ValueError
            If positions are missing, do not match a bag, or lie outside [0, 1).
        """
        if positions is None:
            if any(_n_cells(grid) > 1 for grid in self.grids):
                raise ValueError(f"grids={self.grids} need the positions of the descriptors")
            rows = [self._encode(x, np.zeros((len(x), 3))) for x in bags]
        else:
            rows = [self._encode(x, p) for x, p in zip(bags, positions, strict=True)]
        return np.stack(rows) if rows else np.empty((0, int(self.channel_sizes_.sum())), np.float32)

    def _encode(self, x: Array, position: Array) -> Array:
        bag = as_bag(x, self.codebook_.n_features_in_)
        where = _checked(position, len(bag))
        words, votes = self._votes(bag)
        channels = [self._histogram(words, votes, where, grid) for grid in self.grids]
        return np.concatenate(channels)

    def _votes(self, bag: Array) -> tuple[Array, Array]:
        """Return the words that each descriptor votes for and the weights: two (N, n) arrays."""
        codewords = self.codebook_.codewords_
        if self.assignment == "hard":
            return nearest(bag, codewords, self.device)[:, None], np.ones((len(bag), 1))
        n = min(self.n_nearest, len(codewords))
        words, squares = np.empty((len(bag), n), np.int64), np.empty((len(bag), n))
        for rows in row_chunks(len(bag), 16 * len(codewords)):
            table = squared_to_all(bag[rows], codewords)
            words[rows] = np.argsort(table, axis=1, kind="stable")[:, :n]
            squares[rows] = np.take_along_axis(table, words[rows], axis=1)
        # about the least distance, so that far descriptors do not lose all their votes to underflow
        scale = 2 * self.codebook_.bandwidth_**2 or 1.0
        return words, l1_norm(np.exp((squares[:, :1] - squares) / scale))

    def _histogram(
        self, words: Array, votes: Array, where: Array, grid: tuple[int, int, int]
    ) -> Array:
        x, y, t = np.floor(where * grid).astype(np.int64).T
        cell = (t * grid[1] + y) * grid[0] + x
        bins = cell[:, None] * self.n_words + words
        n_bins = _n_cells(grid) * self.n_words
        counts = np.bincount(bins.ravel(), weights=votes.ravel(), minlength=n_bins)
        return l1_norm(counts).astype(np.float32)


def _n_cells(grid: tuple[int, int, int]) -> int:
    nx, ny, nt = grid
    if min(nx, ny, nt) < 1:
        raise ValueError(
            f"grid {grid} has no cell along an axis: give counts of at least 1 (x, y, t)"
        )
    return nx * ny * nt


def _checked(position: Array, n_rows: int) -> Array:
    where = np.asarray(position, np.float64)
    if where.shape != (n_rows, 3):
        raise ValueError(
            f"positions of shape {where.shape} for {n_rows} descriptors: need ({n_rows}, 3)"
        )
    if not ((where >= 0) & (where < 1)).all():
        raise ValueError("positions are x, y, t as parts of the frame and of the clip, in [0, 1)")
    return where
