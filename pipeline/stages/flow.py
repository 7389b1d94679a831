"""Optical flow between successive frames, and maybe the flow without the camera's motion.

Reads: the video. Writes: `flow` (T-1, H, W, 2), as uint8 codes or float16 pixels, x then y, with the
attributes `bound`, `zero` and `unit`; `frame` (T-1,) int32 and `seconds` (T-1,) float64 of the first
frame of each pair; `bound` (T-1,) float32 where each field has its own. With `warped`, also
`warped_flow` as `flow`, and `homography` (T-1, 3, 3) float64, which maps a frame to the next. Cost:
about 10 ms a pair of 320x240 on one core with the preset "fast", three times that with `warped`.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from cinefeat.extractors import (
    dequantise_flow,
    flow_bounds,
    flow_of_video,
    quantise_flow,
    warped_flow_of_video,
)
from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.settings import TVL1Settings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.store import ProductWriter, dataset, iter_rows, open_product
from cinefeat.pipeline.video import VideoReader

MIN_SIDE = 16
Fields = dict[str, np.ndarray]


def run(job: Job, product: ProductWriter) -> None:
    """Compute and store the flow of one clip, in memory that does not grow with its length."""
    settings: TVL1Settings = job.settings
    times: deque[tuple[int, float]] = deque()
    pairs = 0
    with VideoReader(job.clip.path) as video:
        for fields in _fields(_grays(video, times), settings, job.device):
            index, seconds = times.popleft()
            for name, field in fields.items():
                _append(product, name, field, settings)
            product.append("frame", np.array([index], np.int32))
            product.append("seconds", np.array([seconds], np.float64))
            pairs += 1
    if pairs == 0:
        raise ClipError("the video has one frame; flow needs two")
    for name in ("flow", "warped_flow"):
        if name in product:
            product.set_attrs(_coding(settings), name)
    product.set_attrs(frame_counts(video))


def _fields(grays: Iterator[np.ndarray], settings: TVL1Settings, device: str) -> Iterator[Fields]:
    options = {"preset": settings.preset, "device": device}
    if not settings.warped:
        yield from ({"flow": flow} for flow in flow_of_video(grays, **options))
        return
    for pair in warped_flow_of_video(grays, **options):
        yield {"flow": pair.flow, "warped_flow": pair.warped, "homography": pair.homography}


def _append(product: ProductWriter, name: str, field: np.ndarray, settings: TVL1Settings) -> None:
    if name == "homography":
        product.append(name, field[None])
    elif settings.storage == "float16":
        product.append(name, field.astype(np.float16)[None], compress=True)
    elif settings.storage == "uint8":
        product.append(name, quantise_flow(field, settings.bound)[None], compress=True)
    else:
        bound = flow_bounds(field[None])
        product.append(name, quantise_flow(field[None], bound), compress=True)
        product.append(f"{name}_bound", bound.astype(np.float32))


def _coding(settings: TVL1Settings) -> dict[str, object]:
    if settings.storage == "float16":
        return {"unit": "pixels"}
    bound = settings.bound if settings.storage == "uint8" else "of each field: *_bound"
    return {"unit": "pixels", "zero": 128, "bound": bound}


def read_fields(path: Path, name: str = "flow") -> Iterator[np.ndarray]:
    """Yield the stored fields (H, W, 2) float32 of a flow product, in pixels, whatever the coding."""
    with open_product(path) as file:
        stored = dataset(file, name)
        own_bounds = f"{name}_bound" in file
        is_float = stored.dtype.kind == "f"
        fixed = None if own_bounds or is_float else float(stored.attrs["bound"])
    rows = iter_rows(path, name)
    if is_float:
        yield from (row.astype(np.float32) for row in rows)
    elif own_bounds:
        bounds = iter_rows(path, f"{name}_bound")
        yield from (dequantise_flow(row, bound) for row, bound in zip(rows, bounds, strict=True))
    else:
        yield from (dequantise_flow(row, fixed) for row in rows)


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
