"""Dense trajectories (DT) and improved dense trajectories (iDT) of a video, with descriptors.

Wang, Klaser, Schmid, Liu, CVPR 2011 and IJCV 2013 (DT); Wang, Schmid, ICCV 2013 (iDT). Rows,
columns and their order are those of the authors' programs. Frames stream through: memory does not
grow with the length of the video, except for the rows that `dense_trajectories` collects.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any

import cv2
import numpy as np

from cinefeat.extractors import farneback, trajectories_numba
from cinefeat.extractors.camera_motion import CameraMotion
from cinefeat.extractors.flow import optical_flow_tvl1
from cinefeat.extractors.level_motion import (
    Camera,
    Estimator,
    Motion,
    estimated_motion,
    flow_pyramid,
    given_camera,
    given_motion,
    with_pyramids,
)
from cinefeat.extractors.trajectories import (
    DESCRIPTORS,
    Level,
    Planes,
    TrajectorySettings,
    pyramid_levels,
)

Chunk = dict[str, np.ndarray]
LARGEST_SHARE = np.float32(0.999)  # of columns 8 to 10


def to_gray(frame: np.ndarray) -> np.ndarray:
    """Return an RGB (H, W, 3) or grey (H, W) uint8 frame as grey uint8."""
    frame = np.ascontiguousarray(frame)
    if frame.dtype != np.uint8 or not (frame.ndim == 2 or frame.shape[2:] == (3,)):
        raise ValueError(
            f"a frame has shape {frame.shape} and dtype {frame.dtype}; "
            "give RGB (H, W, 3) or grey (H, W) frames of uint8"
        )
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.ndim == 3 else frame


def _gray_frames(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield each frame in grey and check that they agree in size and that there is one."""
    shape: tuple[int, ...] | None = None
    for i, frame in enumerate(frames):
        gray = to_gray(frame)
        if shape not in (None, gray.shape):
            raise ValueError(
                f"frame {i} is {gray.shape[1]}x{gray.shape[0]} px, the ones before are not; "
                "all frames must agree in size"
            )
        shape = gray.shape
        yield gray
    if shape is None:
        raise ValueError("the video has no frames; give at least one")


def _tvl1_flow(
    first: np.ndarray, second: np.ndarray, levels: Sequence[Level], device: str = "cpu"
) -> list[Planes]:
    return flow_pyramid(optical_flow_tvl1(first, second, device=device), levels)


FLOWS: dict[str, Estimator] = {
    "farneback": (farneback.polynomial_pyramid, lambda a, b, _: farneback.flow_between(a, b)),
    "tvl1": (lambda gray, _: gray, _tvl1_flow),
}


def _estimator(flow: str, device: str) -> Estimator:
    """Return how frames are prepared and their flow estimated on a device."""
    if device == "cpu":
        return FLOWS[flow]
    if flow == "tvl1":
        return lambda gray, _: gray, lambda a, b, levels: _tvl1_flow(a, b, levels, device)
    from cinefeat.extractors import farneback_torch  # torch takes a second to import

    return (
        lambda gray, levels: farneback_torch.polynomial_pyramid(gray, levels, device),
        lambda first, second, _: farneback_torch.flow_between(first, second),
    )


def _from_device(camera: Camera) -> Camera:
    """Hand flow that lies on a device to `camera` on the host."""
    return lambda previous, current, flow: camera(
        previous, current, (np.asarray(flow[0].cpu()), np.asarray(flow[1].cpu()))
    )


def _motion(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    levels: Sequence[Level],
    camera_motion: bool,
    flow: str | Iterable[np.ndarray],
    given: dict[str, Any],
    device: str,
) -> Iterator[Motion]:
    """Choose where the flow and the camera's motion come from."""
    if not isinstance(flow, str):
        return given_motion(pairs, levels, flow, given["warped_flow"])
    camera: Camera | None = None
    if camera_motion and given["homographies"] is not None:
        camera = given_camera(given["homographies"])
    elif camera_motion:
        camera = CameraMotion(given["boxes"])
    if camera is not None and device != "cpu" and flow == "farneback":
        camera = _from_device(camera)
    return estimated_motion(pairs, levels, _estimator(flow, device), camera)


