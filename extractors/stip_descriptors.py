"""Histograms of gradients (HOG) and of flow (HOF) in the volume around a space-time interest point.

Laptev, Marszalek, Schmid, Rozenfeld, "Learning realistic human actions from movies", CVPR 2008: the
volume is divided into 3 x 3 x 2 cells with four directions of the gradient, and four of the flow
and one for no motion. Votes are summed over each frame as integral images, in whole numbers, so
that the sum over any rectangle is exact.
"""

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

SPATIAL_CELLS, TEMPORAL_CELLS = 3, 2
DIRECTIONS = 4
HOF_BINS = DIRECTIONS + 1
BINS = DIRECTIONS + HOF_BINS
CELLS = SPATIAL_CELLS**2 * TEMPORAL_CELLS
CELL_SIGMAS = 6  # side of a cell over sigma: the volume is 18 sigma wide and high
CELL_TAUS = 4  # length of a cell over tau: the volume is 8 tau long
MIN_FLOW = 0.4  # px per frame; slower pixels vote for no motion, as in dense trajectories
VOTE_UNIT = 256  # votes for one grey level, one pixel per frame, or one pixel without motion


def cell_sizes(sigma2: float, tau2: float) -> tuple[int, int]:
    """Return the side and the length of a cell in whole pixels and frames, at least 1.

    Examples
    --------
    >>> cell_sizes(4, 2), cell_sizes(8, 4)
    ((12, 6), (17, 8))
    """
    side, length = CELL_SIGMAS * np.sqrt(sigma2), CELL_TAUS * np.sqrt(tau2)
    return max(round(float(side)), 1), max(round(float(length)), 1)


@njit(cache=True, nogil=True)
def _split_vote(angle: float, length: float, votes: np.ndarray, first: int) -> None:
    """Share a vote between the two nearest of four directions; `angle` in steps from the first."""
    lower = int(angle)
    upper_part = np.int32(np.rint(length * (angle - lower)))
    whole = np.int32(np.rint(length))
    votes[first + lower % DIRECTIONS] += whole - upper_part
    votes[first + (lower + 1) % DIRECTIONS] += upper_part


@njit(cache=True, nogil=True)
def _integrate(
    edge_angle: np.ndarray, edge: np.ndarray, flow_angle: np.ndarray, speed: np.ndarray,
    has_flow: bool, out: np.ndarray,
) -> None:  # fmt: skip
    """Write the integral image of the votes, (h + 1, w + 1, 9) int32; sums wrap around."""
    out[0] = 0
    row = np.empty(BINS, np.int32)
    for y in range(edge.shape[0]):
        row[:] = 0
        out[y + 1, 0] = 0
        for x in range(edge.shape[1]):
            _split_vote(edge_angle[y, x], edge[y, x] * VOTE_UNIT, row, 0)
            if has_flow and speed[y, x] > MIN_FLOW:
                _split_vote(flow_angle[y, x], speed[y, x] * VOTE_UNIT, row, DIRECTIONS)
            elif has_flow:
                row[BINS - 1] += VOTE_UNIT
            for b in range(BINS):
                out[y + 1, x + 1, b] = out[y, x + 1, b] + row[b]


