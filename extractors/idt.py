"""Dense trajectories (DT) and improved dense trajectories (iDT) of a video, with descriptors.

Wang, Klaser, Schmid, Liu, CVPR 2011 and IJCV 2013 (DT); Wang, Schmid, ICCV 2013 (iDT). Rows, columns
and their order are those of the authors' programs. Frames stream through: memory does not grow
with the length of the video, except for the rows that `dense_trajectories` collects.
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
from cinefeat.extractors.trajectories import Level, Planes, TrajectorySettings, pyramid_levels

Chunk = dict[str, np.ndarray]
LARGEST_SHARE = np.float32(0.999)  # of columns 8 to 10


def to_gray(frame: np.ndarray) -> np.ndarray:
    """Return an RGB (H, W, 3) or grey (H, W) uint8 frame as grey uint8."""
    frame = np.asarray(frame)
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


def _tvl1_flow(first: np.ndarray, second: np.ndarray, levels: Sequence[Level]) -> list[Planes]:
    return flow_pyramid(optical_flow_tvl1(first, second), levels)


FLOWS: dict[str, Estimator] = {
    "farneback": (farneback.polynomial_pyramid, lambda a, b, _: farneback.flow_between(a, b)),
    "tvl1": (lambda gray, _: gray, _tvl1_flow),
}


def _estimator(flow: str, device: str) -> Estimator:
    """Return how frames are prepared and their flow estimated on a device."""
    if device == "cpu":
        return FLOWS[flow]
    from cinefeat.extractors import farneback_torch  # torch takes a second to import

    if flow == "farneback":
        return (
            lambda gray, levels: farneback_torch.polynomial_pyramid(gray, levels, device),
            lambda first, second, _: farneback_torch.flow_between(first, second),
        )
    return (
        lambda gray, _: gray,
        lambda a, b, levels: flow_pyramid(optical_flow_tvl1(a, b, device=device), levels),
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
            self.size = (frame.shape[1], frame.shape[0])
            yield frame


def _check_motion(camera_motion: bool, flow: Any, given: dict[str, Any]) -> None:
    """Refuse combinations of flow and camera motion that leave an argument without effect."""
    named = [name for name, value in given.items() if value is not None]
    if not camera_motion and named:
        raise ValueError(
            f"{named[0]} is given while camera_motion is False; set camera_motion=True"
        )
    if isinstance(flow, str) and flow not in ("farneback", "tvl1"):
        raise ValueError(f"flow is {flow!r}; give 'farneback', 'tvl1' or the fields themselves")
    if isinstance(flow, str) and given["warped_flow"] is not None:
        raise ValueError(
            "warped_flow goes with an iterable of fields as flow; give both or neither"
        )
    if camera_motion and not isinstance(flow, str) and given["warped_flow"] is None:
        raise ValueError("camera_motion=True with a given flow needs warped_flow; give its fields")


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

    Takes and gives what `dense_trajectories` does; each chunk holds the rows that end at one
    frame (maybe none). Column 10 needs the number of frames: where `frames` has no length, give
    `n_frames`.

    Raises
    ------
    ValueError
        As `dense_trajectories`, and if neither `n_frames` nor ``len(frames)`` is known.
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
    """Return the dense trajectories of a video with their descriptors."""
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
    widths |= {name: cells * (9 if name == "hof" else 8) for name in trajectories_numba.DESCRIPTORS}
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