def _divide_shares(chunk: Chunk, first_frame: int, n_frames: int, size: tuple[int, int]) -> Chunk:
    """Make columns 8 to 10 shares of the width, the height and the number of frames."""
    shares = chunk["info"][:, 7:]
    shares[:, 2] -= np.float32(first_frame)
    shares /= np.array([*size, n_frames], np.float32)
    np.clip(shares, 0, LARGEST_SHARE, out=shares)
    return chunk


class _Watched:
    """An iterable of frames that remembers how many went by and how large they were."""

    def __init__(self, frames: Iterable[np.ndarray]) -> None:
        self.frames, self.count, self.size = frames, 0, (0, 0)

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self.frames:
            self.count += 1
            height, width = np.shape(frame)[:2]
            self.size = (width, height)
            yield frame


def _check_motion(camera_motion: bool, flow: Any, given: dict[str, Any]) -> None:
    """Refuse combinations of flow and camera motion that leave an argument without effect."""
    named = [name for name, value in given.items() if value is not None]
    if not camera_motion and named:
        raise ValueError(
            f"{named[0]} is given while camera_motion is False; set camera_motion=True"
        )
    if isinstance(flow, str) and flow not in FLOWS:
        names = ", ".join(repr(name) for name in FLOWS)
        raise ValueError(f"flow is {flow!r}; give {names} or the fields themselves")
    if isinstance(flow, str) and given["warped_flow"] is not None:
        raise ValueError("warped_flow goes with fields given as flow; give both or neither")
    if camera_motion and not isinstance(flow, str):
        if given["warped_flow"] is None:
            raise ValueError("camera_motion=True with fields given as flow needs warped_flow")
        named.remove("warped_flow")
    if len(named) > 1 or (named and not isinstance(flow, str)):
        raise ValueError(f"{named[-1]} has no effect beside what else is given; leave it out")


def iter_dense_trajectories(
    frames: Iterable[np.ndarray],
    *,
    camera_motion: bool,
    flow: str | Iterable[np.ndarray] = "farneback",
    warped_flow: Iterable[np.ndarray] | None = None,
    homographies: Iterable[np.ndarray] | None = None,
    boxes: Iterable[np.ndarray] | None = None,
    device: str = "cpu",
    n_frames: int | None = None,
    first_frame: int = 0,
    **settings: int,
) -> Iterator[Chunk]:
    """Yield the dense trajectories of a video frame by frame, in constant memory.

    Takes what `dense_trajectories` does, frames (H, W, 3) or (H, W), and gives its dict of arrays;
    each chunk holds the rows that end at one frame (maybe none). Column 10 needs the number of
    frames: where `frames` has no length, give `n_frames`.

    Raises
    ------
    ValueError
        As `dense_trajectories`, and if neither `n_frames` nor ``len(frames)`` is known.

    Examples
    --------
    >>> frames = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), np.uint8)
    >>> chunks = list(iter_dense_trajectories(frames, camera_motion=False))
    >>> {chunk["hog"].shape[1] for chunk in chunks}
    {96}
    """
    if n_frames is None and not hasattr(frames, "__len__"):
        raise ValueError("frames has no length, which column 10 needs; give n_frames")
    total = len(frames) if n_frames is None else n_frames  # type: ignore[arg-type]
    watched = _Watched(frames)
    given = {"warped_flow": warped_flow, "homographies": homographies, "boxes": boxes}
    _check_motion(camera_motion, flow, given)
    rows = _trajectories(
        watched, camera_motion, flow, given, device, first_frame, TrajectorySettings(**settings)
    )
    return (_divide_shares(chunk, first_frame, total, watched.size) for chunk in rows)


