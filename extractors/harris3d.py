"""The Harris detector in space and time: where a corner of the image changes its motion.

Laptev, "On space-time interest points", IJCV 2005, at fixed scales as in the authors' released
program: there is no selection of scales. Derivatives are Gaussian ones and scale-normalised. Blocks
of frames go in and points come out; describing them is the business of `stip`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from cinefeat.extractors.interest_points import ROW, Rows
from cinefeat.extractors.spacetime_filters import (
    Delay,
    Float32,
    correlate_time,
    gaussian,
    gaussian_derivative,
    local_maxima,
    smooth_planes,
)

INTEGRATION = 2.0  # s, the window of the second moments over the scale, in variance
SMALLEST_SIGMA2 = 4.0  # px^2 that a scale keeps on its pyramid level
BORDER_SIGMAS = 3.0  # points nearer to a border of the image are left out
END_TAUS = 4.0  # and those nearer to either end of the video, where held frames stop all motion
PYRAMID_KERNEL_VARIANCE = 1.0  # px^2, of the weights 1 4 6 4 1 before every other pixel is dropped


@dataclass(frozen=True)
class StipSettings:
    """Hold the scales and the thresholds of the detector.

    Parameters
    ----------
    sigma2 : tuple of float
        Variances of the spatial scales, pixels squared.
    tau2 : tuple of float
        Variances of the temporal scales, frames squared.
    k : float
        Weight of the cubed trace in the response.
    threshold : float
        Response that a point must exceed, for grey values in 0..1.
    max_points_per_frame : int, optional
        Keep only so many points of a frame, those of largest response over all scales.

    Raises
    ------
    ValueError
        If a value is not positive or there is no scale.
    """

    sigma2: tuple[float, ...] = (4, 8, 16, 32, 64, 128)
    tau2: tuple[float, ...] = (2, 4)
    k: float = 0.0005
    threshold: float = 1e-9
    max_points_per_frame: int | None = None

    def __post_init__(self) -> None:
        for name in ("sigma2", "tau2"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise ValueError(f"{name} is {values}; give at least one variance, all above 0")
        for name in ("k", "threshold", "max_points_per_frame"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; it must be above 0")


@njit(cache=True, nogil=True)
def _harris(
    xx: np.ndarray, yy: np.ndarray, tt: np.ndarray, xy: np.ndarray, xt: np.ndarray,
    yt: np.ndarray, k: float, out: np.ndarray,
) -> None:  # fmt: skip
    """Write det(mu) - k trace(mu)^3, pixel by pixel."""
    for i in range(len(out)):
        det = xx[i] * (yy[i] * tt[i] - yt[i] * yt[i]) - xy[i] * (xy[i] * tt[i] - yt[i] * xt[i])
        det += xt[i] * (xy[i] * yt[i] - yy[i] * xt[i])
        trace = xx[i] + yy[i] + tt[i]
        out[i] = det - k * (trace * trace * trace)


class _Channel:
    """Turn blocks of one level's derivatives into points at one pair of scales."""

    def __init__(self, sigma2: float, tau2: float, settings: StipSettings) -> None:
        self.sigma2, self.tau2, self.settings = sigma2, tau2, settings
        self.level = pyramid_level(sigma2)
        self.variance = sigma2 / 4**self.level  # in pixels of the level
        self.window = gaussian(INTEGRATION * self.variance)
        self.smooth = gaussian(tau2)
        self.slope = np.float32(math.sqrt(tau2)) * gaussian_derivative(tau2)
        self.average = gaussian(INTEGRATION * tau2)
        self.inputs = [Delay(len(self.smooth) // 2) for _ in range(3)]
        self.products = [Delay(len(self.average) // 2) for _ in range(6)]
        self.responses = Delay(1)
        self.border = math.ceil(BORDER_SIGMAS * math.sqrt(self.variance))
        self.end_frames = int(end_frames(tau2))

    @property
    def lag(self) -> int:
        """Frames from the newest one that was pushed back to the newest that has its points."""
        return len(self.smooth) // 2 + len(self.average) // 2 + 1

    def _respond(self, derivatives: Sequence[Float32]) -> Float32:
        """Return the responses (n, h, w) that are new, after the last two of before."""
        kernels = (self.smooth, self.smooth, self.slope)
        x, y, t = (
            correlate_time(delay.push(block), kernel)
            for delay, block, kernel in zip(self.inputs, derivatives, kernels, strict=True)
        )
        products = (x * x, y * y, t * t, x * y, x * t, y * t)
        moments = [
            correlate_time(delay.push(smooth_planes(p, self.window, self.window)), self.average)
            for delay, p in zip(self.products, products, strict=True)
        ]
        out = np.empty_like(moments[0])
        _harris(*(m.ravel() for m in moments), np.float32(self.settings.k), out.ravel())
        return self.responses.push(out)

    def push(self, derivatives: Sequence[Float32], end: int) -> Rows:
        """Return the points that a block adds; `end` is the number of the frame after it."""
        window = self._respond(derivatives)
        t, y, x = local_maxima(window, self.settings.threshold, self.border).T
        rows = np.empty((len(t), len(ROW)))
        rows[:, 0] = t + end - self.lag - (len(window) - 1)
        rows[:, 1:3] = self.sigma2, self.tau2
        rows[:, 3], rows[:, 4], rows[:, 5], rows[:, 6] = y, x, window[t, y, x], self.level
        return rows[rows[:, 0] >= self.end_frames]


def pyramid_level(sigma2: float) -> int:
    """Return the pyramid level of a scale: the coarsest on which its variance is at least 4 px^2.

    Examples
    --------
    >>> [pyramid_level(sigma2) for sigma2 in (1, 4, 8, 16, 32, 64, 128)]
    [0, 0, 0, 1, 1, 2, 2]
    """
    level = 0
    while sigma2 / 4 ** (level + 1) >= SMALLEST_SIGMA2:
        level += 1
    return level


def end_frames(tau2: float | NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many frames at either end of a video have no points of a temporal scale."""
    return np.ceil(END_TAUS * np.sqrt(tau2)).astype(np.int64)


def _halve(block: Float32) -> Float32:
    return np.stack([cv2.pyrDown(plane) for plane in block])


def _derivatives(block: Float32, variance: float, blurred: float) -> list[Float32]:
    """Return sigma times the derivatives along x and y of the smoothed planes, and those planes."""
    smooth, slope = gaussian(variance - blurred), gaussian_derivative(variance - blurred)
    slope = np.float32(math.sqrt(variance)) * slope
    kernels = ((slope, smooth), (smooth, slope), (smooth, smooth))
    return [smooth_planes(block, across, down) for across, down in kernels]


class Detector:
    """Find the points of all scales in a stream of blocks."""

    def __init__(self, settings: StipSettings) -> None:
        self.channels = {
            sigma2: [_Channel(sigma2, tau2, settings) for tau2 in settings.tau2]
            for sigma2 in settings.sigma2
        }
        channels = [channel for scale in self.channels.values() for channel in scale]
        self.lag = max(channel.lag for channel in channels)
        # frames to hold at either end, so that those which may have points are all complete
        self.margin = self.lag - min(channel.end_frames for channel in channels)
        self.n_levels = max(map(pyramid_level, settings.sigma2)) + 1

    def push(self, block: Float32, end: int) -> Rows:
        """Return the points that a block (B, H, W) of grey values 0..1 adds, in no order."""
        found, blurred = [], 0.0  # the variance that the pyramid has given the block, level pixels
        for level in range(self.n_levels):
            if level:
                block, blurred = _halve(block), (blurred + PYRAMID_KERNEL_VARIANCE) / 4
            for sigma2 in (s for s in self.channels if pyramid_level(s) == level):
                derivatives = _derivatives(block, sigma2 / 4**level, blurred)
                found += [channel.push(derivatives, end) for channel in self.channels[sigma2]]
        return np.concatenate(found)
