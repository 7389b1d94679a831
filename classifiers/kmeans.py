"""Lloyd's k-means as functions of one sample: seeding, assignment, iterations.

Samples are shifted by their mean first, so that the expanded squared distance
``|x|^2 - 2 x.c + |c|^2`` keeps float32 precision whatever the origin of the data.
"""

from dataclasses import dataclass

import numpy as np

from cinefeat.classifiers.bags import row_chunks
from cinefeat.classifiers.types import Array


@dataclass(frozen=True)
class KMeansResult:
    """One run: (K, D) codewords, the sum of squared distances, and the iterations it took."""

    codewords: Array
    inertia: float
    n_iter: int


def nearest(x: Array, codewords: Array) -> Array:
    """Return the index of the nearest codeword of each row, ties to the lower index.

    Parameters
    ----------
    x : ndarray of shape (N, D), float32
    codewords : ndarray of shape (K, D), float32

    Returns
    -------
    ndarray of shape (N,), int64

    Notes
    -----
    Distances are float32, about their common mean: two codewords whose distances differ by less than
    1e-6 of the spread may be told apart wrongly.

    Examples
    --------
    >>> nearest(np.float32([[1.0], [7.0]]), np.float32([[0.0], [10.0]]))
    array([0, 1])
    """
    origin = codewords.mean(axis=0)
    table = _affine(codewords - origin)
    labels = np.empty(len(x), np.int64)
    for rows in row_chunks(len(x), 4 * len(codewords), budget=4 * 2**20):
        labels[rows] = _score(x[rows] - origin, table).argmax(axis=1)
    return labels


def _affine(codewords: Array) -> Array:
    """Return the (K, D + 1) table whose product with (x, 1) is x.c - |c|^2 / 2, the larger the nearer."""
    offset = np.square(codewords, dtype=np.float64).sum(axis=1) * -0.5
    return np.concatenate([codewords, offset[:, None].astype(np.float32)], axis=1)


def _score(x: Array, table: Array) -> Array:
    return np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1) @ table.T


def squared_distances(x: Array, codewords: Array, labels: Array) -> Array:
    """Return the squared distance of each row to the codeword that its label names: (N,) float64."""
    out = np.empty(len(x))
    for rows in row_chunks(len(x), 8 * x.shape[1]):
        out[rows] = np.square(x[rows] - codewords[labels[rows]], dtype=np.float64).sum(axis=1)
    return out


def seed_plus_plus(x: Array, n_words: int, rng: np.random.Generator) -> Array:
    """Choose `n_words` rows by k-means++: each with probability proportional to the squared distance to
    those chosen before.

    When fewer distinct rows than `n_words` exist, the remaining seeds repeat rows drawn uniformly.

    References
    ----------
    .. [1] Arthur, Vassilvitskii. k-means++: the advantages of careful seeding. SODA 2007.
    """
    norms = np.square(x, dtype=np.float64).sum(axis=1)
    chosen = np.empty(n_words, np.int64)
    chosen[0] = rng.integers(len(x))
    closest = _to_row(x, norms, chosen[0])
    for k in range(1, n_words):
        total = np.cumsum(closest)
        draw = rng.random()
        if total[-1] > 0:
            chosen[k] = min(np.searchsorted(total, draw * total[-1], side="right"), len(x) - 1)
        else:
            chosen[k] = int(draw * len(x))
        np.minimum(closest, _to_row(x, norms, chosen[k]), out=closest)
    return x[chosen]


def _to_row(x: Array, norms: Array, i: int) -> Array:
    distance = norms + norms[i] - 2.0 * (x @ x[i])
    distance[i] = 0.0
    return np.maximum(distance, 0.0)


def lloyd(x: Array, codewords: Array, max_iter: int, tol: float) -> KMeansResult:
    """Alternate assignment and means until the inertia falls by less than `tol` of itself.

    A codeword that no row chose moves to the row farthest from its own codeword (the next farthest
    for the second such codeword, and so on).

    References
    ----------
    .. [1] Lloyd. Least squares quantization in PCM. IEEE Trans. Inf. Theory 1982.
    """
    inertia, n_iter = np.inf, 0
    while n_iter < max_iter:
        n_iter += 1
        labels = nearest(x, codewords)
        distances = squared_distances(x, codewords, labels)
        previous, inertia = inertia, float(distances.sum())
        if previous - inertia <= tol * inertia:
            break
        codewords = _means(x, labels, distances, len(codewords))
    return KMeansResult(codewords, inertia, n_iter)


def _means(x: Array, labels: Array, distances: Array, n_words: int) -> Array:
    counts = np.bincount(labels, minlength=n_words)
    order = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    filled = counts > 0
    means = np.empty((n_words, x.shape[1]), np.float32)
    sums = np.add.reduceat(x[order], starts[filled], axis=0, dtype=np.float64)
    means[filled] = sums / counts[filled, None]
    empty = np.flatnonzero(~filled)
    means[empty] = x[np.argsort(-distances, kind="stable")[: len(empty)]]
    return means


def kmeans(
    x: Array, n_words: int, n_init: int, max_iter: int, tol: float, seed: np.random.SeedSequence
) -> KMeansResult:
    """Run seeding and Lloyd `n_init` times and keep the run of least inertia (the first of equals)."""
    origin = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = x - origin
    best = KMeansResult(centred[:0], np.inf, 0)
    for child in seed.spawn(n_init):
        seeds = seed_plus_plus(centred, n_words, np.random.default_rng(child))
        run = lloyd(centred, seeds, max_iter, tol)
        best = run if run.inertia < best.inertia else best
    return KMeansResult(best.codewords + origin, best.inertia, best.n_iter)
