"""The E-step of a diagonal Gaussian mixture: posteriors and the moments that they weigh.

Two implementations of one definition. On the CPU a float32 matrix product finds, for every
descriptor, the few components within `CUTOFF` nats of the best; their posteriors and moments are
then taken exactly, in float64. Where the components overlap so much that they are not few, the
products of a chunk are dense instead. On a torch device everything is dense float32 with float64
sums over chunks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit

from cinefeat.classifiers.bags import row_chunks
from cinefeat.classifiers.spreading import is_spread, spread
from cinefeat.classifiers.threads import map_blocks, row_blocks
from cinefeat.classifiers.types import Array

CUTOFF = 16.0  # nats below the best component where a posterior (< 1.2e-7) counts as zero
_LANES = 16  # the scan for the best component compares so many columns side by side
_DENSE = 1 / 6  # a chunk whose descriptors are near more of the components, on average,
_FEW = 32  # and near more than these, is computed densely
_CHUNK_BYTES = 2 * 2**20  # products of one chunk: they should stay in cache
_DEVICE_CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Mixture:
    """Priors (K,) that sum to 1, means (K, D) and variances (K, D) > 0, all float64."""

    priors: Array
    means: Array
    variances: Array

    @cached_property
    def origin(self) -> Array:
        """The mean of the mixture, (D,) float32: moments are taken about it."""
        return (self.priors @ self.means).astype(np.float32)

    @cached_property
    def standard_form(self) -> tuple[Array, Array, Array]:
        """Log scales (K,), means about the origin (K, D) and inverse deviations (K, D)."""
        with np.errstate(divide="ignore"):  # a prior of 0 is -inf: the component takes nothing
            log_priors = np.log(self.priors)
        scales = log_priors - 0.5 * np.log(2 * np.pi * self.variances).sum(axis=1)
        return scales, self.means - self.origin, 1.0 / np.sqrt(self.variances)

    @cached_property
    def affine_form(self) -> Array:
        """The table whose product with (x^2, x, 1) is the log of prior times density, float32.

        Its columns are the components, then columns of -1e30 up to a multiple of `_LANES`.
        """
        scales, means, inverse = self.standard_form
        n_components, n_dims = means.shape
        table = np.zeros((2 * n_dims + 1, -(-n_components // _LANES) * _LANES), np.float32)
        table[-1] = -1e30
        table[:n_dims, :n_components] = -0.5 * inverse.T**2
        table[n_dims:-1, :n_components] = (means * inverse**2).T
        constants = scales - 0.5 * np.square(means * inverse).sum(axis=1)
        table[-1, :n_components] = np.maximum(constants, -1e30)
        return table


@dataclass(frozen=True)
class Moments:
    """Sums over descriptors, about the mixture's origin o, all float64.

    ``mass[k] = sum_n q_nk``, ``first[k] = sum_n q_nk (x_n - o)``,
    ``second[k] = sum_n q_nk (x_n - o)^2``, and the log-likelihood of every descriptor.
    """

    mass: Array
    first: Array
    second: Array
    log_likelihood: Array


def moments(x: Array, mixture: Mixture, device: str = "cpu") -> Moments:
    """Sum descriptors and their squares, weighted by the posteriors of each component.

    Parameters
    ----------
    x : ndarray of shape (N, D), float32
        N may be 0.
    mixture : Mixture
    device : str
        "cpu" or a torch device.

    Returns
    -------
    Moments
        Of arrays of shape (K,), (K, D), (K, D) and (N,), float64.

    Examples
    --------
    >>> two = Mixture(np.array([0.5, 0.5]), np.array([[-9.0], [9.0]]), np.ones((2, 1)))
    >>> m = moments(np.float32([[-8.0], [-10.0], [9.0]]), two)
    >>> m.mass.round(3), m.first.ravel().round(3), m.second.ravel().round(3)
    (array([2., 1.]), array([-18.,   9.]), array([164.,  81.]))
    """
    if device == "cpu":
        return block_moments([x[rows] for rows in row_blocks(len(x))], mixture)
    return moments_torch(x, mixture, device)


def posteriors(x: Array, mixture: Mixture) -> Array:
    """Return the probability that each component made each descriptor.

    Parameters
    ----------
    x : ndarray of shape (N, D), float32
    mixture : Mixture

    Returns
    -------
    ndarray of shape (N, K), float64
        Rows sum to 1; entries below 1.2e-7 of the row's greatest are 0.

    Examples
    --------
    >>> two = Mixture(np.array([0.5, 0.5]), np.array([[-1.0], [1.0]]), np.ones((2, 1)))
    >>> posteriors(np.float32([[0.0], [50.0]]), two)
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    out = np.zeros((len(x), len(mixture.priors)))
    for rows, lifted, found, ends, _ in _shortlists(x, mixture):
        _fill_posteriors(lifted, found, ends, *mixture.standard_form, out[rows])
    return out


