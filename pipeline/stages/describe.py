"""Local descriptors of one clip: dense trajectories, space-time interest points or cuboids.

Reads: the video, and the flow stage's product where the recipe says "stored". Writes per row:
`info`, float32, the extractor's own columns; `positions` (N, 3) float32, x, y and t as parts of the
frame and of the clip; `start_frame`, `end_frame` (N,) int32 and `start_seconds`, `end_seconds` (N,)
float64; and the descriptors, float16: `trajectory`, `hog`, `hof`, `mbhx`, `mbhy` with `points`
(N, 16, 2) float32 (dense trajectories), `hog` and `hof` (STIP), `cuboid` (cuboids). N may be 0: a
still or short clip. Cost: about 15 ms a frame of 320x240 on one core.

Imported trajectories are read from the text of the authors' programs instead, and have no `points`.
As float16 a descriptor errs by at most 1/2048 of its value; as float32 every printed digit returns.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from cinefeat.extractors import (
    draw_rows,
    iter_cuboids,
    iter_dense_trajectories,
    iter_space_time_interest_points,
)
from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.idt_files import find_idt_file, parse_rows, read_idt_file
from cinefeat.pipeline.settings import CuboidSettings, StipSettings, TrajectorySettings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.flow import frame_counts, read_fields
from cinefeat.pipeline.store import ProductWriter, dataset, open_product
from cinefeat.pipeline.video import VideoReader, probe

TRACK_LENGTH = 15
MIN_SIDES = {"dense-trajectories": 32, "stip": 36, "cuboids": 20, "imported-idt": 32}
Chunk = dict[str, np.ndarray]
Frames = Iterable[np.ndarray]


def run(job: Job, product: ProductWriter) -> None:
    """Describe one clip, in memory that does not grow with its length."""
    n_frames = count_frames(job)
    if n_frames < 2:
        raise ClipError(f"the video has {n_frames} frame; {job.settings.extractor} need two")
    seconds: list[float] = []
    precision = getattr(job.settings, "storage", "float16")
    with VideoReader(job.clip.path) as video:
        _require_flow_of_frames(job, video)
        frames = _frames(video, seconds, job.settings.extractor)
        for chunk in _EXTRACTORS[job.settings.extractor](job, frames, n_frames):
            if len(chunk["info"]) or "info" not in product:
                _append(product, chunk, seconds, precision)
    product.set_attrs(frame_counts(video))


def count_frames(job: Job) -> int:
    """Return how many frames the clip has, decoding it where the manifest does not tell."""
    if job.clip.frames_decoded is not None:
        return job.clip.frames_decoded
    # a hand-written manifest: the frames are counted before they are described
    found = probe(job.clip.path)
    if found.frames_decoded is None:
        raise ClipError(found.reason)
    return found.frames_decoded


def _frames(video: VideoReader, seconds: list[float], extractor: str) -> Iterator[np.ndarray]:
    least = MIN_SIDES[extractor]
    for frame, _, time in video:
        if min(frame.shape[:2]) < least:
            height, width = frame.shape[:2]
            raise ClipError(f"frames of {width}x{height}; {extractor} need at least {least} pixels")
        seconds.append(time)
        yield frame


def _require_flow_of_frames(job: Job, video: VideoReader) -> None:
    """Refuse imported flow that was computed on frames of another size."""
    if getattr(job.settings, "flow", None) != "stored":
        return
    with open_product(job.input("flow")) as file:
        height, width = dataset(file, "flow").shape[1:3]
    if (width, height) != (video.width, video.height):
        raise ClipError(
            f"the stored flow is of {width}x{height}, the frames of {video.width}x{video.height}; "
            f"{job.settings.extractor} need flow of the frames' own size"
        )


def _dense_trajectories(job: Job, frames: Frames, n_frames: int) -> Iterator[Chunk]:
    settings: TrajectorySettings = job.settings
    motion: dict[str, Any] = {"flow": "farneback"}
    if settings.flow == "stored":
        motion = {"flow": read_fields(job.input("flow"))}
        if settings.camera_motion:
            motion["warped_flow"] = read_fields(job.input("flow"), "warped_flow")
    chunks = iter_dense_trajectories(
        frames,
        camera_motion=settings.camera_motion,
        n_frames=n_frames,
        device=job.device,
        **motion,
    )
    if settings.max_rows is None:
        yield from (_timed(chunk) for chunk in chunks)
    else:
        yield _timed(draw_rows(chunks, settings.max_rows, seed=settings.seed))


def _stip(job: Job, frames: Frames, n_frames: int) -> Iterator[Chunk]:
    settings: StipSettings = job.settings
    flow = read_fields(job.input("flow")) if settings.flow == "stored" else settings.flow
    yield from _at_points(
        iter_space_time_interest_points(
            frames,
            flow=flow,
            n_frames=n_frames,
            threshold=settings.threshold,
            max_points_per_frame=settings.max_points_per_frame,
        )
    )


def _cuboids(job: Job, frames: Frames, n_frames: int) -> Iterator[Chunk]:
    settings: CuboidSettings = job.settings
    names = ("sigma", "tau", "threshold", "max_points_per_frame")
    options = {name: getattr(settings, name) for name in names}
    yield from _at_points(iter_cuboids(frames, n_frames=n_frames, **options))


def _at_points(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    for chunk in chunks:
        frame = chunk["info"][:, 0].astype(np.int32)
        times = {"start_frame": frame, "end_frame": frame}
        yield {**chunk, **times, "positions": chunk["info"][:, 6:9]}


def _imported(job: Job, frames: Frames, n_frames: int) -> Iterator[Chunk]:
    if not job.sources:
        raise ClipError("its trajectories were not imported; run: cinefeat import-idt DIR RECIPE")
    path = find_idt_file(job.sources["trajectories"], job.clip.id)
    n_decoded = sum(1 for _ in frames)  # which also collects the times of the frames
    for rows in chain([parse_rows([])], read_idt_file(path)):
        end = rows["info"][:, 0]
        wrong = end[(end < TRACK_LENGTH) | (end >= n_decoded) | (end != np.rint(end))]
        if len(wrong):
            raise ClipError(
                f"{path}: a trajectory ends at frame {wrong[0]:g}; the video has frames 0 to "
                f"{n_decoded - 1}, and a trajectory needs {TRACK_LENGTH} before its end"
            )
        yield _timed(rows)


def _timed(chunk: Chunk) -> Chunk:
    """Add to trajectories the frames and the positions that they have by their first array."""
    end = chunk["info"][:, 0].astype(np.int32)
    times = {"start_frame": end - TRACK_LENGTH, "end_frame": end}
    return {**chunk, **times, "positions": chunk["info"][:, 7:10]}


_EXTRACTORS: dict[str, Callable[[Job, Frames, int], Iterator[Chunk]]] = {
    "dense-trajectories": _dense_trajectories,
    "stip": _stip,
    "cuboids": _cuboids,
    "imported-idt": _imported,
}
_FLOAT32 = ("info", "positions", "points")


def _append(product: ProductWriter, chunk: Chunk, seconds: list[float], precision: str) -> None:
    for side in ("start", "end"):
        times = [seconds[i] for i in chunk[f"{side}_frame"]]
        product.append(f"{side}_seconds", np.array(times, np.float64))
    for name, rows in chunk.items():
        is_descriptor = rows.dtype.kind == "f" and name not in _FLOAT32
        product.append(name, rows.astype(precision) if is_descriptor else rows)
