"""Dense trajectories on the CPU: the steps of `trajectories` and `histograms`, level by level."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from cinefeat.extractors import histograms, trajectories
from cinefeat.extractors.level_motion import Motion
from cinefeat.extractors.trajectories import Level, Planes, Tracks, TrajectorySettings

Chunk = dict[str, np.ndarray]


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
        for name in trajectories.DESCRIPTORS:
            rows[name] = histograms.temporal_means(getattr(self.tracks, name), slots, settings)
        return rows


def track(
    motion: Iterable[Motion],
    levels: Sequence[Level],
    camera_motion: bool,
    first_frame: int,
    settings: TrajectorySettings,
) -> Iterator[Chunk]:
    """Track through frame pairs; yield the rows that end at each frame.

    Parameters
    ----------
    motion : iterable of tuple
        For each pair the grey pyramids of both frames and, for each level, the flow to track on and
        the flow to describe: pairs of ndarray of shape (h, w), float32.
    levels : sequence of Level
    camera_motion : bool
        Whether the second flow is free of the camera's motion.
    first_frame : int
        Index of the first frame.
    settings : TrajectorySettings

    Yields
    ------
    dict of ndarray
        As of `idt.dense_trajectories`, but the last three columns of `info` hold x, y and frame
        before they are divided.
    """
    states = [_Level(level, settings) for level in levels]
    for frame, (before, after, plain, stabilised) in enumerate(motion, first_frame):
        chunks = []
        for i, state in enumerate(states):
            if frame == first_frame:
                state.sample(before[i])
            state.step(before[i], plain[i], stabilised[i])
            chunks.append(state.finished(frame + 1, camera_motion))
            state.sample(after[i])
        yield {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
