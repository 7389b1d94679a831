"""Better k-means codewords by moving the least useful of them to where the error is greatest."""

import numpy as np

from cinefeat.classifiers.bags import row_chunks
from cinefeat.classifiers.kmeans import KMeansResult, lloyd, squared_to_all
from cinefeat.classifiers.types import Array

_PARTS = (0.1, 0.1, 0.08, 0.08, 0.06, 0.04, 0.02)  # of the codewords that move in each round
_PASSES = 3  # of k-means after a move


def breathe(x: Array, run: KMeansResult, rng: np.random.Generator) -> KMeansResult:
    """Leave the local optimum of a k-means run for better ones.

    In each of seven rounds, the codewords whose loss would cost least move to rows of the clusters
    of greatest error, a few passes of k-means follow, and the result is kept if its inertia is
    less.

    Parameters
    ----------
    x : ndarray of shape (N, D), float32
    run : KMeansResult
        Where to start. Not modified.
    rng : Generator
        Draws the rows that codewords move to, in proportion to their squared distances.

    Returns
    -------
    KMeansResult
        Of no greater inertia.

    Notes
    -----
    Costs about 30 passes over all rows and codewords: worth it for hundreds of codewords.

    References
    ----------
    .. [1] Fritzke. The breathing k-means algorithm. arXiv:2006.15666.
    """
    for part in _PARTS:
        moved = _move(x, run.codewords, max(1, round(part * len(run.codewords))), rng)
        tried = lloyd(x, moved, _PASSES, 1e-3)
        run = tried if tried.inertia < run.inertia else run
    return lloyd(x, run.codewords, 10 * _PASSES, 1e-4)


def _move(x: Array, codewords: Array, n_moves: int, rng: np.random.Generator) -> Array:
    """Return codewords of which at most `n_moves` have moved."""
    labels, first, second = _two_nearest(x, codewords)
    error = np.bincount(labels, first, len(codewords))
    cost_of_loss = np.bincount(labels, second - first, len(codewords))
    leaving = _expendable(codewords, cost_of_loss, n_moves)
    error[leaving] = -1.0
    crowded = np.argsort(-error, kind="stable")[: len(leaving)]
    moved = codewords.copy()
    for k, cluster in zip(leaving, crowded, strict=True):
        rows = np.flatnonzero(labels == cluster)
        if len(rows):
            sums = np.cumsum(first[rows])
            at = np.searchsorted(sums, rng.random() * sums[-1], side="right")
            moved[k] = x[rows[min(at, len(rows) - 1)]]
    return moved


def _two_nearest(x: Array, codewords: Array) -> tuple[Array, Array, Array]:
    """Return the nearest codeword of each row and the squared distances to the two nearest."""
    labels, first, second = np.empty(len(x), np.int64), np.empty(len(x)), np.empty(len(x))
    for rows in row_chunks(len(x), 4 * len(codewords), 4 * 2**20):
        squares = squared_to_all(x[rows], codewords)
        each = np.arange(len(squares))
        labels[rows] = squares.argmin(axis=1)
        first[rows] = squares[each, labels[rows]]
        squares[each, labels[rows]] = np.inf
        second[rows] = squares.min(axis=1)
    return labels, first, second


def _expendable(codewords: Array, cost: Array, n_moves: int) -> Array:
    """Return the codewords of least cost, none of which is the nearest neighbour of one before it.

    The neighbour of a codeword that leaves inherits its rows: its own cost has become another.
    """
    between = squared_to_all(codewords, codewords)
    np.fill_diagonal(between, np.inf)
    neighbour = between.argmin(axis=1)
    kept: set[int] = set()
    leaving: list[int] = []
    for k in np.argsort(cost, kind="stable"):
        if len(leaving) == n_moves:
            break
        if k not in kept:
            leaving.append(k)
            kept.add(neighbour[k])
    return np.array(leaving, np.int64)
