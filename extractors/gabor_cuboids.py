"""Cuboids: where the image flickers or moves at the pace of a temporal filter.

Dollar, Rabaud, Cottrell, Belongie, "Behavior recognition via sparse spatio-temporal features",
VS-PETS 2005: local maxima of the energy of a quadrature pair of temporal Gabor filters, described
by the brightness gradient at the voxels of the cuboid around each. Reducing that descriptor by PCA
needs a corpus and is not done here.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cinefeat.extractors.interest_points import (
    ROW,
    Chunk,
    Gray,
    Rows,
    frame_count,
    gray_frames,
    info_rows,
    join_chunks,
    share_of_time,
    sort_points,
)
from cinefeat.extractors.spacetime_filters import (
    Delay,
    Float32,
    blocks,
    correlate_time,
    gaussian,
    hold_ends,
    local_maxima,
    smooth_planes,
)

CUT = 2.5  # tau at which the temporal filters end; their envelope is 0.002 there
HALF_SIDE = 3  # of a cuboid over its scale: it is about six scales long on every axis
BLOCK_FRAMES = 16


@dataclass(frozen=True)
class CuboidSettings:
    """Hold the scales of the detector and the sampling of the descriptor.

    Parameters
    ----------
    sigma : float
        Standard deviation of the spatial Gaussian, pixels.
    tau : float
        Length of the temporal filters, frames: their envelope is ``exp(-t**2 / tau**2)``.
    frequency : float, optional
        Cycles per frame that the filters are tuned to, above 0 and below 0.5; 1 / `tau` by default.
    threshold : float
        Response that a point must exceed, for grey values in 0..1.
    stride : int
        Distance of the voxels that are described, pixels and frames; 1 takes every one.
    max_points_per_frame : int, optional
        Keep only so many points of a frame, those of largest response.

    Raises
    ------
    ValueError
        If a value is not positive or the frequency is out of its range.
    """

    sigma: float = 2.0
    tau: float = 3.0
    frequency: float | None = None
    threshold: float = 2e-4
    stride: int = 2
    max_points_per_frame: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; it must be above 0")
        if self.cycles_per_frame >= 0.5:
            raise ValueError(
                f"the frequency {self.cycles_per_frame:g} is not below 0.5 cycles per frame, the "
                "fastest that frames show; give a lower frequency or a larger tau"
            )

    @property
    def cycles_per_frame(self) -> float:
        """The frequency that the filters are tuned to."""
        return 1 / self.tau if self.frequency is None else self.frequency

    @property
    def half_sides(self) -> tuple[int, int]:
        """Half of a cuboid's length in time and in space, without the middle voxel."""
        return round(HALF_SIDE * self.tau), round(HALF_SIDE * self.sigma)


def quadrature_pair(tau: float, frequency: float) -> tuple[Float32, Float32]:
    """Return the even and the odd temporal filter, each of 2 r + 1 weights, r = 2.5 tau rounded up.

    They are ``-cos(2 pi frequency t) exp(-t**2 / tau**2)`` and the same with the sine. A multiple
    of the envelope is taken from the even one so that its sum is 0, and both are divided by the sum
    of its magnitudes.

    Examples
    --------
    >>> even, odd = quadrature_pair(2, 0.25)
    >>> even[5:9].round(3)
    array([-0.482,  0.035,  0.21 ,  0.005], dtype=float32)
    >>> odd[5:9].round(3) + 0
    array([ 0.   , -0.41 ,  0.   ,  0.056], dtype=float32)
    """
    radius = math.ceil(CUT * tau)
    t = np.arange(-radius, radius + 1)
    envelope = np.exp(-(t**2) / tau**2)
    even = -np.cos(2 * np.pi * frequency * t) * envelope
    even -= envelope * (even.sum() / envelope.sum())
    odd = -np.sin(2 * np.pi * frequency * t) * envelope
    size = np.abs(even).sum()
    return (even / size).astype(np.float32), (odd / size).astype(np.float32)


