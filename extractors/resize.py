"""Bilinear resizing to the last bit of the reference, on which near-singular flow depends."""

from functools import lru_cache

import numpy as np
from numba import njit


@lru_cache(maxsize=64)
def linear_axis(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first of the two input samples of each output sample, and the second's weight."""
    position = ((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5).astype(np.float32)
    position = np.clip(position, np.float32(0), np.float32(n_in - 1))
    first = np.minimum(position.astype(np.int64), max(n_in - 2, 0))
    return first, position - first.astype(np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolate_row(
    row: np.ndarray, first: np.ndarray, weight: np.ndarray, out: np.ndarray
) -> None:
    for x in range(len(out)):
        i = np.uint64(first[x])
        out[x] = row[i] * (np.float32(1) - weight[x]) + row[i + np.uint64(1)] * weight[x]


@njit(cache=True, nogil=True, error_model="numpy")
def _blend_rows(upper: np.ndarray, lower: np.ndarray, weight: float, out: np.ndarray) -> None:
    for x in range(len(out)):
        out[x] = upper[x] * (np.float32(1) - weight) + lower[x] * weight


@njit(cache=True, nogil=True, error_model="numpy")
def _resize(
    image: np.ndarray, rows: np.ndarray, row_weights: np.ndarray, columns: np.ndarray,
    column_weights: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    lines = np.empty((2, out.shape[1]), np.float32)
    held = -2  # input row in lines[0]; the next one is in lines[1]
    for y in range(len(out)):
        if rows[y] == held + 1:
            lines[0] = lines[1]
        elif rows[y] != held:
            _interpolate_row(image[rows[y]], columns, column_weights, lines[0])
        if rows[y] != held:
            held = rows[y]
            _interpolate_row(image[held + 1], columns, column_weights, lines[1])
        _blend_rows(lines[0], lines[1], row_weights[y], out[y])


def resize_linear(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize a float32 image bilinearly, pixel centres aligned at half pixels.

    `cv2.resize` does the same with rounding that differs between its versions; tracks that come to
    lie between two pixels go one way or the other for it.
    """
    rows, row_weights = linear_axis(image.shape[0], height)
    columns, column_weights = linear_axis(image.shape[1], width)
    out = np.empty((height, width), np.float32)
    _resize(image, rows, row_weights, columns, column_weights, out)
    return out