def dense_trajectories(
    frames: Iterable[np.ndarray],
    *,
    camera_motion: bool,
    flow: str | Iterable[np.ndarray] = "farneback",
    warped_flow: Iterable[np.ndarray] | None = None,
    homographies: Iterable[np.ndarray] | None = None,
    boxes: Iterable[np.ndarray] | None = None,
    device: str = "cpu",
    n_frames: int | None = None,
    first_frame: int = 0,
    **settings: int,
) -> Chunk:
    """Track densely sampled points through a video and describe what is around them.

    On each level of a pyramid with the factor sqrt(2), points are sampled every 5 px where there is
    texture and no track, and follow the flow for 15 frames. Tracks that stand still or jump are
    dropped [1]_. A track is described by its shape and, in a tube of 32 x 32 px in 2 x 2 x 3 cells
    around it, by histograms of gradients (HOG), of flow (HOF) and of the gradients of both flow
    components (MBHx, MBHy). With `camera_motion` (improved trajectories, [2]_) the shape, HOF and
    MBH are those of the flow without the camera's motion, and tracks without motion of their own
    are dropped too.

    Parameters
    ----------
    frames : iterable of ndarray, RGB (H, W, 3) or grey (H, W), uint8
        Read once, frame by frame. Both sides at least `patch_size`, 32 px.
    camera_motion : bool
        Whether to remove the camera's motion: False gives DT, True iDT.
    flow : {"farneback", "tvl1"} or iterable of ndarray of shape (H, W, 2), float32
        "farneback" is the authors' own flow. "tvl1" is `optical_flow_tvl1` at full resolution.
        Fields are displacements (x, y) in pixels from a frame to the next, one for each pair; like
        those of TV-L1 they are averaged down to each level and divided by its scale.
    warped_flow : iterable of ndarray of shape (H, W, 2), float32, optional
        With `camera_motion` and fields as `flow`: the fields without the camera's motion.
    homographies : iterable of ndarray of shape (3, 3), optional
        With `camera_motion` and a named flow: carries points of each frame to the next. Estimated
        by default.
    boxes : iterable of ndarray of shape (K, 4) or (K, 5), optional
        With `camera_motion` and a named flow: boxes of people (x1, y1, x2, y2 in pixels) in each
        frame, the first included, in which the camera's motion is not looked for.
    device : str
        "cpu" for the numba kernels; else a torch device such as "cuda".
    n_frames : int, optional
        What the last column of `info` is divided by; the number of frames by default.
    first_frame : int
        Index of the first of `frames`.
    **settings
        Fields of `TrajectorySettings`: track_length (L), stride, patch_size, spatial_cells,
        temporal_cells, max_scales.

    Returns
    -------
    dict of ndarray, float32
        Rows belong to N tracks, by the frame they end at, then scale, then age; N may be 0.

        ``info`` (N, 10): end frame; mean x, mean y, standard deviation of x and of y, length (all
        in full-resolution pixels, over the tracked points); scale; mean x / W, mean y / H and
        (end frame - L / 2 - first frame) / T, these three in [0, 0.999].
        ``trajectory`` (N, 2 L): steps (dx, dy) divided by the sum of their lengths.
        ``hog`` (N, 96), ``hof`` (N, 108), ``mbhx`` (N, 96), ``mbhy`` (N, 96): temporal cell, x
        cell, y cell, bin, the last fastest; at least 0. HOF has a ninth bin for no motion.
        ``points`` (N, L + 1, 2): x, y of the tracked points, full-resolution pixels.

    Raises
    ------
    ValueError
        If a frame is no uint8 image, frames are too small, differ in size or are none, flow or
        homographies or boxes end too early, a field has another size, a box leaves the frame, a
        setting is out of its range, or an argument would have no effect.

    Notes
    -----
    With "farneback" and given homographies the values are those of the authors' programs to about
    1e-6. Estimated homographies differ from theirs by RANSAC's choices (see `camera_motion`).

    Kept from the programs, so that columns compare: columns 4 and 5 are standard deviations though
    called variances; cells run along x before y; descriptors are L1-normalised and square-rooted
    frame by frame and then averaged over time, not normalised again (the IJCV paper says L2); HOG
    and sampling see the unblurred pyramid, the flow a blurred one; the length, the position columns
    and the tests for standing still and jumping are those of the raw track even in iDT; the slow
    bin of HOF counts pixels below 0.4 px in pixels of the level; steps that `temporal_cells` leaves
    over are not described; corners of a frame are masked by the boxes of the next one.

    Not kept: resampling less often than every frame (their option never samples again), a start
    without an end (their frame count overflows), frames below the patch size and boxes outside the
    frame (they read and write out of bounds).

    Runs on one thread; the same input gives the same bytes.

    References
    ----------
    .. [1] Wang, Klaser, Schmid, Liu. Action recognition by dense trajectories. CVPR 2011; Dense
       trajectories and motion boundary descriptors for action recognition. IJCV 2013.
    .. [2] Wang, Schmid. Action recognition with improved trajectories. ICCV 2013.

    Examples
    --------
    A texture seen for 16 frames, and a flow of 2 px to the right everywhere:

    >>> frame = np.random.default_rng(0).integers(0, 256, (40, 80), dtype=np.uint8)
    >>> flow = [np.float32([2, 0]) + np.zeros((40, 80, 2), np.float32)] * 15
    >>> tracks = dense_trajectories([frame] * 16, camera_motion=False, flow=flow)
    >>> tracks["info"][0, [0, 1, 2, 5, 6]]  # frame, mean x, mean y, length, scale
    array([15., 17.,  2., 30.,  1.], dtype=float32)
    >>> tracks["trajectory"][0, :4].round(3)
    array([0.067, 0.   , 0.067, 0.   ], dtype=float32)
    """
    chosen = TrajectorySettings(**settings)
    watched = _Watched(frames)
    given = {"warped_flow": warped_flow, "homographies": homographies, "boxes": boxes}
    _check_motion(camera_motion, flow, given)
    rows = _trajectories(watched, camera_motion, flow, given, device, first_frame, chosen)
    chunks = [_no_rows(chosen), *rows]
    every = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    total = watched.count if n_frames is None else n_frames
    return _divide_shares(every, first_frame, total, watched.size)


