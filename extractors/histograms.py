"""Orientation histograms in the patches of tracks: HOG, HOF and motion boundaries (MBH).

A pixel's vector (x, y) votes with its length for the two nearest of eight directions over 360
degrees. A patch is divided into cells; the sums of its cells are made a distribution and their
square root is taken, frame by frame (the ICCV 2013 paper's normalisation; the IJCV paper's text
says L2).
"""

import numpy as np
from numba import njit

from cinefeat.extractors.trajectories import Planes, Tracks, TrajectorySettings

ORIENTATIONS = 8
# coefficients of t, t^3, t^5, t^7 in arctan(t), 0 <= t <= 1, of OpenCV's fastAtan2
ARCTANGENT = tuple(
    np.float32(c)
    for c in (0.9997878412794807, -0.3258083974640975, 0.1555786518463281, -0.04432655554792128)
)
_BINS = np.arange(ORIENTATIONS, dtype=np.float32)
MIN_FLOW = np.float32(0.4)  # px per frame; slower pixels vote for the bin of no motion
BIN_OFFSET = np.float32(0.05)  # added to every cell sum


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, forceinline=True)
def _orient_row(x: np.ndarray, y: np.ndarray, angle: np.ndarray, length: np.ndarray) -> None:
    """Write direction (in eighths of a turn, 0 <= angle < 8) and length of each vector.

    The polynomial is that of the fast arctangent the reference uses (error below 0.02 degrees).
    """
    for i in range(len(x)):
        ax, ay = abs(x[i]), abs(y[i])
        t = min(ax, ay) / (max(ax, ay) + np.float32(2.220446e-16))
        u = t * t
        a = (ARCTANGENT[3] * u + ARCTANGENT[2]) * u
        a = (a + ARCTANGENT[1]) * u + ARCTANGENT[0]
        a = a * t * np.float32(4 / np.pi)
        a = np.float32(2) - a if ay > ax else a
        a = np.float32(4) - a if x[i] < 0 else a
        a = np.float32(8) - a if y[i] < 0 else a
        angle[i] = a if a < np.float32(8) else np.float32(0)
        length[i] = np.sqrt(x[i] * x[i] + y[i] * y[i])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, forceinline=True)
def _split_slow_row(length: np.ndarray, slow: np.ndarray) -> None:
    """Let slow pixels vote 1 for no motion and nothing for a direction."""
    for i in range(len(length)):
        is_slow = length[i] <= MIN_FLOW
        slow[i] = np.float32(1) if is_slow else np.float32(0)
        length[i] = np.float32(0) if is_slow else length[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, forceinline=True)
def _add_votes_row(
    above: np.ndarray, angle: np.ndarray, length: np.ndarray, out: np.ndarray
) -> None:
    """Write the column sums down to a row: those above plus the votes, eight a pixel."""
    for x in range(len(angle)):
        for b in range(ORIENTATIONS):
            d = abs(angle[x] - _BINS[b])
            d = min(d, np.float32(ORIENTATIONS) - d)
            vote = length[x] * max(np.float32(1) - d, np.float32(0))
            out[ORIENTATIONS * x + b] = above[ORIENTATIONS * x + b] + vote


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, forceinline=True)
def _add_row(above: np.ndarray, votes: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(votes)):
        out[i] = above[i] + votes[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, forceinline=True)
