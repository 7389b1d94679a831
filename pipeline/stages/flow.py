"""Optical flow between successive frames, stored as 8-bit codes.

Reads: the video. Writes: `flow` (T-1, H, W, 2) uint8 with the attribute `bound` in pixels,
`frame` (T-1,) int32 and `seconds` (T-1,) float64 of the first frame of each pair. Cost: about
10 ms a pair of 320x240 on one core with the preset "fast".
"""

from collections import deque
from collections.abc import Iterator

import cv2
import numpy as np

from cinefeat.extractors import flow_of_video, quantise_flow
from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.recipe import FlowSettings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.store import ProductWriter
from cinefeat.pipeline.video import VideoReader

MIN_SIDE = 16


def run(job: Job, product: ProductWriter) -> None:
    """Compute and store the flow of one clip, in memory that does not grow with its length."""
    settings: FlowSettings = job.settings
    times: deque[tuple[int, float]] = deque()
    pairs = 0
    with VideoReader(job.clip.path) as video:
        flows = flow_of_video(_grays(video, times), preset=settings.preset, device=job.device)
        for flow in flows:
            index, seconds = times.popleft()
            codes = quantise_flow(flow, settings.bound)
            product.append("flow", codes[None], compress=True)
            product.append("frame", np.array([index], np.int32))
            product.append("seconds", np.array([seconds], np.float64))
            pairs += 1
    if pairs == 0:
        raise ClipError("the video has one frame; flow needs two")
    product.set_attrs({"bound": settings.bound, "zero": 128, "unit": "pixels"}, "flow")
    product.set_attrs(frame_counts(video))


def frame_counts(video: VideoReader) -> dict[str, int]:
    """Return the attributes that tell how many frames there were, -1 for an unknown number."""
    declared = -1 if video.frames_declared is None else video.frames_declared
    return {"frames_decoded": video.frames_decoded, "frames_declared": declared}


def _grays(video: VideoReader, times: deque[tuple[int, float]]) -> Iterator[np.ndarray]:
    for frame, index, seconds in video:
        if min(frame.shape[:2]) < MIN_SIDE:
            height, width = frame.shape[:2]
            raise ClipError(f"frames of {width}x{height}; flow needs at least {MIN_SIDE} pixels")
        times.append((index, seconds))
        yield cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