def integral_votes(gray: Float32, flow: Float32 | None, out: NDArray[np.int32]) -> None:
    """Write the integral image of a frame's votes for directions of the gradient and the flow.

    The gradient is the difference of the two neighbours (zero where one is missing), and opposite
    gradients are one direction: 0, 45, 90 and 135 degrees. The flow has 0, 90, 180 and 270. A pixel
    votes with its length, shared linearly between the two nearest directions; a pixel whose flow is
    0.4 px per frame or less votes 1 for no motion.

    Parameters
    ----------
    gray : ndarray of shape (h, w), float32
        Grey values, 0..255.
    flow : ndarray of shape (h, w, 2), float32, or None
        Pixels per frame; without flow (after the last frame) nothing votes.
    out : ndarray of shape (h + 1, w + 1, 9), int32
        Filled. ``out[y, x]`` sums the votes above and left of the pixel (x, y) in units of
        1 / 256: four directions of the gradient, four of the flow, no motion.
    """
    dx, dy = np.zeros_like(gray), np.zeros_like(gray)
    dx[:, 1:-1] = gray[:, 2:] - gray[:, :-2]
    dy[1:-1] = gray[2:] - gray[:-2]
    length, angle = cv2.cartToPolar(dx, dy)
    speed, heading = length, angle
    if flow is not None:
        speed, heading = cv2.cartToPolar(flow[..., 0], flow[..., 1])
    turn = np.float32(DIRECTIONS / (2 * np.pi))
    _integrate(angle * (2 * turn), length, heading * turn, speed, flow is not None, out)


@njit(cache=True, nogil=True)
def _add_cells(
    image: np.ndarray, left: int, top: int, side: int, cells: np.ndarray
) -> None:  # fmt: skip
    """Add one frame's votes to the cells (9, 9), row by row; outside the image nothing votes."""
    height, width = image.shape[0] - 1, image.shape[1] - 1
    for i in range(SPATIAL_CELLS):
        y0 = min(max(top + i * side, 0), height)
        y1 = min(max(top + (i + 1) * side, 0), height)
        for j in range(SPATIAL_CELLS):
            x0 = min(max(left + j * side, 0), width)
            x1 = min(max(left + (j + 1) * side, 0), width)
            for b in range(BINS):
                votes = image[y1, x1, b] - image[y0, x1, b] - image[y1, x0, b] + image[y0, x0, b]
                cells[i * SPATIAL_CELLS + j, b] += np.int64(np.int32(votes))


@njit(cache=True, nogil=True)
def _sum_cells(
    ring: np.ndarray, n_frames: int, t: int, y: int, x: int, side: int, length: int
) -> np.ndarray:
    cells = np.zeros((TEMPORAL_CELLS, SPATIAL_CELLS**2, BINS), np.int64)
    left, top = x - SPATIAL_CELLS * side // 2, y - SPATIAL_CELLS * side // 2
    for c in range(TEMPORAL_CELLS):
        start = t + (c - TEMPORAL_CELLS // 2) * length
        for frame in range(max(start, 0), min(start + length, n_frames)):
            _add_cells(ring[frame % len(ring)], left, top, side, cells[c])
    return cells.reshape(CELLS, BINS)


def _as_shares(cells: NDArray[np.int64]) -> Float32:
    """Divide each cell's histogram by its sum, zeros where it is empty, and flatten them all."""
    total = np.maximum(cells.sum(axis=1, keepdims=True), 1)
    return (cells / total).astype(np.float32).ravel()


class VoteRing:
    """The integral images of the newest frames of one pyramid level."""

    def __init__(self, height: int, width: int, depth: int) -> None:
        self.ring = np.empty((depth, height + 1, width + 1, BINS), np.int32)
        self.n_frames = 0

    def push(self, gray: Float32, flow: Float32 | None) -> None:
        """Take the next frame; arguments as for `integral_votes`."""
        integral_votes(gray, flow, self.ring[self.n_frames % len(self.ring)])
        self.n_frames += 1

    def describe(self, t: int, y: int, x: int, side: int, length: int) -> tuple[Float32, Float32]:
        """Return the HOG (72,) and the HOF (90,) around a point.

        The volume has 3 x 3 x 2 cells of `side` pixels and `length` frames; the second half starts
        at frame t and, along each axis of the image, the volume starts at ``x - 3 * side // 2``.
        Its part outside the video has no votes. Cells go by t, then y, then x, and each one's
        histogram is a distribution: its sum is 1, or 0 without a vote.
        """
        cells = _sum_cells(self.ring, self.n_frames, t, y, x, side, length)
        return _as_shares(cells[:, :DIRECTIONS]), _as_shares(cells[:, DIRECTIONS:])
