"""k-means as functions of one sample: seeding, assignment, iterations.

Distances are float32 and expanded, ``|x|^2 - 2 x.c + |c|^2``, about the mean of the codewords, so
that they keep their precision whatever the origin of the data. The products with all codewords run
on the CPU (numpy) or on a torch device; sums are float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from cinefeat.classifiers.bags import row_chunks
from cinefeat.classifiers.spreading import hold, spread
from cinefeat.classifiers.threads import map_blocks
from cinefeat.classifiers.types import Array

_CHUNK_BYTES = {"cpu": 4 * 2**20}  # products of one chunk: on the CPU they should stay in cache
_DEVICE_CHUNK_BYTES = 256 * 2**20
_NEIGHBOURS = 48  # codewords that a row is compared with between two exact passes
_LOCAL_PASSES = 10  # the most passes between two exact ones


@dataclass(frozen=True)
class KMeansResult:
    """One run: (K, D) codewords, the sum of squared distances, and the exact passes it took."""

    codewords: Array
    inertia: float
    n_iter: int


def nearest(x: Array, codewords: Array, device: str = "cpu") -> Array:
    """Return the index of the nearest codeword of each row, ties to the lower index.

    Parameters
    ----------
    x : ndarray of shape (N, D), float32
    codewords : ndarray of shape (K, D), float32
    device : str
        Where the products run: "cpu" or a torch device.

    Returns
    -------
    ndarray of shape (N,), int64

    Notes
    -----
    Two codewords whose squared distances differ by less than 1e-6 of the squared spread of the
    codewords may be told apart wrongly.

    Examples
    --------
    >>> nearest(np.float32([[1.0], [7.0]]), np.float32([[0.0], [10.0]]))
    array([0, 1])
    """
    return _best(x, codewords, codewords.mean(axis=0), device)[0]


def _best(x: Array, codewords: Array, origin: Array, device: str) -> tuple[Array, Array]:
    """Return the nearest codeword c of each row, and ``x.c - |c|^2 / 2`` about the origin."""
    centred = codewords - origin
    offset = np.square(centred, dtype=np.float64).sum(axis=1) * -0.5
    table = np.concatenate([centred.T, offset[None].astype(np.float32)])
    labels, scores = np.empty(len(x), np.int64), np.empty(len(x), np.float32)
    match = _matcher(table, device)

    def fill(rows: slice) -> None:
        lifted = np.ones((rows.stop - rows.start, len(table)), np.float32)
        np.subtract(x[rows], origin, out=lifted[:, :-1])
        labels[rows], scores[rows] = match(lifted)

    budget = _CHUNK_BYTES.get(device, _DEVICE_CHUNK_BYTES)
    map_blocks(fill, row_chunks(len(x), 4 * len(codewords), budget))
    return labels, scores


def squared_to_all(x: Array, codewords: Array) -> Array:
    """Return the squared distance of each row to each codeword: (N, K) float32, >= 0."""
    origin = codewords.mean(axis=0)
    rows, words = x - origin, codewords - origin
    squares = np.square(rows).sum(axis=1)[:, None] + np.square(words).sum(axis=1)
    return np.maximum(squares - 2 * (rows @ words.T), 0)


def squared_distances(x: Array, codewords: Array, labels: Array) -> Array:
    """Return the squared distance of each row to the codeword of its label: (N,) float64."""
    distances = np.empty(len(x))
    _measure(x, codewords, labels, distances)
    return distances


def _matcher(table: Array, device: str) -> Callable[[Array], tuple[Array, Array]]:
    """Return a function of (n, D + 1) rows: the columns of their greatest products, and those."""
    if device == "cpu":

        def match(lifted: Array) -> tuple[Array, Array]:
            products = lifted @ table
            labels = products.argmax(axis=1)
            return labels, products[np.arange(len(lifted)), labels]

        return match
    import torch  # only devices other than the CPU need it

    held = torch.from_numpy(table).to(device)

    def match_on_device(lifted: Array) -> tuple[Array, Array]:
        found = (torch.from_numpy(lifted).to(device) @ held).max(dim=1)
        return found.indices.cpu().numpy(), found.values.cpu().numpy()

    return match_on_device


def seed_plus_plus(x: Array, n_words: int, rng: np.random.Generator, device: str = "cpu") -> Array:
    """Choose rows by k-means++: in proportion to squared distances to the seeds before.

    Parameters
    ----------
    x : ndarray of shape (N, D), float32
    n_words : int
        K. When there are fewer distinct rows, the remaining seeds repeat rows drawn uniformly.
    rng : Generator
    device : str
        Where the products run.

    Returns
    -------
    ndarray of shape (K, D), float32

    Notes
    -----
    Seeds are proposed in batches from the distances before the batch, and each proposal is accepted
    with the ratio of its present distance to that one: the accepted seeds follow exactly the
    distribution of one-by-one draws, at the cost of one matrix product a batch.

    References
    ----------
    .. [1] Arthur, Vassilvitskii. k-means++: the advantages of careful seeding. SODA 2007.
    """
    origin = x.mean(axis=0)
    norms = np.square(x - origin, dtype=np.float64).sum(axis=1)
    seeds = [x[[rng.integers(len(x))]]]
    n_seeds, closest = 1, np.full(len(x), np.inf)
    while n_seeds < n_words:
        products = _best(x, seeds[-1], origin, device)[1]
        closest = np.clip(norms - 2.0 * products, 0.0, closest)
        batch = min(n_words - n_seeds, 1 + n_seeds // 4)
        total = np.cumsum(closest)
        if total[-1] <= 0:
            seeds.append(x[rng.integers(len(x), size=n_words - n_seeds)])
            break
        at = np.searchsorted(total, rng.random(batch) * total[-1], side="right")
        proposed = np.minimum(at, len(x) - 1)
        kept = _accepted(x[proposed], closest[proposed], rng.random(batch))
        seeds.append(x[proposed[kept]])
        n_seeds += len(seeds[-1])
    return np.concatenate(seeds)


def _accepted(proposed: Array, distance: Array, draw: Array) -> Array:
    """Return which proposals stand when each is judged after those accepted before it."""
    rows = proposed.astype(np.float64)
    squares = np.square(rows).sum(axis=1)
    between = np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0)
    present, kept = distance.copy(), np.zeros(len(rows), bool)
    for j in range(len(rows)):
        if draw[j] * distance[j] < present[j]:
            kept[j] = True
            np.minimum(present, between[j], out=present)
    return kept


def lloyd(
    x: Array, codewords: Array, max_iter: int, tol: float, device: str = "cpu"
) -> KMeansResult:
    """Alternate assignments and means until the inertia falls by at most `tol` of itself.

    A codeword that no row chose moves to the row farthest from its own codeword (the next farthest
    for the second such codeword, and so on).

    Parameters
    ----------
    x : ndarray of shape (N, D), float32
    codewords : ndarray of shape (K, D), float32
        Where to start. Not modified.
    max_iter : int
        The most exact passes after the first.
    tol : float
    device : str
        Where the exact passes run.

    Notes
    -----
    Where K is large, up to ten passes lie between two exact ones that compare a row only with the
    48 codewords nearest to its own. They too lower the inertia at every step; the inertia reported,
    and the decision to stop, come from exact passes.

    References
    ----------
    .. [1] Lloyd. Least squares quantization in PCM. IEEE Trans. Inf. Theory 1982.
    """
    labels, distances = _assign(x, codewords, device)
    best = KMeansResult(codewords, float(distances.sum()), 0)
    for n_iter in range(1, max_iter + 1):
        codewords = _means(x, labels, distances, len(codewords))
        if len(codewords) > 10 * _NEIGHBOURS:
            codewords = _refine(x, codewords, labels, distances, tol)
        labels, distances = _assign(x, codewords, device)
        inertia = float(distances.sum())
        gain = best.inertia - inertia
        best = KMeansResult(
            codewords if gain > 0 else best.codewords, best.inertia - max(gain, 0), n_iter
        )
        if gain <= tol * inertia:
            break
    return best


def _refine(x: Array, codewords: Array, labels: Array, distances: Array, tol: float) -> Array:
    """Pass over the rows against the neighbours of their codewords, updating labels, distances."""
    neighbours = _neighbours(codewords)
    inertia = float(distances.sum())
    for _ in range(_LOCAL_PASSES):
        _reassign(x, codewords, neighbours, labels, distances)
        codewords = _means(x, labels, distances, len(codewords))
        previous, inertia = inertia, float(distances.sum())
        if previous - inertia <= tol * inertia:
            break
    return codewords


def _neighbours(codewords: Array) -> Array:
    """Return the (K, 48) indices of the codewords nearest to each, itself among them."""
    offset = np.square(codewords).sum(axis=1) * np.float32(-0.5)
    near = np.empty((len(codewords), _NEIGHBOURS), np.int64)
    for rows in row_chunks(len(codewords), 4 * len(codewords), _CHUNK_BYTES["cpu"]):
        products = codewords[rows] @ codewords.T + offset
        near[rows] = np.argpartition(products, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS:]
    return near


def _assign(x: Array, codewords: Array, device: str) -> tuple[Array, Array]:
    labels = nearest(x, codewords, device)
    return labels, squared_distances(x, codewords, labels)


def _means(x: Array, labels: Array, distances: Array, n_words: int) -> Array:
    sums, counts = np.zeros((n_words, x.shape[1])), np.zeros(n_words)
    _sum_rows(x, labels, sums, counts)
    empty = np.flatnonzero(counts == 0)
    means = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    means[empty] = x[np.argsort(-distances, kind="stable")[: len(empty)]]
    return means


# A sum of squares loses nothing to reassociation, which the vector lanes need; their order is
# fixed.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, forceinline=True)
def _squared(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for d in range(len(a)):
        difference = a[d] - b[d]
        total += difference * difference
    return total


@njit(cache=True, nogil=True)
def _measure(x, codewords, labels, distances):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        distances[i] = _squared(x[i], codewords[labels[i]])


@njit(cache=True, nogil=True)
def _reassign(x, codewords, neighbours, labels, distances):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        own = labels[i]
        best = _squared(x[i], codewords[own])
        for k in neighbours[own]:
            distance = _squared(x[i], codewords[k])
            if distance < best:
                best = distance
                labels[i] = k
        distances[i] = best


@njit(cache=True, nogil=True)
def _sum_rows(x, labels, sums, counts):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        k = labels[i]
        counts[k] += 1
        total, row = sums[k], x[i]
        for d in range(len(row)):
            total[d] += row[d]


def kmeans(
    x: Array,
    n_words: int,
    n_init: int,
    max_iter: int,
    tol: float,
    seed: np.random.SeedSequence,
    device: str = "cpu",
) -> KMeansResult:
    """Run seeding and Lloyd `n_init` times; keep the run of least inertia, the first of equals."""
    origin = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = x - origin
    best = KMeansResult(centred[:0], np.inf, 0)
    with hold(centred):
        calls = ((centred, n_words, max_iter, tol, child, device) for child in seed.spawn(n_init))
        for run in spread(_one_start, calls):
            best = run if run.inertia < best.inertia else best
    return KMeansResult(best.codewords + origin, best.inertia, best.n_iter)


def _one_start(
    x: Array, n_words: int, max_iter: int, tol: float, seed: np.random.SeedSequence, device: str
) -> KMeansResult:
    seeds = seed_plus_plus(x, n_words, np.random.default_rng(seed), device)
    return lloyd(x, seeds, max_iter, tol, device)
