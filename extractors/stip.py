"""Space-time interest points (STIP) with histograms of gradients and of flow.

The detector is in `harris3d`, the descriptors in `stip_descriptors`; here they run over a video.
Frames stream through: memory does not grow with the length of the video, except for the rows that
`space_time_interest_points` collects.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np

from cinefeat.extractors import idt
from cinefeat.extractors.harris3d import Detector, StipSettings, end_frames
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
from cinefeat.extractors.spacetime_filters import Float32, blocks, hold_ends
from cinefeat.extractors.stip_descriptors import (
    CELLS,
    DIRECTIONS,
    HOF_BINS,
    VoteRing,
    cell_sizes,
)
from cinefeat.extractors.trajectories import TrajectorySettings, pyramid_levels

Pair = tuple[Gray, Float32 | None]  # a frame and the flow from it to the next

MIN_SIDE = 36  # px, the patch of the smallest default scale
MAX_FLOW = 10_000  # px per frame; the sums of votes stay in range below it
BLOCK_FRAMES = 8


class _Describer:
    """Keep the votes of the newest frames at every level and describe points."""

    def __init__(self, n_levels: int, depth: int) -> None:
        self.n_levels, self.depth = n_levels, depth
        self.n_frames, self.size = 0, (0, 0)
        self.rings: list[VoteRing] = []

    def push(self, gray: Gray, flow: Float32 | None) -> None:
        """Take the next frame and the flow from it to the one after, if there is one."""
        image = gray.astype(np.float32)
        self.n_frames, self.size = self.n_frames + 1, (gray.shape[1], gray.shape[0])
        for level in range(self.n_levels):
            if level:
                image, flow = cv2.pyrDown(image), None if flow is None else cv2.pyrDown(flow)
            if level == len(self.rings):
                self.rings.append(VoteRing(image.shape[0], image.shape[1], self.depth))
            self.rings[level].push(image, flow)

    def rows(self, points: Rows) -> Chunk:
        """Return info, hog and hof of points; the last column of info is left as a frame."""
        hog = np.empty((len(points), CELLS * DIRECTIONS), np.float32)
        hof = np.empty((len(points), CELLS * HOF_BINS), np.float32)
        for i, (frame, sigma2, tau2, y, x, _, level) in enumerate(points):
            side, length = cell_sizes(sigma2 / 4**level, tau2)
            ring = self.rings[int(level)]
            hog[i], hof[i] = ring.describe(int(frame), int(y), int(x), side, length)
        return {"info": info_rows(points, self.size), "hog": hog, "hof": hof}


def _given_flow(grays: Iterable[Gray], fields: Iterable[np.ndarray]) -> Iterator[Pair]:
    """Yield each frame with its field, the last one with None."""
    fields, previous = iter(fields), None
    for i, gray in enumerate(grays):
        if previous is not None:
            field, needed = next(fields, None), (*gray.shape, 2)
            if field is None:
                raise ValueError(f"flow ends after {i - 1} fields; give one for each frame pair")
            if field.shape != needed:
                raise ValueError(
                    f"flow field {i - 1} has shape {field.shape}; the frames need {needed}"
                )
            if not np.all(np.abs(field) < MAX_FLOW):
                raise ValueError(
                    f"flow field {i - 1} holds NaN or a component of {MAX_FLOW} px or more; "
                    "set unknown pixels to 0"
                )
            yield previous, np.asarray(field, np.float32)
        previous = gray
    if previous is not None:
        yield previous, None


def _estimated_flow(grays: Iterable[Gray], method: str) -> Iterator[Pair]:
    """Yield each frame with the flow from it to the next, the last one with None."""
    prepare, flow_between = idt.FLOWS[method]
    previous = before = None
    for gray in grays:
        levels = pyramid_levels(gray.shape[1], gray.shape[0], TrajectorySettings())
        after = prepare(gray, levels)
        if previous is not None:
            yield previous, np.dstack(flow_between(before, after, levels)[0])
        previous, before = gray, after
    if previous is not None:
        yield previous, None


def _pairs(frames: Iterable[np.ndarray], flow: str | Iterable[np.ndarray]) -> Iterator[Pair]:
    if isinstance(flow, str) and flow not in idt.FLOWS:
        names = ", ".join(repr(name) for name in idt.FLOWS)
        raise ValueError(f"flow is {flow!r}; give one of {names} or the fields themselves")
    grays = gray_frames(frames, MIN_SIDE)
    return _estimated_flow(grays, flow) if isinstance(flow, str) else _given_flow(grays, flow)


def _rows(
    pairs: Iterable[Pair], block_frames: int, settings: StipSettings
) -> Iterator[tuple[Chunk, int]]:
    """Yield the rows that each block completes, and the number of frames read by then."""
    detector = Detector(settings)
    reach = max(cell_sizes(1, tau2)[1] for tau2 in settings.tau2)
    describer = _Describer(detector.n_levels, detector.lag + block_frames + reach)

    def planes() -> Iterator[Float32]:
        for gray, field in pairs:
            describer.push(gray, field)
            yield np.divide(gray, 255, dtype=np.float32)

    end, pending = -detector.margin, np.empty((0, len(ROW)))
    for block in blocks(hold_ends(planes(), detector.margin), block_frames):
        end += len(block)
        pending = np.concatenate([pending, detector.push(block, end)])
        is_complete = pending[:, 0] < end - detector.lag
        points, pending = pending[is_complete], pending[~is_complete]
        points = points[points[:, 0] + end_frames(points[:, 2]) < describer.n_frames]
        points = sort_points(points, settings.max_points_per_frame)
        yield describer.rows(points), describer.n_frames


def iter_space_time_interest_points(
    frames: Iterable[np.ndarray],
    *,
    flow: str | Iterable[np.ndarray] = "farneback",
    n_frames: int | None = None,
    block_frames: int = BLOCK_FRAMES,
    **settings: Any,
) -> Iterator[Chunk]:
    """Yield the space-time interest points of a video in chunks, in constant memory.

    Takes what `space_time_interest_points` does, frames (H, W, 3) or (H, W), and gives its dict of
    arrays; chunks may be empty and follow one another in the order of its rows. The last column of
    `info` needs the number of frames: where `frames` has no length, give `n_frames`.

    Raises
    ------
    ValueError
        As `space_time_interest_points`, and if neither `n_frames` nor ``len(frames)`` is known.

    Examples
    --------
    >>> frames = np.random.default_rng(0).integers(0, 255, (20, 48, 64), np.uint8)
    >>> chunks = list(iter_space_time_interest_points(frames))
    >>> {chunk["hog"].shape[1] for chunk in chunks}
    {72}
    """
    total = frame_count(frames, n_frames)
    rows = _rows(_pairs(frames, flow), block_frames, StipSettings(**settings))
    return (share_of_time(chunk, total) for chunk, _ in rows)


def space_time_interest_points(
    frames: Iterable[np.ndarray],
    *,
    flow: str | Iterable[np.ndarray] = "farneback",
    block_frames: int = BLOCK_FRAMES,
    **settings: Any,
) -> Chunk:
    """Find the space-time interest points of a video and describe them by HOG and HOF.

    At each scale (sigma2, tau2) the grey video, values in 0..1, is smoothed by a Gaussian of these
    variances. The products of its three derivatives, scale-normalised (times sigma or tau), are
    averaged by a Gaussian of twice the variances to the 3 x 3 matrix mu of second moments. Points
    are the local maxima over x, y and t (26 neighbours) of ``det(mu) - k trace(mu)**3`` above
    `threshold` [1]_. Around each point a volume 18 sigma wide and high and 8 tau long, of
    3 x 3 x 2 cells, gives histograms of four directions of the gradient (HOG) and of four
    directions of the flow and no motion (HOF) [2]_.

    Parameters
    ----------
    frames : iterable of ndarray, RGB (H, W, 3) or grey (H, W), uint8
        Read once, frame by frame. Both sides at least 36 px.
    flow : {"farneback", "tvl1"} or iterable of ndarray of shape (H, W, 2), float32
        The flow that HOF describes: estimated as for `dense_trajectories`, or given, one field
        for each pair of frames, x and y in pixels per frame.
    block_frames : int
        Frames that are filtered together: memory and speed depend on it, results do not.
    **settings
        Fields of `StipSettings`: sigma2, tau2, k, threshold, max_points_per_frame.

    Returns
    -------
    dict of ndarray, float32
        Rows belong to points, by frame, sigma2, tau2, y, x; N may be 0.

        ``info`` (N, 9): the columns of `INFO_COLUMNS`, which are frame, x and y (pixels), sigma2,
        tau2, response, and in the columns `POSITION_SHARES` x / W, y / H and frame / T, in [0, 1).
        ``hog`` (N, 72), ``hof`` (N, 90): cells by t, then y, then x, a distribution in each (sum
        1, or 0 if nothing votes).

    Raises
    ------
    ValueError
        If a frame is no uint8 image, the frames are too small, differ in size or are none, if
        fields are missing, of another size or not finite, or for a setting out of its range.

    Notes
    -----
    As in the released program: no selection of scales, and a pyramid (each level half the one
    before) on which a scale is computed at the coarsest level that leaves it a variance of 4 px^2
    or more. The defaults are the program's (the paper has k = 0.005); its threshold is kept for
    grey values of 0..1 and normalised derivatives, its own units being unpublished.

    What moves at a constant velocity has a singular mu and no points. Held end frames and repeated
    border pixels break that, so points nearer than 4 tau to an end of the video or 3 sigma to a
    border of the image are left out. A volume may reach outside; nothing votes there. HOG takes
    opposite gradients for one direction. Volumes and gradients are those of the scale's pyramid
    level.

    Memory is about 7 kB per pixel of a frame at the default scales and block.

    References
    ----------
    .. [1] Laptev. On space-time interest points. IJCV 2005.
    .. [2] Laptev, Marszalek, Schmid, Rozenfeld. Learning realistic human actions from movies. CVPR
       2008.

    Examples
    --------
    A block turns back at frame 20, when its corners are at (33, 20) and (33, 39):

    >>> frames = np.zeros((40, 48, 64), np.uint8)
    >>> for t, frame in enumerate(frames):
    ...     frame[20:40, : 34 - abs(t - 20)] = 255
    >>> points = space_time_interest_points(frames, sigma2=(4,), tau2=(2,))
    >>> points["info"][:, :3]
    array([[20., 30., 23.],
           [20., 30., 36.]], dtype=float32)
    """
    rows = list(_rows(_pairs(frames, flow), block_frames, StipSettings(**settings)))
    return share_of_time(join_chunks([chunk for chunk, _ in rows]), rows[-1][1])
