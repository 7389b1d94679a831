"""Local descriptors of one clip: dense trajectories with HOG, HOF and MBH on the stored flow.

Reads: the video and the flow stage's product. Writes: `info` (N, 10) and `points` (N, 16, 2)
float32, `trajectory`, `hog`, `hof`, `mbhx`, `mbhy` (N, D) float16, `start_frame` and `end_frame`
(N,) int32, `start_seconds` and `end_seconds` (N,) float64. N may be 0: a still or short clip.
Cost: about 15 ms a frame of 320x240 on one core.
"""

from collections.abc import Iterator

import numpy as np

from cinefeat.extractors import dequantise_flow, iter_dense_trajectories
from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.recipe import CHANNELS, DescribeSettings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.flow import frame_counts
from cinefeat.pipeline.store import ProductWriter, dataset, iter_rows, open_product
from cinefeat.pipeline.video import VideoReader

MIN_SIDE = 32
TRACK_LENGTH = 15


def run(job: Job, product: ProductWriter) -> None:
    """Track and describe one clip, in memory that does not grow with its length."""
    settings: DescribeSettings = job.settings
    assert settings.extractor == "dense-trajectories"
    with open_product(job.input("flow")) as file:
        flow = dataset(file, "flow")
        bound, n_pairs = float(flow.attrs["bound"]), len(flow)
    seconds: list[float] = []
    fields = (dequantise_flow(codes, bound) for codes in iter_rows(job.input("flow"), "flow"))
    with VideoReader(job.clip.path) as video:
        for chunk in iter_dense_trajectories(
            _frames(video, seconds),
            camera_motion=False,
            flow=fields,
            device=job.device,
            n_frames=n_pairs + 1,
        ):
            _append(product, chunk, seconds)
    product.set_attrs(frame_counts(video))


def _frames(video: VideoReader, seconds: list[float]) -> Iterator[np.ndarray]:
    for frame, _, time in video:
        if min(frame.shape[:2]) < MIN_SIDE:
            height, width = frame.shape[:2]
            raise ClipError(
                f"frames of {width}x{height}; dense trajectories need at least {MIN_SIDE} pixels"
            )
        seconds.append(time)
        yield frame


def _append(product: ProductWriter, chunk: dict[str, np.ndarray], seconds: list[float]) -> None:
    end = chunk["info"][:, 0].astype(np.int32)
    if len(end) == 0 and "info" in product:
        return
    start = end - TRACK_LENGTH
    for name in CHANNELS:
        product.append(name, chunk[name].astype(np.float16))
    product.append("info", chunk["info"])
    product.append("points", chunk["points"])
    product.append("start_frame", start)
    product.append("end_frame", end)
    product.append("start_seconds", np.array([seconds[i] for i in start], np.float64))
    product.append("end_seconds", np.array([seconds[i] for i in end], np.float64))
