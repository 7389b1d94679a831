"""Kernels between histograms: chi-square over channels, Hellinger, and sums of kernels."""

from collections.abc import Sequence

import numpy as np
from numba import njit

from cinefeat.classifiers.linear import linear_scores
from cinefeat.classifiers.types import Array


def chi2_distances(x: Array, y: Array) -> Array:
    """Return ``sum_d (x_d - y_d)^2 / (x_d + y_d) / 2`` between the rows of two arrays.

    Parameters
    ----------
    x : ndarray of shape (n, D)
    y : ndarray of shape (m, D)
        Histograms, >= 0; terms of 0 / 0 count as 0. Not modified; computed in float32.

    Returns
    -------
    ndarray of shape (n, m), float32
        0 for equal histograms, 1 for histograms of sum 1 that share no bin.

    Raises
    ------
    ValueError
        If a value is negative.

    Examples
    --------
    >>> chi2_distances(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]))
    array([[0.        , 1.        , 0.33333334]], dtype=float32)
    """
    a, b = (np.ascontiguousarray(v, np.float32) for v in (x, y))
    if min(a.min(initial=0), b.min(initial=0)) < 0:
        raise ValueError(
            "Negative values in data: a chi-square distance is one of histograms, >= 0"
        )
    out = np.empty((len(a), len(b)), np.float32)
    _fill_chi2(a, b, out)
    return out


@njit(cache=True, nogil=True)
def _fill_chi2(a, b, out):  # type: ignore[no-untyped-def]
    for start in range(0, len(b), 16):  # some rows of b stay in cache while a passes by
        for i in range(len(a)):
            for j in range(start, min(start + 16, len(b))):
                out[i, j] = _chi2(a[i], b[j])


# All terms are >= 0, so reassociation into vector lanes loses nothing; the lanes' order is fixed.
# With Python's error model the test for a zero divisor would keep the loop from vector lanes.
@njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"}, forceinline=True
)
def _chi2(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for d in range(len(a)):
        difference = a[d] - b[d]
        # the smallest normal float32 makes 0 / 0 count as 0 without a branch
        total += difference * difference / (a[d] + b[d] + np.float32(1.2e-38))
    return total * np.float32(0.5)


def chi2_exponent(
    x: Array, y: Array, channel_sizes: Sequence[int] | Array | None, means: Array | None = None
) -> tuple[Array, Array]:
    """Sum the chi-square distances of all channels, each divided by its mean.

    Parameters
    ----------
    x : ndarray of shape (n, D)
    y : ndarray of shape (m, D)
        Channels side by side.
    channel_sizes : sequence of int, optional
        Columns of each channel, in order; None is one channel of all columns.
    means : ndarray of shape (n_channels,), optional
        A_c. None takes them from these very distances over the pairs i < j, for which `x` and `y`
        must be the training rows. A channel whose training rows are all equal has A_c = 1.

    Returns
    -------
    exponent : ndarray of shape (n, m), float64
        ``sum_c D_c / A_c``; the kernel is ``exp(-exponent)``.
    means : ndarray of shape (n_channels,), float64

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> exponent, means = chi2_exponent(x, x, None)
    >>> means.round(3), exponent[0].round(3)
    (array([0.667]), array([0. , 1.5, 1.5]))
    """
    slices = channel_slices(channel_sizes, x.shape[1])
    exponent = np.zeros((len(x), len(y)))
    learned = np.empty(len(slices))
    for c, columns in enumerate(slices):
        distances = chi2_distances(x[:, columns], y[:, columns])
        learned[c] = _mean_of_pairs(distances) if means is None else means[c]
        exponent += distances / learned[c]
    return exponent, learned


def _mean_of_pairs(distances: Array) -> float:
    n = len(distances)
    total = sum(float(distances[i, i + 1 :].sum(dtype=np.float64)) for i in range(n))
    return total / (n * (n - 1) / 2) if total > 0 else 1.0


def channel_slices(channel_sizes: Sequence[int] | Array | None, n_columns: int) -> list[slice]:
    """Turn the sizes of channels into the columns that each takes.

    Examples
    --------
    >>> channel_slices([2, 3], 5)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    sizes = [n_columns] if channel_sizes is None else [int(s) for s in channel_sizes]
    if sum(sizes) != n_columns or min(sizes, default=0) < 1:
        raise ValueError(f"channel_sizes={sizes} do not add up to the {n_columns} columns")
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def hellinger_kernel(x: Array, y: Array, *, by_rows: bool = False) -> Array:
    """Return ``sum_d sqrt(x_d y_d)`` between the rows of two arrays of histograms.

    Parameters
    ----------
    x : ndarray of shape (n, D)
    y : ndarray of shape (m, D)
        Histograms, >= 0.
    by_rows : bool
        Whether every row is computed alike whatever rows stand beside it (slower than BLAS).

    Returns
    -------
    ndarray of shape (n, m), float64

    Notes
    -----
    The square roots of the histograms as features of a linear SVM give the same classifier at the
    cost of a linear one.

    Examples
    --------
    >>> hellinger_kernel(np.array([[0.25, 0.75]]), np.array([[1.0, 0.0], [0.25, 0.75]]))
    array([[0.5, 1. ]])
    """
    if min(np.min(x, initial=0), np.min(y, initial=0)) < 0:
        raise ValueError("Negative values in data: the Hellinger kernel is one of histograms, >= 0")
    roots, others = (np.sqrt(np.asarray(v, np.float64)) for v in (x, y))
    return linear_scores(roots, others, np.zeros(len(others))) if by_rows else roots @ others.T


def sum_kernels(kernels: Sequence[Array], weights: Sequence[float] | None = None) -> Array:
    """Add kernels (n, m) of the same rows, each weighted (equally unless told otherwise).

    Examples
    --------
    >>> sum_kernels([np.eye(2), np.ones((2, 2))], [2.0, 1.0])
    array([[3., 1.],
           [1., 3.]])
    """
    shapes = {np.shape(k) for k in kernels}
    if len(shapes) != 1:
        raise ValueError(f"kernels of shapes {sorted(shapes)}: all must be of the same rows")
    factors = [1.0] * len(kernels) if weights is None else list(weights)
    total = np.zeros(shapes.pop())
    for weight, kernel in zip(factors, kernels, strict=True):
        total += weight * np.asarray(kernel, np.float64)
    return total
