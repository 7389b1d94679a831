"""Filters over space and time for the sparse detectors: Gaussians, delays, ends, local maxima.

A video streams through as blocks of consecutive frames. A filter along time keeps the frames that
its next output needs, so that neither memory nor results depend on where one block ends and the
next begins. The detectors themselves are `stip` and `cuboids`.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import islice, repeat

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
CUT = 3.0  # standard deviations at which a Gaussian ends
SEGMENT = 2048  # pixels that are filtered along time together, so that they stay in the cache


def gaussian(variance: float) -> Float32:
    """Return the weights of a sampled Gaussian, 2 r + 1 of them with the sum 1.

    Parameters
    ----------
    variance : float
        Square of the standard deviation, in samples; r is 3 standard deviations, rounded up.

    Examples
    --------
    >>> gaussian(0.25).round(3)
    array([0.   , 0.106, 0.787, 0.106, 0.   ], dtype=float32)
    """
    radius = int(np.ceil(CUT * np.sqrt(variance)))
    x = np.arange(-radius, radius + 1)
    weights = np.exp(-(x**2) / (2 * variance))
    return (weights / weights.sum()).astype(np.float32)


def gaussian_derivative(variance: float) -> Float32:
    """Return the weights whose correlation is the slope of what a Gaussian smooths.

    They are ``x g(x)``, scaled so that a ramp of slope 1 gives 1.
    """
    smooth = gaussian(variance).astype(np.float64)
    x = np.arange(len(smooth)) - len(smooth) // 2
    return (x * smooth / (x**2 * smooth).sum()).astype(np.float32)


def hold_ends(planes: Iterable[Float32], margin: int) -> Iterator[Float32]:
    """Yield the planes of a video with the first and the last repeated `margin` more times."""
    plane: Float32 | None = None
    for i, plane in enumerate(planes):
        yield from repeat(plane, margin + 1 if i == 0 else 1)
    if plane is not None:
        yield from repeat(plane, margin)


def blocks(planes: Iterable[Float32], block_frames: int) -> Iterator[Float32]:
    """Yield the planes as arrays of shape (B, H, W), B being `block_frames`; the last is shorter."""
    if block_frames < 1:
        raise ValueError(f"block_frames is {block_frames}; it must be at least 1")
    planes = iter(planes)
    while block := list(islice(planes, block_frames)):
        yield np.stack(block)


def smooth_planes(block: Float32, across: Float32, down: Float32) -> Float32:
    """Correlate every plane of a block (B, H, W) along x and y; borders repeat the last pixel."""
    out = np.empty_like(block)
    for plane, target in zip(block, out, strict=True):
        cv2.sepFilter2D(plane, -1, across, down, dst=target, borderType=cv2.BORDER_REPLICATE)
    return out


def flat_planes(block: Float32) -> Float32:
    """View a block (n, H, W), n maybe 0, as (n, H W)."""
    return block.reshape(len(block), math.prod(block.shape[1:]))


class Delay:
    """Join each block to the frames before it that a filter of 2 r + 1 taps still needs."""

    def __init__(self, radius: int) -> None:
        self.kept, self.past = 2 * radius, np.empty((0, 0, 0), np.float32)

    def push(self, block: Float32) -> Float32:
        """Return the frames kept from earlier blocks followed by `block`, and keep the newest."""
        window = np.concatenate([self.past, block]) if len(self.past) else block
        self.past = window[max(len(window) - self.kept, 0) :]
        return window


@njit(cache=True, nogil=True)
def _scale_row(row: np.ndarray, weight: float, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = weight * row[i]


@njit(cache=True, nogil=True)
def _add_sum(earlier: np.ndarray, later: np.ndarray, weight: float, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] += weight * (later[i] + earlier[i])


@njit(cache=True, nogil=True)
def _add_difference(earlier: np.ndarray, later: np.ndarray, weight: float, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] += weight * (later[i] - earlier[i])


@njit(cache=True, nogil=True)
def _correlate(window: np.ndarray, kernel: np.ndarray, is_odd: bool, out: np.ndarray) -> None:
    radius, size = len(kernel) // 2, window.shape[1]
    for start in range(0, size, SEGMENT):
        stop = min(start + SEGMENT, size)
        for t in range(len(out)):
            # the row comes first: numba then knows that the slice is contiguous
            target = out[t][start:stop]
            _scale_row(window[t + radius][start:stop], kernel[radius], target)
            for d in range(1, radius + 1):
                earlier = window[t + radius - d][start:stop]
                later = window[t + radius + d][start:stop]
                if is_odd:
                    _add_difference(earlier, later, kernel[radius + d], target)
                else:
                    _add_sum(earlier, later, kernel[radius + d], target)


def correlate_time(window: Float32, kernel: Float32) -> Float32:
    """Correlate along time wherever the kernel fits: (n, H, W) gives (n - 2 r, H, W).

    The kernel, of 2 r + 1 float32 weights, is even or odd. Frames at one distance are added (or
    subtracted) first, so that an odd kernel gives exactly zero on frames that are equal.
    """
    n = max(len(window) - len(kernel) + 1, 0)
    out = np.empty((n, *window.shape[1:]), np.float32)
    is_odd = bool(kernel[0] == -kernel[-1])
    _correlate(flat_planes(window), kernel, is_odd, flat_planes(out))
    return out


@njit(cache=True, nogil=True)
def _is_peak(window: np.ndarray, t: int, y: int, x: int) -> bool:
    value = window[t, y, x]
    for dt in range(-1, 2):
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                other = window[t + dt, y + dy, x + dx]
                is_later = (dt, dy, dx) > (0, 0, 0)
                if other > value or (other == value and (dt, dy, dx) != (0, 0, 0) and not is_later):
                    return False
    return True


@njit(cache=True, nogil=True)
def _peaks(window: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    is_peak = np.empty(len(candidates), np.bool_)
    for i in range(len(candidates)):
        is_peak[i] = _is_peak(window, candidates[i, 0], candidates[i, 1], candidates[i, 2])
    return is_peak


def local_maxima(window: Float32, threshold: float, border: int) -> NDArray[np.int64]:
    """Find the voxels that exceed a threshold and their 26 neighbours.

    Of equal neighbours the first in the order of t, y, x is taken.

    Parameters
    ----------
    window : ndarray of shape (n, H, W), float32
        The first and the last frame serve as neighbours only.
    threshold : float
        What a maximum must exceed.
    border : int
        At least 1: rows and columns at each side in which none is taken.

    Returns
    -------
    ndarray of shape (N, 3), int64
        t, y, x, sorted.

    Examples
    --------
    >>> video = np.zeros((3, 5, 5), np.float32)
    >>> video[1, 2, 2:4] = 1
    >>> local_maxima(video, 0.5, border=1)
    array([[1, 2, 2]])
    """
    inner = window[1:-1, border : -border or None, border : -border or None]
    candidates = np.argwhere(inner > threshold) + [1, border, border]
    return candidates[_peaks(window, candidates)]