def _no_rows(settings: TrajectorySettings) -> Chunk:
    cells = settings.spatial_cells**2 * settings.temporal_cells
    widths = {"info": 10, "trajectory": 2 * settings.track_length}
    widths |= {name: cells * (9 if name == "hof" else 8) for name in DESCRIPTORS}
    none = {name: np.empty((0, width), np.float32) for name, width in widths.items()}
    return none | {"points": np.empty((0, settings.track_length + 1, 2), np.float32)}


def _trajectories(
    frames: Iterable[np.ndarray],
    camera_motion: bool,
    flow: str | Iterable[np.ndarray],
    given: dict[str, Any],
    device: str,
    first_frame: int,
    settings: TrajectorySettings,
) -> Iterator[Chunk]:
    """Yield the rows of each frame; the shares of columns 8 to 10 are not yet divided."""
    grays = _gray_frames(frames)
    first = next(grays)
    levels = pyramid_levels(first.shape[1], first.shape[0], settings)
    pairs = pairwise(chain([first], grays))
    motion = _motion(pairs, levels, camera_motion, flow, given, device)
    motion = with_pyramids(motion, levels)
    if device == "cpu":
        yield from trajectories_numba.track(motion, levels, camera_motion, first_frame, settings)
        return
    from cinefeat.extractors import trajectories_torch  # torch takes a second to import

    yield from trajectories_torch.track(
        motion, levels, camera_motion, first_frame, settings, device
    )
