"""Dense trajectories (DT) and improved dense trajectories (iDT) of a video, with descriptors.

Wang, Klaser, Schmid, Liu, CVPR 2011 and IJCV 2013 (DT); Wang, Schmid, ICCV 2013 (iDT). Rows, columns
and their order are those of the authors' programs. Frames stream through: memory does not grow
with the length of the video, except for the rows that `dense_trajectories` collects.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from cinefeat.extractors import farneback, histograms, trajectories
from cinefeat.extractors.camera_motion import CameraMotion, pull_back
from cinefeat.extractors.flow import optical_flow_tvl1
from cinefeat.extractors.trajectories import Level, Tracks, TrajectorySettings

Planes = tuple[np.ndarray, np.ndarray]  # the x and y components of a flow field
Chunk = dict[str, np.ndarray]
DESCRIPTORS = ("hog", "hof", "mbhx", "mbhy")
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


def gray_pyramid(gray: np.ndarray, levels: Iterable[Level]) -> list[np.ndarray]:
    """Resize a grey frame level by level, 8 bit to 8 bit, bilinearly and without a blur."""
    pyramid: list[np.ndarray] = []
    for level in levels:
        size = (level.width, level.height)
        pyramid.append(cv2.resize(pyramid[-1], size) if pyramid else gray)
    return pyramid


def flow_pyramid(field: np.ndarray, levels: Iterable[Level]) -> list[Planes]:
    """Average a full-resolution flow field down to each level and divide it by the scale."""
    planes = [np.ascontiguousarray(field[..., c], np.float32) for c in (0, 1)]
    pyramid = []
    for level in levels:
        size = (level.width, level.height)
        x, y = (cv2.resize(p, size, interpolation=cv2.INTER_AREA) / level.scale for p in planes)
        pyramid.append((x, y))
    return pyramid


def _gray_pairs(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each frame with the one before it, in grey, and check that they agree in size."""
    previous: np.ndarray | None = None
    for i, frame in enumerate(frames):
        gray = to_gray(frame)
        if previous is not None:
            if gray.shape != previous.shape:
                raise ValueError(
                    f"frame {i} is {gray.shape[1]}x{gray.shape[0]} px after frames of "
                    f"{previous.shape[1]}x{previous.shape[0]}; all frames must agree in size"
                )
            yield previous, gray
        previous = gray
    if previous is None:
        raise ValueError("the video has no frames; give at least one")


def _field_motion(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    fields: Iterable[np.ndarray],
    warped_fields: Iterable[np.ndarray] | None,
    settings: TrajectorySettings,
) -> Iterator[tuple[np.ndarray, np.ndarray, list[Planes], list[Planes]]]:
    """Yield each frame pair with the level flow to track on and the one to describe."""
    fields = iter(fields)
    warped = None if warped_fields is None else iter(warped_fields)
    for i, (previous, current) in enumerate(pairs):
        levels = trajectories.pyramid_levels(*previous.shape[::-1], settings)
        plain = flow_pyramid(_next_field(fields, i, "flow", previous.shape), levels)
        stabilised = plain
        if warped is not None:
            field = _next_field(warped, i, "warped_flow", previous.shape)
            stabilised = flow_pyramid(field, levels)
        yield previous, current, plain, stabilised


class _GivenHomographies:
    """Hand out given homographies pair after pair."""

    def __init__(self, homographies: Iterable[np.ndarray]) -> None:
        self._homographies, self._pair = iter(homographies), 0

    def __call__(self, previous: np.ndarray, current: np.ndarray, flow: Planes) -> np.ndarray:
        homography = next(self._homographies, None)
        if homography is None:
            raise ValueError(
                f"homographies ends after {self._pair}; give one for each pair of frames"
            )
        self._pair += 1
        return homography


Camera = Callable[[np.ndarray, np.ndarray, Planes], np.ndarray]
Estimator = tuple[
    Callable[[np.ndarray, Sequence[Level]], Any],  # prepare a frame
    Callable[[Any, Any, Sequence[Level]], list[Planes]],  # the level flows between two of them
]


def _tvl1_flow(first: np.ndarray, second: np.ndarray, levels: Sequence[Level]) -> list[Planes]:
    return flow_pyramid(optical_flow_tvl1(first, second), levels)


FLOWS: dict[str, Estimator] = {
    "farneback": (farneback.polynomial_pyramid, lambda a, b, _: farneback.flow_between(a, b)),
    "tvl1": (lambda gray, _: gray, _tvl1_flow),
}


