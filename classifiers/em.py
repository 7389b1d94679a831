"""The E-step of a diagonal Gaussian mixture: posteriors and the moments that they weigh.

Two implementations of one definition. On the CPU a float32 matrix product finds, for every descriptor,
the few components within `CUTOFF` nats of the best; their posteriors and moments are then taken
exactly, in float64. On a torch device everything is dense float32 with float64 sums over chunks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from cinefeat.classifiers.bags import row_chunks
from cinefeat.classifiers.types import Array

CUTOFF = 18.0  # nats below the best component where a posterior (< 2e-8) counts as zero
_CHUNK_BYTES = 2 * 2**20  # products of one chunk: they should stay in cache
_DEVICE_CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Mixture:
    """Priors (K,) that sum to 1, means (K, D) and variances (K, D) > 0, all float64."""

    priors: Array
    means: Array
    variances: Array

    @property
    def origin(self) -> Array:
        """The mean of the mixture, (D,) float32: moments are taken about it."""
        return (self.priors @ self.means).astype(np.float32)


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
        return _moments_cpu(x, mixture)
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
        Rows sum to 1; entries below 2e-8 of the row's greatest are 0.
    """
    n_components, origin = len(mixture.priors), mixture.origin
    weights, constants = _affine_form(mixture, origin)
    table = _standard_form(mixture, origin)
    out = np.zeros((len(x), n_components))
    for rows in row_chunks(len(x), 4 * n_components, _CHUNK_BYTES):
        centred = x[rows] - origin
        approximate = _lift(centred) @ weights + constants
        _fill_posteriors(approximate, centred, *table, CUTOFF, out[rows])
    return out


def _affine_form(mixture: Mixture, origin: Array) -> tuple[Array, Array]:
    """Return W (2D, K) and c (K,): the log of prior times density is ``(x^2, x) W + c``, float32."""
    inverse = 1.0 / mixture.variances
    means = mixture.means - origin
    weights = np.concatenate([-0.5 * inverse, means * inverse], axis=1).T
    constants = _log_scale(mixture) - 0.5 * (means**2 * inverse).sum(axis=1)
    return np.ascontiguousarray(weights, np.float32), constants.astype(np.float32)


def _standard_form(mixture: Mixture, origin: Array) -> tuple[Array, Array, Array]:
    """Return log scales (K,), means about the origin (K, D) and inverse deviations (K, D)."""
    return _log_scale(mixture), mixture.means - origin, 1.0 / np.sqrt(mixture.variances)


def _log_scale(mixture: Mixture) -> Array:
    with np.errstate(divide="ignore"):  # a prior of 0 is -inf: the component takes nothing
        log_priors = np.log(mixture.priors)
    return log_priors - 0.5 * np.log(2 * np.pi * mixture.variances).sum(axis=1)


def _lift(x: Array) -> Array:
    return np.concatenate([x * x, x], axis=1)


def _moments_cpu(x: Array, mixture: Mixture) -> Moments:
    (n_components, n_dims), origin = mixture.means.shape, mixture.origin
    weights, constants = _affine_form(mixture, origin)
    table = _standard_form(mixture, origin)
    sums = np.zeros((n_components, 1 + 2 * n_dims))
    log_likelihood = np.empty(len(x))
    for rows in row_chunks(len(x), 4 * n_components, _CHUNK_BYTES):
        centred = x[rows] - origin
        approximate = _lift(centred) @ weights + constants
        _accumulate(approximate, centred, *table, CUTOFF, sums, log_likelihood[rows])
    first, second = sums[:, 1 : 1 + n_dims], sums[:, 1 + n_dims :]
    return Moments(sums[:, 0].copy(), first.copy(), second.copy(), log_likelihood)


# The exponent is a sum of squares: reassociation into vector lanes loses nothing, and their order is
# fixed by the compiled code.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _exponent(x, mean, inverse):  # type: ignore[no-untyped-def]
    total = 0.0
    for d in range(len(x)):
        z = (x[d] - mean[d]) * inverse[d]
        total += z * z
    return 0.5 * total


