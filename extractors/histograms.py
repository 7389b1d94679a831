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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _split_slow_row(length: np.ndarray, slow: np.ndarray) -> None:
    """Let slow pixels vote 1 for no motion and nothing for a direction."""
    for i in range(len(length)):
        is_slow = length[i] <= MIN_FLOW
        slow[i] = np.float32(1) if is_slow else np.float32(0)
        length[i] = np.float32(0) if is_slow else length[i]


@njit(cache=True, nogil=True)
def _add_votes_row(
    above: np.ndarray, angle: np.ndarray, length: np.ndarray, bin_: float, out: np.ndarray
) -> None:
    """Write the column sums down to this row: those above plus the votes for one direction."""
    for i in range(len(angle)):
        d = abs(angle[i] - bin_)
        d = min(d, np.float32(8) - d)
        out[i] = above[i] + length[i] * max(np.float32(1) - d, np.float32(0))


@njit(cache=True, nogil=True)
def _add_row(above: np.ndarray, votes: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(votes)):
        out[i] = above[i] + votes[i]


@njit(cache=True, nogil=True)
def _difference_row(before: np.ndarray, after: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = np.float32(after[i]) - np.float32(before[i])


@njit(cache=True, nogil=True)
def gradient_row(plane: np.ndarray, row: int, dx: np.ndarray, dy: np.ndarray) -> None:
    """Write the differences [-1 0 1] of a row; zero at the border, where the mirror image is."""
    last = len(plane) - 1
    line = plane[row]
    dx[0] = dx[-1] = np.float32(0)
    _difference_row(line[:-2], line[2:], dx[1:-1])
    _difference_row(plane[max(row - 1, 0)], plane[min(row + 1, last)], dy)
    if row in (0, last):
        dy[:] = 0


@njit(cache=True, nogil=True)
def _add_patch(sums: np.ndarray, slots: np.ndarray, left: int, cell: int, out: np.ndarray) -> None:
    """Add a patch's root-normalised cell sums to `out`: x cells, then y cells, then bins.

    `sums` holds column sums; `slots` names its rows at the borders of the y cells.
    """
    cells, bins = len(slots) - 1, sums.shape[1]
    values = np.empty(cells * cells * bins, np.float32)
    total = np.float32(0)
    k = 0
    for cx in range(cells):
        start = left + cx * cell
        for cy in range(cells):
            for b in range(bins):
                upper, lower = sums[slots[cy], b], sums[slots[cy + 1], b]
                value = np.float32(0)
                for x in range(start, start + cell):
                    value += lower[x] - upper[x]
                values[k] = max(value, np.float32(0)) + BIN_OFFSET
                total += values[k]
                k += 1
    for i in range(len(values)):
        out[i] += np.sqrt(values[i] / total)


@njit(cache=True, nogil=True)
def _tracks_by_bottom(
    order: np.ndarray, n: int, corner: np.ndarray, patch_size: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sort live tracks by the bottom of their patch: slots, and where each bottom row starts."""
    start = np.zeros(height + 2, np.int64)
    for i in range(n):
        start[corner[order[i], 1] + patch_size + 1] += 1
    for y in range(height + 1):
        start[y + 1] += start[y]
    place = start.copy()
    slots = np.empty(n, np.int32)
    for i in range(n):
        bottom = corner[order[i], 1] + patch_size
        slots[place[bottom]] = order[i]
        place[bottom] += 1
    return slots, start


@njit(cache=True, nogil=True)
def _describe(
    order: np.ndarray, n: int, age: np.ndarray, corner: np.ndarray, x_plane: np.ndarray,
    y_plane: np.ndarray, is_flow: bool, patch_size: int, frames_per_cell: int, out: np.ndarray,
    cells: int,
) -> None:  # fmt: skip
    height, width = x_plane.shape
    bins = ORIENTATIONS + 1 if is_flow else ORIENTATIONS
    dims = cells * cells * bins
    slots, start = _tracks_by_bottom(order, n, corner, patch_size, height)
    ring = patch_size + 1
    sums = np.zeros((ring, bins, width), np.float32)
    dx, dy = np.empty(width, np.float32), np.empty(width, np.float32)
    angle, length = np.empty(width, np.float32), np.empty(width, np.float32)
    borders = np.empty(cells + 1, np.int64)
    cell = patch_size // cells
    for row in range(height):
        if is_flow:
            _orient_row(x_plane[row], y_plane[row], angle, length)
        else:
            gradient_row(x_plane, row, dx, dy)
            _orient_row(dx, dy, angle, length)
        above, here = sums[row % ring], sums[(row + 1) % ring]
        if is_flow:
            _split_slow_row(length, dx)
            _add_row(above[8], dx, here[8])
        for b in range(8):
            _add_votes_row(above[b], angle, length, np.float32(b), here[b])
        for c in range(cells + 1):
            borders[c] = (row + 1 + ring - patch_size + c * cell) % ring
        for i in range(start[row + 1], start[row + 2]):
            s = slots[i]
            t = (age[s] - 1) // frames_per_cell
            if (t + 1) * dims <= out.shape[1]:
                _add_patch(sums, borders, corner[s, 0], cell, out[s, t * dims : (t + 1) * dims])


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
    frames_per_cell = settings.track_length // settings.temporal_cells
    gray = gray.astype(np.float32)
    flow_x, flow_y = flow
    for x, y, out in (
        (gray, gray, tracks.hog), (flow_x, flow_y, tracks.hof),
        (flow_x, flow_x, tracks.mbhx), (flow_y, flow_y, tracks.mbhy),
    ):  # fmt: skip
        _describe(
            tracks.order, n, tracks.age, tracks.corner, x, y, out is tracks.hof,
            settings.patch_size, frames_per_cell, out, settings.spatial_cells,
        )  # fmt: skip