class _Detector:
    """Find the points of a stream of blocks."""

    def __init__(self, settings: CuboidSettings) -> None:
        self.settings = settings
        self.window = gaussian(settings.sigma**2)
        self.pair = quadrature_pair(settings.tau, settings.cycles_per_frame)
        self.input, self.responses = Delay(len(self.pair[0]) // 2), Delay(1)
        self.lag = len(self.pair[0]) // 2 + 1

    def push(self, block: Float32, end: int) -> Rows:
        """Return the points that a block (B, H, W) adds; `end` is the frame after it."""
        smooth = self.input.push(smooth_planes(block, self.window, self.window))
        even, odd = (correlate_time(smooth, kernel) for kernel in self.pair)
        window = self.responses.push(even * even + odd * odd)
        t, y, x = local_maxima(window, self.settings.threshold, border=1).T
        rows = np.zeros((len(t), len(ROW)))
        rows[:, 0] = t + end - self.lag - (len(window) - 1)
        rows[:, 1:3] = self.settings.sigma**2, self.settings.tau**2
        rows[:, 3], rows[:, 4], rows[:, 5] = y, x, window[t, y, x]
        return rows


def _triangle(stride: int) -> Float32:
    """Return weights that fall from the middle to 0 at `stride`; their sum is 1."""
    distance = np.abs(np.arange(1 - stride, stride))
    return ((stride - distance) / stride**2).astype(np.float32)


def _samples(half: int, stride: int, shift: int) -> slice:
    """Slice the multiples of the stride, shifted, out of an axis from -half - 1 to half + 1."""
    reach = half // stride * stride
    return slice(half + 1 - reach + shift, half + 2 + reach + shift, stride)


class _Describer:
    """Keep the newest frames, averaged for sampling, and describe points."""

    def __init__(self, settings: CuboidSettings, depth: int) -> None:
        self.triangle, self.depth = _triangle(settings.stride), depth
        self.settings = settings
        self.n_frames, self.ring = 0, np.empty((0, 0, 0), np.float32)

    def push(self, gray: Gray) -> Float32:
        """Take the next frame and return it with grey values in 0..1."""
        plane: Float32 = np.divide(gray, 255, dtype=np.float32)
        if not self.n_frames:
            self.ring = np.empty((self.depth, *gray.shape), np.float32)
        averaged = smooth_planes(plane[None], self.triangle, self.triangle)
        self.ring[self.n_frames % self.depth] = averaged[0]
        self.n_frames += 1
        return plane

    def _neighbourhood(self, frame: int, y: int, x: int) -> Float32:
        """Cut a cuboid and one voxel around it out of the averaged video, its edges repeated."""
        half_t, half = self.settings.half_sides
        margin = len(self.triangle) // 2
        n = 2 * half_t + 3
        t = frame + np.arange(-half_t - 1 - margin, half_t + 2 + margin)
        around = np.arange(-half - 1, half + 2)
        rows = np.clip(y + around, 0, self.ring.shape[1] - 1)
        columns = np.clip(x + around, 0, self.ring.shape[2] - 1)
        t = np.clip(t, 0, self.n_frames - 1) % self.depth
        values = self.ring[np.ix_(t, rows, columns)]
        total = np.zeros((n, *values.shape[1:]), np.float32)
        for d, weight in enumerate(self.triangle):
            total += weight * values[d : d + n]
        return total

    def gradient(self, frame: int, y: int, x: int) -> Float32:
        """Return the x, y and t components (3, n_t, n_y, n_x) at the sampled voxels."""
        values, stride = self._neighbourhood(frame, y, x), self.settings.stride
        before, at, after = (
            [_samples(half, stride, shift) for half in self.settings.half_sides]
            for shift in (-1, 0, 1)
        )
        (t, i), (t0, i0), (t1, i1) = at, before, after
        dx = values[t, i, i1] - values[t, i, i0]
        dy = values[t, i1, i] - values[t, i0, i]
        dt = values[t1, i, i] - values[t0, i, i]
        return np.float32(0.5) * np.stack([dx, dy, dt])

    def rows(self, points: Rows) -> Chunk:
        """Return info and cuboid of points; the last column of info is left as a frame."""
        cuboid = np.empty((len(points), descriptor_size(self.settings)), np.float32)
        for i, (frame, _, _, y, x, _, _) in enumerate(points):
            cuboid[i] = self.gradient(int(frame), int(y), int(x)).ravel()
        return {"info": info_rows(points, self.ring.shape[:0:-1]), "cuboid": cuboid}


def descriptor_size(settings: CuboidSettings) -> int:
    """Return D, the length of a descriptor.

    Examples
    --------
    >>> descriptor_size(CuboidSettings()), descriptor_size(CuboidSettings(stride=1))
    (1323, 9633)
    """
    n_t, n = (2 * (half // settings.stride) + 1 for half in settings.half_sides)
    return 3 * n_t * n * n


def _rows(
    grays: Iterable[Gray], block_frames: int, settings: CuboidSettings
) -> Iterator[tuple[Chunk, int]]:
    """Yield the rows that each block completes, and the number of frames read by then."""
    detector = _Detector(settings)
    reach = settings.half_sides[0] + settings.stride
    lag = max(detector.lag, reach)
    describer = _Describer(settings, block_frames + lag + reach)
    end, pending = -lag, np.empty((0, len(ROW)))
    for block in blocks(hold_ends(map(describer.push, grays), lag), block_frames):
        end += len(block)
        pending = np.concatenate([pending, detector.push(block, end)])
        is_complete = pending[:, 0] < end - lag
        points, pending = pending[is_complete], pending[~is_complete]
        is_inside = (points[:, 0] >= 0) & (points[:, 0] < describer.n_frames)
        points = sort_points(points[is_inside], settings.max_points_per_frame)
        yield describer.rows(points), describer.n_frames


def iter_cuboids(
    frames: Iterable[np.ndarray],
    *,
    n_frames: int | None = None,
    block_frames: int = BLOCK_FRAMES,
    **settings: Any,
) -> Iterator[Chunk]:
    """Yield the cuboids of a video in chunks, in constant memory.

    Takes what `cuboids` does, frames (H, W, 3) or (H, W), and gives its dict of arrays; chunks may
    be empty and follow one another in the order of its rows. The last column of `info` needs the
    number of frames: where `frames` has no length, give `n_frames`.

    Raises
    ------
    ValueError
        As `cuboids`, and if neither `n_frames` nor ``len(frames)`` is known.

    Examples
    --------
    >>> frames = np.zeros((25, 20, 24), np.uint8)
    >>> frames[12, 8:11, 14:17] = 255
    >>> sum(len(chunk["info"]) for chunk in iter_cuboids(frames)) > 0
    True
    """
    total, chosen = frame_count(frames, n_frames), CuboidSettings(**settings)
    rows = _rows(gray_frames(frames, _min_side(chosen)), block_frames, chosen)
    return (share_of_time(chunk, total) for chunk, _ in rows)


def cuboids(
    frames: Iterable[np.ndarray], *, block_frames: int = BLOCK_FRAMES, **settings: Any
) -> Chunk:
    """Find the cuboids of a video and describe them by the brightness gradient.

    The grey video, values in 0..1, is smoothed by a spatial Gaussian and filtered along time by the
    even and the odd filter of `quadrature_pair`; the response is the sum of their squares. Points
    are its local maxima over x, y and t (26 neighbours) above `threshold` [1]_. The descriptor is
    the gradient along x, y and t (half the difference of the two neighbours) at the voxels of the
    cuboid around the point, half ``round(3 sigma)`` pixels and ``round(3 tau)`` frames to either
    side: 13 x 13 x 19 voxels by default.

    Parameters
    ----------
    frames : iterable of ndarray, RGB (H, W, 3) or grey (H, W), uint8
        Read once, frame by frame. Both sides at least that of a cuboid.
    block_frames : int
        Frames that are filtered together: memory and speed depend on it, results do not.
    **settings
        Fields of `CuboidSettings`: sigma, tau, frequency, threshold, stride, max_points_per_frame.

    Returns
    -------
    dict of ndarray, float32
        Rows belong to points, by frame, y, x; N may be 0.

        ``info`` (N, 9): the columns of `INFO_COLUMNS`, as for `space_time_interest_points`;
        sigma2 and tau2 are the squares of the settings.
        ``cuboid`` (N, D): D = `descriptor_size`, 1323 by default. All x components, then y, then
        t; each by t, then y, then x. Grey values (0..1) per pixel and per frame.

    Raises
    ------
    ValueError
        If a frame is no uint8 image, the frames are too small, differ in size or are none, or for
        a setting out of its range.

    Notes
    -----
    The paper sets the frequency to 4 / tau, which on whole frames is above what they can show for
    tau below 8; at tau of 2.5 or 3 its samples are those of 1 / tau, also the ratio in the
    authors' program, and that is the default. The program subtracts the mean from its filters,
    here a multiple of the envelope, so that brightness does not count in either.

    The paper describes every voxel. At a `stride` s only multiples of s from the middle are taken,
    of the video averaged along x, y and t with weights that fall linearly to 0 at s; s = 1 is the
    paper's. Edges of the video are repeated in filters and cuboids.

    Every translation of texture responds where its frequency (velocity over wavelength) is near
    that of the filters: a moving scene has cuboids, a static one none.

    References
    ----------
    .. [1] Dollar, Rabaud, Cottrell, Belongie. Behavior recognition via sparse spatio-temporal
       features. VS-PETS 2005.

    Examples
    --------
    A spot that flashes once, at frame 12:

    >>> frames = np.zeros((25, 20, 24), np.uint8)
    >>> frames[12, 8:11, 14:17] = 255
    >>> cuboids(frames)["info"][0, :3]
    array([12., 15.,  9.], dtype=float32)
    """
    chosen = CuboidSettings(**settings)
    rows = list(_rows(gray_frames(frames, _min_side(chosen)), block_frames, chosen))
    return share_of_time(join_chunks([chunk for chunk, _ in rows]), rows[-1][1])


def _min_side(settings: CuboidSettings) -> int:
    return 2 * settings.half_sides[1] + 1