@njit(cache=True, nogil=True)
def _candidates(row, cutoff, found):  # type: ignore[no-untyped-def]
    """Write the components within `cutoff` of the best into `found`; return how many they are."""
    top = row[0]
    for k in range(len(row)):
        top = max(top, row[k])
    n = 0
    for k in range(len(row)):
        found[n] = k
        n += row[k] >= top - cutoff
    return n


@njit(cache=True, nogil=True)
def _weigh(x, found, log_scale, means, inverse, weight):  # type: ignore[no-untyped-def]
    """Write the posteriors of the components `found` into `weight`; return the log-likelihood."""
    top = -np.inf
    for j in range(len(found)):
        k = found[j]
        weight[j] = log_scale[k] - _exponent(x, means[k], inverse[k])
        top = max(top, weight[j])
    total = 0.0
    for j in range(len(found)):
        weight[j] = np.exp(weight[j] - top)
        total += weight[j]
    for j in range(len(found)):
        weight[j] /= total
    return top + np.log(total)


@njit(cache=True, nogil=True)
def _accumulate(approximate, x, log_scale, means, inverse, cutoff, sums, log_likelihood):  # type: ignore[no-untyped-def]
    n_components, n_dims = means.shape
    found, weight = np.empty(n_components + 1, np.int64), np.empty(n_components)
    for i in range(len(x)):
        n = _candidates(approximate[i], cutoff, found)
        log_likelihood[i] = _weigh(x[i], found[:n], log_scale, means, inverse, weight)
        for j in range(n):
            _add(sums[found[j]], weight[j], x[i], n_dims)


@njit(cache=True, nogil=True)
def _add(total, q, x, n_dims):  # type: ignore[no-untyped-def]
    total[0] += q
    first, second = total[1 : 1 + n_dims], total[1 + n_dims :]
    for d in range(n_dims):
        value = float(x[d])
        first[d] += q * value
        second[d] += q * value * value


@njit(cache=True, nogil=True)
def _fill_posteriors(approximate, x, log_scale, means, inverse, cutoff, out):  # type: ignore[no-untyped-def]
    found, weight = np.empty(len(means) + 1, np.int64), np.empty(len(means))
    for i in range(len(x)):
        n = _candidates(approximate[i], cutoff, found)
        _weigh(x[i], found[:n], log_scale, means, inverse, weight)
        for j in range(n):
            out[i, found[j]] = weight[j]


def moments_torch(x: Array, mixture: Mixture, device: str) -> Moments:
    """Return what `moments` does, computed densely by torch on `device`."""
    import torch  # only devices other than the CPU need it

    origin = mixture.origin
    weights, constants = (torch.from_numpy(a).to(device) for a in _affine_form(mixture, origin))
    n_components, n_dims = mixture.means.shape
    mass = torch.zeros(n_components, dtype=torch.float64, device=device)
    sums = torch.zeros((n_components, 2 * n_dims), dtype=torch.float64, device=device)
    likelihood: list[Any] = []
    for rows in row_chunks(len(x), 16 * n_components, _DEVICE_CHUNK_BYTES):
        centred = torch.from_numpy(x[rows] - origin).to(device)
        lifted = torch.cat([centred * centred, centred], dim=1)
        logs = lifted @ weights + constants
        total = torch.logsumexp(logs, dim=1, keepdim=True)
        weight = torch.exp(logs - total)
        mass += weight.sum(dim=0, dtype=torch.float64)
        sums += (weight.T @ lifted).double()
        likelihood.append(total[:, 0].double().cpu().numpy())
    second, first = sums[:, :n_dims].cpu().numpy(), sums[:, n_dims:].cpu().numpy()
    return Moments(mass.cpu().numpy(), first, second, np.concatenate([np.empty(0), *likelihood]))
