"""Orientation histograms in the patches of tracks: HOG, HOF and motion boundaries (MBH).

A pixel's vector (x, y) votes with its length for the two nearest of eight directions over 360
degrees. A patch is divided into cells; the sums of its cells are made a distribution and their square
root is taken, frame by frame (the ICCV 2013 paper's normalisation; the IJCV paper's text says L2).
"""

import numpy as np
from numba import njit

from cinefeat.extractors.trajectories import Tracks, TrajectorySettings

ORIENTATIONS = 8
MIN_FLOW = np.float32(0.4)  # px per frame; slower pixels vote for the bin of no motion
BIN_OFFSET = np.float32(0.05)  # added to every cell sum


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _orient_row(x: np.ndarray, y: np.ndarray, angle: np.ndarray, length: np.ndarray) -> None:
    """Write direction (in eighths of a turn, 0 <= angle < 8) and length of each vector.

    The polynomial is that of the fast arctangent the reference uses (error below 0.02 degrees).
    """
    for i in range(len(x)):
        ax, ay = abs(x[i]), abs(y[i])
        t = min(ax, ay) / (max(ax, ay) + np.float32(2.220446e-16))
        u = t * t
        a = (np.float32(-0.04432655554792) * u + np.float32(0.1555786518463281)) * u
        a = (a + np.float32(-0.3258083974640975)) * u + np.float32(0.9997878412794807)
        a = a * t * np.float32(4 / np.pi)
        a = np.float32(2) - a if ay > ax else a
        a = np.float32(4) - a if x[i] < 0 else a
        a = np.float32(8) - a if y[i] < 0 else a
        angle[i] = a if a < np.float32(8) else np.float32(0)
        length[i] = np.sqrt(x[i] * x[i] + y[i] * y[i])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _split_slow_row(length: np.ndarray, slow: np.ndarray) -> None:
    """Let slow pixels vote 1 for no motion and nothing for a direction."""
    for i in range(len(length)):
        is_slow = length[i] <= MIN_FLOW
        slow[i] = np.float32(1) if is_slow else np.float32(0)
        length[i] = np.float32(0) if is_slow else length[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _add_votes_row(
    above: np.ndarray, angle: np.ndarray, length: np.ndarray, bin_: float, out: np.ndarray
) -> None:
    """Write the column sums down to this row: those above plus the votes for one direction."""
    for i in range(len(angle)):
        d = abs(angle[i] - bin_)
        d = min(d, np.float32(8) - d)
        out[i] = above[i] + length[i] * max(np.float32(1) - d, np.float32(0))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _add_row(above: np.ndarray, votes: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(votes)):
        out[i] = above[i] + votes[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _difference_row(before: np.ndarray, after: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = np.float32(after[i]) - np.float32(before[i])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _gradient_row(
    plane: np.ndarray, row: int, left: int, right: int, dx: np.ndarray, dy: np.ndarray
) -> None:
    """Write the differences [-1 0 1] of part of a row; zero at the border, as of a mirror image."""
    height, width = plane.shape
    n = right - left
    first, last = max(left, 1), min(right, width - 1)
    dx[0] = dx[n - 1] = np.float32(0)
    line, inner = plane[row], dx[first - left : last - left]
    _difference_row(line[first - 1 : last - 1], line[first + 1 : last + 1], inner)
    if 0 < row < height - 1:
        _difference_row(plane[row - 1, left:right], plane[row + 1, left:right], dy[:n])
    else:
        dy[:n] = 0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _add_patch(
    sums: np.ndarray, borders: np.ndarray, left: int, cell: int, values: np.ndarray, out: np.ndarray
) -> None:
    """Add a patch's root-normalised cell sums to `out`: x cells, then y cells, then bins.

    `sums` holds column sums; `borders` names its rows at the borders of the y cells.
    """
    cells, bins = len(borders) - 1, sums.shape[1]
    total = np.float32(0)
    k = 0
    for cx in range(cells):
        start = np.uint64(left + cx * cell)
        for cy in range(cells):
            upper, lower = borders[cy], borders[cy + 1]
            for b in range(bins):
                value = np.float32(0)
                for i in range(cell):
                    x = start + np.uint64(i)
                    value += sums[lower, b, x] - sums[upper, b, x]
                values[k] = max(value, np.float32(0)) + BIN_OFFSET
                total += values[k]
                k += 1
    for i in range(k):
        out[i] += np.sqrt(values[i] / total)


@njit(cache=True, nogil=True, error_model="numpy")
def _sort_patches(
    order: np.ndarray, corner: np.ndarray, patch_size: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort tracks by the last row of their patch.

    Returns the slots in that order; where the tracks of each row start in it (h + 1,); and for
    each row whether a patch covers it (h,).
    """
    first = np.zeros(height + 2, np.int64)
    covers = np.zeros(height + 1, np.int64)
    for s in order:
        top = corner[s, 1]
        first[top + patch_size + 1] += 1
        covers[top] += 1
        covers[top + patch_size] -= 1
    first = np.cumsum(first)
    place = first.copy()
    slots = np.empty(len(order), np.int64)
    for s in order:
        bottom = corner[s, 1] + patch_size
        slots[place[bottom]] = s
        place[bottom] += 1
    return slots, first[1:], np.cumsum(covers)[:height] > 0


@njit(cache=True, nogil=True, error_model="numpy")
def _vote(
    x_plane: np.ndarray, y_plane: np.ndarray, is_flow: bool, row: int, left: int, right: int,
    scratch: np.ndarray, above: np.ndarray, here: np.ndarray,
) -> None:  # fmt: skip
    """Write the column sums of the votes down to a row, for the columns from left to right."""
    dx, dy, angle, length = scratch[0], scratch[1], scratch[2], scratch[3]
    if is_flow:
        _orient_row(x_plane[row, left:right], y_plane[row, left:right], angle, length)
        _split_slow_row(length, dx)
        _add_row(above[ORIENTATIONS, left:right], dx, here[ORIENTATIONS, left:right])
    else:
        _gradient_row(x_plane, row, left, right, dx, dy)
        _orient_row(dx, dy, angle, length)
    for b in range(ORIENTATIONS):
        votes, out = above[b, left:right], here[b, left:right]
        _add_votes_row(votes, angle, length, np.float32(b), out)


@njit(cache=True, nogil=True, error_model="numpy")
def _describe(
    slots: np.ndarray, first: np.ndarray, covered: np.ndarray, corner: np.ndarray,
    cell_of_time: np.ndarray, x_plane: np.ndarray, y_plane: np.ndarray, is_flow: bool,
    patch_size: int, cells: int, out: np.ndarray,
) -> None:  # fmt: skip
    """Add one descriptor of one step to all tracks of a level.

    Column sums are kept for the rows of one patch and only where there are patches.
    """
    height, width = x_plane.shape
    bins = ORIENTATIONS + 1 if is_flow else ORIENTATIONS
    ring, dims, cell = patch_size + 1, cells * cells * bins, patch_size // cells
    left, right = width, 0
    for s in slots:
        left, right = min(left, corner[s, 0]), max(right, corner[s, 0] + patch_size)
    sums = np.empty((ring, bins, width), np.float32)
    scratch = np.empty((4, right - left), np.float32)
    values = np.empty(dims, np.float32)
    borders = np.empty(cells + 1, np.int64)
    for row in range(height):
        if not covered[row]:
            continue
        above, here = sums[row % ring], sums[(row + 1) % ring]
        if row == 0 or not covered[row - 1]:
            above[:] = 0
        _vote(x_plane, y_plane, is_flow, row, left, right, scratch, above, here)
        for c in range(cells + 1):
            borders[c] = (row + 1 + ring - patch_size + c * cell) % ring
        for i in range(first[row], first[row + 1]):
            s = slots[i]
            t = cell_of_time[s] * dims
            if t + dims <= out.shape[1]:
                _add_patch(sums, borders, corner[s, 0], cell, values, out[s, t : t + dims])


def describe(
    tracks: Tracks, n: int, gray: np.ndarray, flow: tuple[np.ndarray, np.ndarray],
    settings: TrajectorySettings,
) -> None:  # fmt: skip
    """Add one step's HOG, HOF, MBHx and MBHy to the sums of the live tracks' temporal cells.

    Parameters
    ----------
    tracks, n
        Tracks as `advance` leaves them: `corner` holds the patches. The sums change in place.
    gray : ndarray of shape (h, w), uint8
        The level image of the frame that the step leaves.
    flow : pair of ndarray of shape (h, w), float32
        The x and y components of the level's flow, without the camera's motion if that is removed.
    settings : TrajectorySettings
    """
    if n == 0:
        return
    gray = gray.astype(np.float32)
    frames_per_cell = settings.track_length // settings.temporal_cells
    cell_of_time = (tracks.age - 1) // frames_per_cell
    patches = _sort_patches(tracks.order[:n], tracks.corner, settings.patch_size, len(gray))
    for x, y, out in (
        (gray, gray, tracks.hog), (*flow, tracks.hof),
        (flow[0], flow[0], tracks.mbhx), (flow[1], flow[1], tracks.mbhy),
    ):  # fmt: skip
        _describe(
            *patches, tracks.corner, cell_of_time, x, y, out is tracks.hof,
            settings.patch_size, settings.spatial_cells, out,
        )  # fmt: skip
