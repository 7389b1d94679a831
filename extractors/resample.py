"""Separable resampling of images and flow: one banded operator per axis.

Gaussian blur, blur with reduction, and interpolation to a larger grid are all the same thing
along one axis, a weighted sum of a few neighbours, so each is a table ``(starts, weights)``.
Pixel centres lie at half-integers of the extent, as in ``cv2.resize``; the border is mirrored
about the edge of the outermost pixel. The tables are shared by the numba and the torch flow.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
AxisTable = tuple[NDArray[np.uint32], Float32]
_CUT_SIGMAS = 3.0  # a Gaussian is cut where its tail sums to 0.3 %


def gaussian_table(n_in: int, n_out: int, sigma: float) -> AxisTable:
    """Weigh the neighbours of each of `n_out` positions on an axis of `n_in` by a Gaussian.

    Parameters
    ----------
    n_in, n_out : int
        Lengths of the axis before and after.
    sigma : float
        Standard deviation in pixels of the input; 0 copies the nearest pixel.

    Returns
    -------
    starts : ndarray of shape (n_out,), uint32
        First input index of each output.
    weights : ndarray of shape (K, n_out), float32
        Weights of the K inputs from there on; each column sums to 1.

    Examples
    --------
    >>> starts, weights = gaussian_table(4, 2, 1e-3)
    >>> starts.tolist(), weights.round(2).tolist()
    ([0, 2], [[0.5, 0.5], [0.5, 0.5]])
    """
    return _cached_table(n_in, n_out, float(sigma))


def linear_table(n_in: int, n_out: int) -> AxisTable:
    """Interpolate an axis of `n_in` linearly at `n_out` positions; returns as `gaussian_table`.

    Examples
    --------
    >>> starts, weights = linear_table(2, 4)
    >>> weights.tolist()
    [[1.0, 0.75, 0.25, 0.0], [0.0, 0.25, 0.75, 1.0]]
    """
    return _cached_table(n_in, n_out, None)


@functools.lru_cache(maxsize=256)
def _cached_table(n_in: int, n_out: int, sigma: float | None) -> AxisTable:
    if sigma is None:
        return _table(n_in, n_out, 1 - 1e-9, lambda d: 1.0 - np.abs(d))
    spread = max(sigma, 0.05)  # narrower than any pixel: the nearest one, or two at a tie
    reach = max(_CUT_SIGMAS * spread, 0.51)
    return _table(n_in, n_out, reach, lambda d: np.exp(-0.5 * (d / spread) ** 2))


def _table(n_in: int, n_out: int, reach: float, kernel: Callable[[Float64], Float64]) -> AxisTable:
    centres = (np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5
    first = np.ceil(centres - reach).astype(np.int64)
    index = first[:, None] + np.arange(math.floor(2 * reach) + 1)
    distance = index - centres[:, None]
    value = np.where(np.abs(distance) <= reach, kernel(distance), 0.0)
    taps = min(n_in, index.shape[1])
    starts = np.clip(first, 0, n_in - taps)
    mirrored = np.minimum(index % (2 * n_in), (-1 - index) % (2 * n_in))
    weights = np.zeros((taps, n_out))
    np.add.at(weights, (mirrored - starts[:, None], np.arange(n_out)[:, None]), value)
    return starts.astype(np.uint32), (weights / weights.sum(axis=0)).astype(np.float32)


def resample(
    images: Float32, rows: AxisTable, columns: AxisTable, out: Float32 | None = None
) -> Float32:
    """Apply one table down the first axis and one across the last of images (H, ..., W), float32.

    `out` (H', ..., W') may be wider than the columns' table; what is beyond is left alone.

    Examples
    --------
    >>> resample(np.float32([[1, 3]]), linear_table(1, 1), linear_table(2, 1)).tolist()
    [[2.0]]
    """
    if out is None:
        out = np.empty((len(rows[0]), *images.shape[1:-1], len(columns[0])), np.float32)
    flat, flat_out = (array.reshape(len(array), -1, array.shape[-1]) for array in (images, out))
    _resample(flat, *rows, *columns, flat_out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _add_scaled(total: Float32, row: Float32, weight: np.float32) -> None:
    for x in range(row.size):
        total[x] += weight * row[x]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_gathered(
    total: Float32, row: Float32, starts: NDArray[np.uint32], tap: np.uint64, weights: Float32
) -> None:
    for x in range(total.size):
        total[x] += weights[x] * row[np.uint64(starts[x]) + tap]


@njit(cache=True, nogil=True, error_model="numpy")
def _resample(
    images: Float32,
    row_starts: NDArray[np.uint32],
    row_weights: Float32,
    column_starts: NDArray[np.uint32],
    column_weights: Float32,
    out: Float32,
) -> None:
    n_fields, width = images.shape[1:]
    blended = np.empty((n_fields, width), np.float32)
    for y in range(len(row_starts)):
        blended[:] = 0
        for k in range(row_weights.shape[0]):
            source = images[row_starts[y] + k]
            _add_scaled(blended.ravel(), source.ravel(), row_weights[k, y])
        for field in range(n_fields):
            row = out[y, field, : len(column_starts)]
            row[:] = 0
            for k in range(column_weights.shape[0]):
                tap = np.uint64(k)
                _add_gathered(row, blended[field], column_starts, tap, column_weights[k])