def block_moments(blocks: Sequence[Array], mixture: Mixture) -> Moments:
    """Return what `moments` does on the CPU, of rows that are cut by `row_blocks` already.

    On a joblib backend each block is a call: `hold` the blocks around many of these.
    """
    if is_spread():
        parts = list(spread(_sums, ((block, mixture) for block in blocks)))
    else:
        parts = map_blocks(lambda block: _sums(block, mixture), blocks)
    n_dims = mixture.means.shape[1]
    total = np.sum([sums for sums, _ in parts], axis=0)
    mass, first, second = np.split(total, [1, 1 + n_dims], axis=1)
    return Moments(mass[:, 0], first, second, np.concatenate([logs for _, logs in parts]))


def _sums(x: Array, mixture: Mixture) -> tuple[Array, Array]:
    """Return the moments of one block side by side (K, 1 + 2 D), and its log-likelihoods."""
    n_components, n_dims = mixture.means.shape
    sums, likelihood = np.zeros((n_components, 1 + 2 * n_dims)), np.empty(len(x))
    for rows, lifted, found, ends, logs in _shortlists(x, mixture):
        if ends[-1] > len(lifted) * max(_FEW, _DENSE * n_components):
            centred, dense = lifted[:, n_dims:-1], logs[:, :n_components]
            likelihood[rows] = _accumulate_dense(centred, dense, sums)
        else:
            _accumulate(lifted, found, ends, *mixture.standard_form, sums, likelihood[rows])
    return sums, likelihood


def _shortlists(x: Array, mixture: Mixture) -> Iterator[tuple[slice, Array, Array, Array, Array]]:
    """Iterate over chunks of rows: the rows, (x^2, x, 1) about the origin, and its near components.

    Row i of a chunk has the components ``found[ends[i - 1] : ends[i]]`` within `CUTOFF` nats of the
    best by the approximate logarithms, which come last. The arrays are written anew for every
    chunk.
    """
    table = mixture.affine_form
    chunks = row_chunks(len(x), 4 * table.shape[1], _CHUNK_BYTES)
    most = max((rows.stop - rows.start for rows in chunks), default=0)
    all_lifted = np.empty((most, len(table)), np.float32)
    all_logs = np.empty((most, table.shape[1]), np.float32)
    found, all_ends = np.empty(all_logs.size, np.int32), np.empty(most, np.int64)
    for rows in chunks:
        n = rows.stop - rows.start
        lifted, logs, ends = all_lifted[:n], all_logs[:n], all_ends[:n]
        _lift(x[rows], mixture.origin, lifted)
        np.matmul(lifted, table, out=logs)
        _shortlist(logs, np.float32(CUTOFF), found, ends)
        yield rows, lifted, found, ends, logs


@njit(cache=True, nogil=True)
def _lift(x, origin, lifted):  # type: ignore[no-untyped-def]
    n_dims = len(origin)
    for i in range(len(x)):
        for d in range(n_dims):
            value = x[i, d] - origin[d]
            lifted[i, d] = value * value
            lifted[i, n_dims + d] = value
        lifted[i, 2 * n_dims] = 1.0


# The maximum of finite numbers depends on no order.
@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"}, forceinline=True)
def _shortlist(logs, cutoff, found, ends):  # type: ignore[no-untyped-def]
    n, lanes = 0, np.empty(_LANES, np.float32)
    for i in range(len(logs)):
        row = logs[i]
        lanes[:] = row[:_LANES]
        for start in range(_LANES, len(row), _LANES):
            for lane in range(_LANES):
                lanes[lane] = max(lanes[lane], row[start + lane])
        least = lanes.max() - cutoff
        for lane in range(_LANES):
            if lanes[lane] >= least:
                for k in range(lane, len(row), _LANES):
                    if row[k] >= least:
                        found[n] = k
                        n += 1
        ends[i] = n