def _difference_row(before: np.ndarray, after: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = np.float32(after[i]) - np.float32(before[i])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, forceinline=True)
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


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, forceinline=True)
def _sum_cell(
    sums: np.ndarray, upper: int, lower: int, cell: int, values: np.ndarray, k: int
) -> None:
    """Sum the votes of a cell, given where its upper and lower border start in the column sums."""
    # eight named sums become one vector register, a loop over them does not; unsigned indices
    # need no test for being negative
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0)
    one = np.uint64(1)
    i0, j0 = np.uint64(lower), np.uint64(upper)
    for _ in range(cell):
        i1, j1 = i0 + one, j0 + one
        i2, j2 = i1 + one, j1 + one
        i3, j3 = i2 + one, j2 + one
        i4, j4 = i3 + one, j3 + one
        i5, j5 = i4 + one, j4 + one
        i6, j6 = i5 + one, j5 + one
        i7, j7 = i6 + one, j6 + one
        s0 += sums[i0] - sums[j0]
        s1 += sums[i1] - sums[j1]
        s2 += sums[i2] - sums[j2]
        s3 += sums[i3] - sums[j3]
        s4 += sums[i4] - sums[j4]
        s5 += sums[i5] - sums[j5]
        s6 += sums[i6] - sums[j6]
        s7 += sums[i7] - sums[j7]
        i0, j0 = i7 + one, j7 + one
    values[k], values[k + 1], values[k + 2], values[k + 3] = s0, s1, s2, s3
    values[k + 4], values[k + 5], values[k + 6], values[k + 7] = s4, s5, s6, s7


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, forceinline=True)
def _sum_slow(slow: np.ndarray, upper: int, lower: int, cell: int) -> np.float32:
    total = np.float32(0)
    for i in range(cell):
        total += slow[np.uint64(lower + i)] - slow[np.uint64(upper + i)]
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, forceinline=True)
def _add_root(values: np.ndarray, is_first: bool, out: np.ndarray, t: int, slot: int) -> None:
    """Add the square roots of values, not negative and raised by an offset, as shares.

    The first of a sum replaces what an earlier track has left there.
    """
    total = np.float32(0)
    for i in range(len(values)):
        values[i] = max(values[i], np.float32(0)) + BIN_OFFSET
        total += values[i]
    share, kept = np.float32(1) / total, np.float32(0 if is_first else 1)
    for i in range(len(values)):
        out[t, slot, i] = kept * out[t, slot, i] + np.sqrt(values[i] * share)


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_patch(
    sums: np.ndarray, slow: np.ndarray, borders: np.ndarray, left: int, cell: int,
    values: np.ndarray,
) -> None:  # fmt: skip
    """Write a patch's cell sums: x cells, then y cells, then bins.

    `sums` and `slow` hold column sums, flat; `borders` tells where the rows at the borders of the
    y cells start in `slow`.
    """
    cells = len(borders) - 1
    bins = len(values) // cells**2
    for cx in range(cells):
        for cy in range(cells):
            upper = borders[cy] + left + cx * cell
            lower, k = borders[cy + 1] + left + cx * cell, (cx * cells + cy) * bins
            _sum_cell(sums, ORIENTATIONS * upper, ORIENTATIONS * lower, cell, values, k)
            if bins > ORIENTATIONS:
                values[k + ORIENTATIONS] = _sum_slow(slow, upper, lower, cell)


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
def _describe(
    slots: np.ndarray, first: np.ndarray, covered: np.ndarray, corner: np.ndarray,
    age: np.ndarray, x_plane: np.ndarray, y_plane: np.ndarray, is_flow: bool,
    frames_per_cell: int, patch_size: int, cells: int, out: np.ndarray,
) -> None:  # fmt: skip
    """Add one descriptor of one step to all tracks of a level.

    Column sums are kept for the rows of one patch and only where there are patches.
    """
    height, width = x_plane.shape
    ring, cell = patch_size + 1, patch_size // cells
    values = np.empty(cells**2 * (ORIENTATIONS + 1 if is_flow else ORIENTATIONS), np.float32)
    borders = np.empty(cells + 1, np.int64)
    left, right = width, 0
    for s in slots:
        left, right = min(left, corner[s, 0]), max(right, corner[s, 0] + patch_size)
    columns = right - left
    sums = np.empty((ring, columns * ORIENTATIONS), np.float32)
    slow = np.empty((ring, columns), np.float32)
    all_sums, all_slow = sums.reshape(-1), slow.reshape(-1)
    scratch = np.empty((4, columns), np.float32)
    dx, dy, angle, length = scratch[0], scratch[1], scratch[2], scratch[3]
    for row in range(height):
        if not covered[row]:
            continue
        above, here = row % ring, (row + 1) % ring
        if row == 0 or not covered[row - 1]:
            sums[above] = slow[above] = 0
        if is_flow:
            _orient_row(x_plane[row, left:right], y_plane[row, left:right], angle, length)
            _split_slow_row(length, dx)
            _add_row(slow[above], dx, slow[here])
        else:
            _gradient_row(x_plane, row, left, right, dx, dy)
            _orient_row(dx, dy, angle, length)
        _add_votes_row(sums[above], angle, length, sums[here])
        for c in range(cells + 1):
            borders[c] = (row + 1 + ring - patch_size + c * cell) % ring * columns
        for i in range(first[row], first[row + 1]):
            s = slots[i]
            t, step = divmod(age[s] - 1, frames_per_cell)
            if t < len(out):
                _sum_patch(all_sums, all_slow, borders, corner[s, 0] - left, cell, values)
                _add_root(values, step == 0, out, t, s)


@njit(cache=True, nogil=True, error_model="numpy")
def _average(sums: np.ndarray, slots: np.ndarray, n_frames: np.float32, out: np.ndarray) -> None:
    n_cells, _, dims = sums.shape
    for i in range(len(slots)):
        for t in range(n_cells):
            for k in range(dims):
                out[i, t * dims + k] = sums[t, slots[i], k] / n_frames


def temporal_means(sums: np.ndarray, slots: np.ndarray, settings: TrajectorySettings) -> np.ndarray:
    """Return the descriptors of tracks: the mean per-frame vector of each temporal cell in turn.

    Parameters
    ----------
    sums : ndarray of shape (T, S, C), float32
        One of the sums of `Tracks`.
    slots : ndarray of shape (N,), int32
        Slots of the wanted tracks, which have made all their steps.
    settings : TrajectorySettings

    Returns
    -------
    ndarray of shape (N, T C), float32
    """
    out = np.empty((len(slots), len(sums) * sums.shape[2]), np.float32)
    _average(sums, slots, np.float32(settings.track_length // settings.temporal_cells), out)
    return out


def describe(
    tracks: Tracks, n: int, gray: np.ndarray, flow: Planes,
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
    patches = _sort_patches(tracks.order[:n], tracks.corner, settings.patch_size, len(gray))
    for x, y, out in (
        (gray, gray, tracks.hog), (*flow, tracks.hof),
        (flow[0], flow[0], tracks.mbhx), (flow[1], flow[1], tracks.mbhy),
    ):  # fmt: skip
        _describe(
            *patches, tracks.corner, tracks.age, x, y, out is tracks.hof, frames_per_cell,
            settings.patch_size, settings.spatial_cells, out,
        )  # fmt: skip