def _estimated_motion(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    estimator: Estimator,
    camera: Camera | None,
    settings: TrajectorySettings,
) -> Iterator[tuple[np.ndarray, np.ndarray, list[Planes], list[Planes]]]:
    """Yield each frame pair with its level flows, estimated here; `camera` removes its motion."""
    prepare, flow_between = estimator
    before: Any = None
    for previous, current in pairs:
        if before is None:
            levels = trajectories.pyramid_levels(*previous.shape[::-1], settings)
            before = prepare(previous, levels)
        after = prepare(current, levels)
        stabilised = plain = flow_between(before, after, levels)
        if camera is not None:
            homography = camera(previous, current, plain[0])
            pulled = prepare(pull_back(previous, current, homography), levels)
            stabilised = flow_between(before, pulled, levels)
        yield previous, current, plain, stabilised
        before = after


def _next_field(fields: Iterator[np.ndarray], i: int, name: str, shape: tuple) -> np.ndarray:
    field = next(fields, None)
    if field is None:
        raise ValueError(f"{name} ends after {i} fields; give one for each pair of frames")
    if field.shape != (*shape, 2):
        raise ValueError(f"{name} field {i} has shape {field.shape}; the frames need {(*shape, 2)}")
    return field


class _Level:
    """The tracks of one level with the row buffers of `finish`."""

    def __init__(self, level: Level, settings: TrajectorySettings) -> None:
        self.level, self.settings = level, settings
        cells = (level.width // settings.stride) * (level.height // settings.stride)
        self.tracks: Tracks = trajectories.empty_tracks(2 * cells, settings)
        self.n = 0

    def sample(self, gray: np.ndarray) -> None:
        self.tracks, self.n = trajectories.sample(self.tracks, self.n, gray, self.settings)

    def step(self, gray: np.ndarray, flow: Planes, stabilised: Planes) -> None:
        patch = self.settings.patch_size
        self.n = trajectories.advance(self.tracks, self.n, flow, stabilised, patch)
        histograms.describe(self.tracks, self.n, gray, stabilised, self.settings)

    def finished(self, frame: int, camera_motion: bool) -> Chunk:
        """End full-length tracks; return the rows of the valid ones, column 10 left as a frame."""
        scale, settings = self.level.scale, self.settings
        slots = np.empty(self.n, np.int32)
        summaries = np.empty((self.n, 5), np.float32)
        shapes = np.empty((self.n, 2 * settings.track_length), np.float32)
        self.n, kept = trajectories.finish(
            self.tracks, self.n, scale, camera_motion, slots, summaries, shapes
        )
        slots, summary = slots[:kept], summaries[:kept]
        info = np.empty((kept, 10), np.float32)
        info[:, 0] = frame
        info[:, 1:6], info[:, 6] = summary, scale
        info[:, 7:9] = summary[:, :2]
        info[:, 9] = frame - np.float32(settings.track_length) / 2
        points = self.tracks.points[slots] * scale
        rows = {"info": info, "trajectory": shapes[:kept], "points": points}
        frames_per_cell = np.float32(settings.track_length // settings.temporal_cells)
        for name in DESCRIPTORS:
            rows[name] = getattr(self.tracks, name)[slots] / frames_per_cell
        return rows


def _concatenate(chunks: list[Chunk]) -> Chunk:
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _rows(
    motion: Iterable[tuple[np.ndarray, np.ndarray, list[Planes], list[Planes]]],
    camera_motion: bool,
    first_frame: int,
    settings: TrajectorySettings,
) -> Iterator[Chunk]:
    """Track through frame pairs; yield the rows that end at each frame, shares not yet divided."""
    states: list[_Level] = []
    for end, (previous, current, plain, stabilised) in enumerate(motion, first_frame + 1):
        if not states:
            levels = trajectories.pyramid_levels(*previous.shape[::-1], settings)
            states = [_Level(level, settings) for level in levels]
            before = gray_pyramid(previous, levels)
            for state, gray in zip(states, before, strict=True):
                state.sample(gray)
        after = gray_pyramid(current, levels)
        chunks = []
        for i, state in enumerate(states):
            state.step(before[i], plain[i], stabilised[i])
            chunks.append(state.finished(end, camera_motion))
            state.sample(after[i])
        before = after
        yield _concatenate(chunks)


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
    rows = _trajectories(watched, camera_motion, flow, given, device, first_frame, chosen)
    every = _concatenate([_no_rows(chosen), *rows])
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
    _check_motion(camera_motion, flow, given)
    if device != "cpu":
        raise NotImplementedError
    pairs = _gray_pairs(frames)
    if not isinstance(flow, str):
        motion = _field_motion(pairs, flow, given["warped_flow"], settings)
        return _rows(motion, camera_motion, first_frame, settings)
    camera: Camera | None = None
    if camera_motion and given["homographies"] is not None:
        camera = _GivenHomographies(given["homographies"])
    elif camera_motion:
        camera = CameraMotion(given["boxes"])
    motion = _estimated_motion(pairs, FLOWS[flow], camera, settings)
    return _rows(motion, camera_motion, first_frame, settings)