# The exponent is a sum of squares: reassociation into vector lanes loses nothing, and their order
# is fixed by the compiled code. Indices rather than rows as arguments spare the cost of making
# views.
@njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"}, forceinline=True
)
def _weigh(lifted, i, found, start, end, log_scale, means, inverse, weight):  # type: ignore[no-untyped-def]
    """Write the posteriors of the components ``found[start:end]``; return the log-likelihood."""
    n_dims, top = means.shape[1], -1e300
    for j in range(start, end):
        k, exponent = found[j], 0.0
        for d in range(n_dims):
            z = (lifted[i, n_dims + d] - means[k, d]) * inverse[k, d]
            exponent += z * z
        weight[j - start] = log_scale[k] - 0.5 * exponent
        top = max(top, weight[j - start])
    total = 0.0
    for j in range(end - start):
        weight[j] = np.exp(weight[j] - top)
        total += weight[j]
    for j in range(end - start):
        weight[j] /= total
    return top + np.log(total)


@njit(cache=True, nogil=True)
def _accumulate(lifted, found, ends, log_scale, means, inverse, sums, log_likelihood):  # type: ignore[no-untyped-def]
    (n_components, n_dims), start = means.shape, 0
    weight = np.empty(n_components)
    for i in range(len(lifted)):
        end = ends[i]
        log_likelihood[i] = _weigh(lifted, i, found, start, end, log_scale, means, inverse, weight)
        for j in range(start, end):
            k, q = found[j], weight[j - start]
            sums[k, 0] += q
            for d in range(n_dims):
                value = np.float64(lifted[i, n_dims + d])
                sums[k, 1 + d] += q * value
                sums[k, 1 + n_dims + d] += q * value * value
        start = end


@njit(cache=True, nogil=True)
def _fill_posteriors(lifted, found, ends, log_scale, means, inverse, out):  # type: ignore[no-untyped-def]
    start, weight = 0, np.empty(len(means))
    for i in range(len(lifted)):
        _weigh(lifted, i, found, start, ends[i], log_scale, means, inverse, weight)
        for j in range(start, ends[i]):
            out[i, found[j]] = weight[j - start]
        start = ends[i]


def _accumulate_dense(x: Array, logs: Array, sums: Array) -> Array:
    """Add the moments of one chunk to `sums`; return its log-likelihoods."""
    top = logs.max(axis=1, keepdims=True)
    weight = np.exp(logs - top).astype(np.float64)
    total = weight.sum(axis=1, keepdims=True)
    weight /= total
    wide = x.astype(np.float64)
    sums += weight.T @ np.concatenate([np.ones((len(x), 1)), wide, wide * wide], axis=1)
    return (top + np.log(total))[:, 0]


def moments_torch(x: Array, mixture: Mixture, device: str) -> Moments:
    """Return what `moments` does, computed densely by torch on `device`."""
    import torch  # only devices other than the CPU need it

    origin, (n_components, n_dims) = mixture.origin, mixture.means.shape
    table = torch.from_numpy(mixture.affine_form[:, :n_components]).to(device)
    sums = torch.zeros((n_components, 2 * n_dims + 1), dtype=torch.float64, device=device)
    likelihood: list[Any] = []
    for rows in row_chunks(len(x), 16 * n_components, _DEVICE_CHUNK_BYTES):
        centred = torch.from_numpy(x[rows] - origin).to(device)
        lifted = torch.cat([centred * centred, centred, torch.ones_like(centred[:, :1])], dim=1)
        logs = lifted @ table
        total = torch.logsumexp(logs, dim=1, keepdim=True)
        weight = torch.exp(logs - total)
        sums += (weight.T @ lifted).double()
        likelihood.append(total[:, 0].double().cpu().numpy())
    second, first, mass = np.split(sums.cpu().numpy(), [n_dims, 2 * n_dims], axis=1)
    return Moments(mass[:, 0], first, second, np.concatenate([np.empty(0), *likelihood]))
