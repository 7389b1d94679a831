"""Sampling, tracking and pruning of dense trajectories, one pyramid level at a time.

The definitions are those of the authors' programs for dense trajectories (Wang, Klaser, Schmid,
Liu, CVPR 2011 and IJCV 2013) and improved dense trajectories (Wang, Schmid, ICCV 2013). Every level
of a pyramid with the factor sqrt(2) is sampled, tracked and pruned for itself in its own pixels;
levels never exchange tracks. Optical flow, descriptors and camera motion live in their own modules.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numba import njit

Planes = tuple[np.ndarray, np.ndarray]  # the x and y components of a flow field

DESCRIPTORS = ("hog", "hof", "mbhx", "mbhy")
SCALE_STEP = np.float32(np.sqrt(2.0))
CORNER_QUALITY = 0.001  # of the largest minimal eigenvalue of the level
MIN_STD = np.float32(np.sqrt(3.0))  # px; a track below it on both axes stands still
MAX_STD = np.float32(50.0)  # px; a track above it on one axis is an error
MAX_STEP = np.float32(20.0)  # px; a step above it that makes most of the track is an error
MAX_STEP_SHARE = np.float32(0.7)
MIN_STABILISED_STEP = np.float32(1.0)  # px; what moves less once stabilised is background


@dataclass(frozen=True)
class TrajectorySettings:
    """Hold the sizes of tracks and descriptors; the defaults are the reference's.

    Parameters
    ----------
    track_length : int
        L, steps of a track; it has L + 1 points.
    stride : int
        Distance in pixels of the sampling grid, at every level.
    patch_size : int
        Side in pixels of the square around a point that is described, at every level.
    spatial_cells : int
        Cells of the patch along x and along y; must divide `patch_size`.
    temporal_cells : int
        Cells of the track along time. Where it does not divide L, the last ``L % temporal_cells``
        steps are tracked and not described.
    max_scales : int
        Most pyramid levels used; fewer where the image gets smaller than the patch.

    Raises
    ------
    ValueError
        If a size is not a positive integer or the cells do not fit the patch or the track.
    """

    track_length: int = 15
    stride: int = 5
    patch_size: int = 32
    spatial_cells: int = 2
    temporal_cells: int = 3
    max_scales: int = 8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if int(value) != value or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a positive integer")
        if self.patch_size % self.spatial_cells:
            raise ValueError(
                f"spatial_cells {self.spatial_cells} does not divide patch_size {self.patch_size}"
            )
        if self.temporal_cells > self.track_length:
            raise ValueError(
                f"temporal_cells {self.temporal_cells} exceeds track_length {self.track_length}"
            )


class Level(NamedTuple):
    """One pyramid level: full-resolution pixels = level pixels times `scale`."""

    scale: np.float32
    width: int
    height: int


def pyramid_levels(width: int, height: int, settings: TrajectorySettings) -> tuple[Level, ...]:
    """List the pyramid levels of an image.

    The scale of level i is sqrt(2)**i, multiplied up in float32 as the reference does; a level
    measures ``round(size / scale)`` with halves to even. The smallest level is the last whose
    shorter side reaches `patch_size`.

    Raises
    ------
    ValueError
        If the image is smaller than the patch. The reference then reads outside its arrays.

    Examples
    --------
    >>> [level[1:] for level in pyramid_levels(160, 120, TrajectorySettings())]
    [(160, 120), (113, 85), (80, 60), (57, 42)]
    """
    shorter = np.float32(min(width, height))
    if shorter < settings.patch_size:
        raise ValueError(
            f"frames of {width}x{height} px are smaller than the patch of "
            f"{settings.patch_size} px; enlarge the video or set a smaller patch_size"
        )
    levels: list[Level] = []
    scale = np.float32(1.0)
    while shorter >= settings.patch_size and len(levels) < settings.max_scales:
        size = (int(np.rint(np.float32(width) / scale)), int(np.rint(np.float32(height) / scale)))
        levels.append(Level(scale, *size))
        shorter, scale = shorter / SCALE_STEP, scale * SCALE_STEP
    return tuple(levels)


class Tracks(NamedTuple):
    """The tracks of one level as arrays over S slots; L steps, T temporal cells, C values in each.

    ``order[:n]`` lists the slots of the n live tracks, oldest first; ``order[n:]`` the free ones.
    Temporal cells come first in the sums: tracks of about the same age lie together in memory.
    """

    order: np.ndarray  # (S,) int32
    age: np.ndarray  # (S,) int32, steps made
    points: np.ndarray  # (S, L + 1, 2) float32, level pixels
    steps: np.ndarray  # (S, L, 2) float32, stabilised displacements, level pixels
    hog: np.ndarray  # (T, S, C) float32, per-frame vectors summed over each temporal cell
    hof: np.ndarray
    mbhx: np.ndarray
    mbhy: np.ndarray
    corner: np.ndarray  # (S, 2) int32: left and top of the patch of the current step


def empty_tracks(slots: int, settings: TrajectorySettings) -> Tracks:
    """Return storage for `slots` tracks, all free."""
    length, cells = settings.track_length, settings.spatial_cells**2
    hog, hof, mbhx, mbhy = (
        np.zeros((settings.temporal_cells, slots, cells * bins), np.float32)
        for bins in (8, 9, 8, 8)
    )
    return Tracks(
        np.arange(slots, dtype=np.int32),
        np.zeros(slots, np.int32),
        np.zeros((slots, length + 1, 2), np.float32),
        np.zeros((slots, length, 2), np.float32),
        hog, hof, mbhx, mbhy,
        np.zeros((slots, 2), np.int32),
    )  # fmt: skip


def with_room(tracks: Tracks, n: int, more: int, settings: TrajectorySettings) -> Tracks:
    """Return storage that has at least `more` free slots beside the n live tracks."""
    slots = len(tracks.order)
    if n + more <= slots:
        return tracks
    grown = empty_tracks(max(2 * slots, n + more), settings)
    for name, old in tracks._asdict().items():
        new = getattr(grown, name)
        if name in DESCRIPTORS:
            new[:, :slots] = old
        else:
            new[:slots] = old
    return grown


@njit(cache=True, nogil=True, error_model="numpy")
def _partition(order: np.ndarray, n: int, dead: np.ndarray) -> int:
    """Move the slots of dead tracks behind those of the live ones; return the live count."""
    freed = np.empty(n, np.int32)
    live, n_freed = 0, 0
    for i in range(n):
        if dead[i]:
            freed[n_freed] = order[i]
            n_freed += 1
        else:
            order[live] = order[i]
            live += 1
    order[live:n] = freed[:n_freed]
    return live


@njit(cache=True, nogil=True, error_model="numpy")
def _clamp(value: float, last: int) -> int:
    return min(max(int(np.rint(value)), 0), last)


@njit(cache=True, nogil=True, error_model="numpy")
def advance(tracks: Tracks, n: int, flow: Planes, stabilised: Planes, patch_size: int) -> int:
    """Move the first n tracks one step along the flow; drop those that leave the level.

    A step is the flow at the pixel nearest to the last point (halves to even, clamped into the
    level). The patch of the step is centred at the last point, and moved inside at the borders.

    Parameters
    ----------
    tracks : Tracks
        Changed in place: order, age, points, steps, corner.
    n : int
        Live tracks.
    flow, stabilised : pair of ndarray of shape (h, w), float32
        The x and y components of the flow to track on and of the flow whose displacements are kept
        as `steps`, level pixels per frame.
    patch_size : int
        Side of the patch, pixels.

    Returns
    -------
    int
        Live tracks left.
    """
    flow_x, flow_y = flow
    warped_x, warped_y = stabilised
    height, width = flow_x.shape
    half = patch_size // 2
    dead = np.zeros(n, np.bool_)
    for i in range(n):
        s, t = tracks.order[i], tracks.age[tracks.order[i]]
        x, y = tracks.points[s, t, 0], tracks.points[s, t, 1]
        column, row = _clamp(x, width - 1), _clamp(y, height - 1)
        new_x, new_y = x + flow_x[row, column], y + flow_y[row, column]
        if not (0 < new_x < width and 0 < new_y < height):
            dead[i] = True
            continue
        tracks.points[s, t + 1, 0], tracks.points[s, t + 1, 1] = new_x, new_y
        tracks.steps[s, t, 0] = warped_x[row, column]
        tracks.steps[s, t, 1] = warped_y[row, column]
        tracks.corner[s, 0] = min(max(int(np.rint(x)) - half, 0), width - patch_size)
        tracks.corner[s, 1] = min(max(int(np.rint(y)) - half, 0), height - patch_size)
        tracks.age[s] = t + 1
    return _partition(tracks.order, n, dead)


@njit(cache=True, nogil=True, error_model="numpy")
def _moves_plausibly(points: np.ndarray, summary: np.ndarray) -> bool:
    """Tell whether a track neither stands still nor jumps; summary: means, stds, length."""
    count = np.float32(len(points))
    norm = np.float32(1.0) / count
    summary[:] = 0
    for p in points:
        summary[0] += p[0]
        summary[1] += p[1]
    summary[0] *= norm
    summary[1] *= norm
    for p in points:
        summary[2] += (p[0] - summary[0]) ** 2
        summary[3] += (p[1] - summary[1]) ** 2
    summary[2] = np.sqrt(summary[2] * norm)
    summary[3] = np.sqrt(summary[3] * norm)
    longest = np.float32(0)
    for t in range(len(points) - 1):
        dx, dy = points[t + 1, 0] - points[t, 0], points[t + 1, 1] - points[t, 1]
        step = np.sqrt(dx * dx + dy * dy)
        summary[4] += step
        longest = max(longest, step)
    still = summary[2] < MIN_STD and summary[3] < MIN_STD
    wild = summary[2] > MAX_STD or summary[3] > MAX_STD
    jumps = longest > MAX_STEP and longest > MAX_STEP_SHARE * summary[4]
    return not (still or wild or jumps)


@njit(cache=True, nogil=True, error_model="numpy")
def _shape_of_steps(steps: np.ndarray, scale: np.float32, out: np.ndarray) -> np.float32:
    """Write the steps divided by the sum of their lengths; return the longest, full-res px."""
    total, longest = np.float32(0), np.float32(0)
    for t in range(len(steps)):
        dx, dy = steps[t, 0] * scale, steps[t, 1] * scale
        step = np.sqrt(dx * dx + dy * dy)
        total += step
        longest = max(longest, step)
        out[2 * t], out[2 * t + 1] = dx, dy
    if total > 0:
        out /= total
    return longest


@njit(cache=True, nogil=True, error_model="numpy")
def finish(
    tracks: Tracks, n: int, scale: float, stabilised: bool, slots: np.ndarray,
    summaries: np.ndarray, shapes: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """End the tracks that have made all their steps and keep the valid ones.

    A track is refused if its points (full-resolution pixels) have a standard deviation below
    sqrt(3) px on both axes or above 50 px on one, or if one step is above 20 px and above 0.7 of
    the length. With `stabilised` also if no stabilised step is above 1 px.

    Parameters
    ----------
    tracks : Tracks
        `order` is changed in place: ended tracks become free (their values stay readable).
    n : int
        Live tracks.
    scale : float32
        Full-resolution pixels per level pixel.
    stabilised : bool
        Whether the camera motion has been removed from `tracks.steps`.
    slots, summaries, shapes : ndarrays of shapes (>= n,), (>= n, 5), (>= n, 2 L)
        Filled: slot; mean x, mean y, std x, std y, length; normalised steps of each kept track.

    Returns
    -------
    tuple of int
        Live tracks left and tracks kept.
    """
    dead = np.zeros(n, np.bool_)
    kept = 0
    length = tracks.steps.shape[1]
    for i in range(n):
        s = tracks.order[i]
        if tracks.age[s] < length:
            continue
        dead[i] = True
        if _moves_plausibly(tracks.points[s] * scale, summaries[kept]):
            longest = _shape_of_steps(tracks.steps[s], scale, shapes[kept])
            if not stabilised or longest > MIN_STABILISED_STEP:
                slots[kept] = s
                kept += 1
    return _partition(tracks.order, n, dead), kept


@njit(cache=True, nogil=True, error_model="numpy")
def _start_tracks(tracks: Tracks, n: int, textured: np.ndarray, stride: int) -> int:
    rows, columns = textured.shape
    free = textured.copy()
    for i in range(n):
        s = tracks.order[i]
        x, y = tracks.points[s, tracks.age[s], 0], tracks.points[s, tracks.age[s], 1]
        column, row = int(x) // stride, int(y) // stride
        if column < columns and row < rows:
            free[row, column] = False
    for row in range(rows):
        for column in range(columns):
            if not free[row, column]:
                continue
            s = tracks.order[n]
            n += 1
            tracks.age[s] = 0
            tracks.points[s, 0, 0] = column * stride + stride // 2
            tracks.points[s, 0, 1] = row * stride + stride // 2
    return n


def textured_cells(gray: np.ndarray, stride: int) -> np.ndarray:
    """Tell in which cells of the sampling grid a track may start.

    The candidate of a cell is its middle pixel. It is taken if the smaller eigenvalue of the second
    moments of the gradient (3x3) is above 0.001 of the largest in the image.

    Parameters
    ----------
    gray : ndarray of shape (h, w), uint8
    stride : int
        Side of a cell, pixels.

    Returns
    -------
    ndarray of shape (h // stride, w // stride), bool

    Examples
    --------
    >>> gray = np.zeros((10, 15), np.uint8)
    >>> gray[2:5, 7:9] = 255
    >>> textured_cells(gray, 5)
    array([[False,  True, False],
           [False, False, False]])
    """
    eigenvalues = cv2.cornerMinEigenVal(gray, 3, ksize=3)
    rows, columns = gray.shape[0] // stride, gray.shape[1] // stride
    middle = eigenvalues[stride // 2 :: stride, stride // 2 :: stride][:rows, :columns]
    return middle > np.float64(CORNER_QUALITY) * np.float64(eigenvalues.max())


def sample(
    tracks: Tracks, n: int, gray: np.ndarray, settings: TrajectorySettings
) -> tuple[Tracks, int]:
    """Start a track in every textured cell of the grid that holds no live track.

    A track holds the cell of its last point. New tracks come after the live ones, row by row.

    Parameters
    ----------
    tracks, n
        Storage and its count of live tracks; changed in place (or replaced when full).
    gray : ndarray of shape (h, w), uint8
        The level image of the frame on which the live tracks have arrived.
    settings : TrajectorySettings

    Returns
    -------
    tuple of Tracks and int
        The storage and the live tracks in it.
    """
    textured = textured_cells(gray, settings.stride)
    tracks = with_room(tracks, n, textured.size, settings)
    return tracks, _start_tracks(tracks, n, textured, settings.stride)
