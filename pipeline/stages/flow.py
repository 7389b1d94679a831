"""Optical flow between successive frames, and maybe the flow without the camera's motion.

Reads: the video. Writes: `flow` (T-1, H, W, 2), as uint8 codes or float16 pixels, x then y, with the
attributes `bound`, `zero` and `unit`; `frame` (T-1,) int32 and `seconds` (T-1,) float64 of the first
frame of each pair; `flow_bound` (T-1,) float32 where each field has its own. MotionNet's flow is
stored in the same way. With `warped`, also `warped_flow` as `flow`, and `homography` (T-1, 3, 3) float64, which maps a frame to the next. Cost:
about 10 ms a pair of 320x240 on one core with the preset "fast", three times that with `warped`.

Imported flow is read from the files of other programs instead, and has no `homography`. The codes of
images stay as they are: their `zero` is 127.5, between two codes, and the two, 127 and 128, are both
read as no motion. The files may be of another size than the frames.
"""

import functools
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from cinefeat.extractors import (
    decode_tsn,
    dequantise_flow,
    flow_bounds,
    flow_of_video,
    quantise_flow,
    warped_flow_of_video,
)
from cinefeat.pipeline.errors import ClipError, InputError
from cinefeat.pipeline.flow_files import FlowFolder, open_flow_folder
from cinefeat.pipeline.settings import (
    ImportedFlowSettings,
    MotionNetFlowSettings,
    TVL1Settings,
)
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.store import ProductWriter, dataset, iter_rows, open_product
from cinefeat.pipeline.video import VideoReader

MIN_SIDE = 16
ZERO = 128  # the code of no motion in flow that is quantised here
ZERO_OF_IMAGES = 127.5
Fields = dict[str, np.ndarray]
ComputedSettings = TVL1Settings | MotionNetFlowSettings


def run(job: Job, product: ProductWriter) -> None:
    """Store the flow of one clip, in memory that does not grow with its length."""
    if isinstance(job.settings, ImportedFlowSettings):
        _import(job, job.settings, product)
    else:
        _compute(job, job.settings, product)


def _compute(job: Job, settings: ComputedSettings, product: ProductWriter) -> None:
    times: deque[tuple[int, float]] = deque()
    pairs = 0
    with VideoReader(job.clip.path) as video:
        for fields in _fields(_frames(video, times), settings, job.device):
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
            product.set_attrs(_coding(settings.storage, settings.bound, ZERO), name)
    product.set_attrs(frame_counts(video))


def _import(job: Job, settings: ImportedFlowSettings, product: ProductWriter) -> None:
    if not job.sources:
        raise ClipError("its flow was not imported; run: cinefeat import-flow DIR RECIPE")
    folders = {name: open_flow_folder(path / job.clip.id) for name, path in job.sources.items()}
    with VideoReader(job.clip.path) as video:
        for _, index, seconds in video:
            if index >= min(folder.n_fields for folder in folders.values()):
                continue
            for name, folder in folders.items():
                field = _as_stored(folder, index, settings)
                product.append(name, field[None], compress=True)
            product.append("frame", np.array([index], np.int32))
            product.append("seconds", np.array([seconds], np.float64))
    for name, folder in folders.items():
        _require_a_field_per_pair(folder, video.frames_decoded - 1)
        kind, zero = ("uint8", ZERO_OF_IMAGES) if folder.holds_codes else (settings.storage, ZERO)
        product.set_attrs(_coding(kind, settings.bound, zero), name)
    product.set_attrs(frame_counts(video))


def _as_stored(folder: FlowFolder, index: int, settings: ImportedFlowSettings) -> np.ndarray:
    field = folder.read(index)
    if folder.holds_codes:
        return field
    if settings.storage == "uint8":
        return quantise_flow(field, settings.bound)
    if np.abs(field).max() > np.finfo(np.float16).max:
        raise ClipError(f"{folder.path}: field {index + folder.first} has steps above 65504 pixels")
    return field.astype(np.float16)


def _require_a_field_per_pair(folder: FlowFolder, n_pairs: int) -> None:
    if folder.n_fields != n_pairs:
        raise ClipError(
            f"{folder.path} has {folder.n_fields} fields; the video has {n_pairs + 1} frames, "
            f"whose flow is {n_pairs} fields"
        )


def _fields(
    frames: Iterator[np.ndarray], settings: ComputedSettings, device: str
) -> Iterator[Fields]:
    if isinstance(settings, MotionNetFlowSettings):
        network = load_motion_flow(settings.weights, device)
        yield from ({"flow": flow} for flow in network.of_video(frames))
        return
    grays = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    options = {"preset": settings.preset, "device": device}
    if not settings.warped:
        yield from ({"flow": flow} for flow in flow_of_video(grays, **options))
        return
    for pair in warped_flow_of_video(grays, **options):
        yield {"flow": pair.flow, "warped_flow": pair.warped, "homography": pair.homography}


@functools.lru_cache(maxsize=1)
def load_motion_flow(weights: str, device: str) -> Any:
    """Load a trained MotionNet once per worker.

    Raises
    ------
    InputError
        If the weights are missing, damaged, or of another network.
    """
    from cinefeat.extractors import MotionFlow  # torch, which TV-L1 on the CPU does without

    try:
        return MotionFlow(weights, device)
    except ValueError as error:
        raise InputError(f"flow.weights: {error}") from error


def _append(
    product: ProductWriter, name: str, field: np.ndarray, settings: ComputedSettings
) -> None:
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


def _coding(storage: str, bound: float, zero: float) -> dict[str, object]:
    if storage == "float16":
        return {"unit": "pixels"}
    scale = bound if storage == "uint8" else "of each field: *_bound"
    return {"unit": "pixels", "zero": zero, "bound": scale}


class Coding(NamedTuple):
    """How a flow product stores an array: pixels are ``(code - zero) * bound / 127.5``.

    `zero` is None where pixels are stored; `bound` as well, and where each field has its own.
    """

    zero: float | None
    bound: float | None


def coding_of(path: Path, name: str) -> Coding:
    """Return how a flow product stores `flow` or `warped_flow`."""
    with open_product(path) as file:
        stored = dataset(file, name)
        if stored.dtype.kind == "f":
            return Coding(None, None)
        has_own_bounds = f"{name}_bound" in file
        bound = None if has_own_bounds else float(stored.attrs["bound"])
        return Coding(float(stored.attrs["zero"]), bound)


def read_fields(path: Path, name: str = "flow") -> Iterator[np.ndarray]:
    """Yield the stored fields (H, W, 2) float32 of a flow product, in pixels, whatever the coding."""
    zero, bound = coding_of(path, name)
    rows = iter_rows(path, name)
    if zero is None:
        yield from (row.astype(np.float32) for row in rows)
    elif bound is None:
        bounds = iter_rows(path, f"{name}_bound")
        yield from (dequantise_flow(row, own) for row, own in zip(rows, bounds, strict=True))
    elif zero == ZERO_OF_IMAGES:
        yield from (decode_tsn(row, bound) for row in rows)
    else:
        yield from (dequantise_flow(row, bound) for row in rows)


def frame_counts(video: VideoReader) -> dict[str, int]:
    """Return the attributes that tell how many frames there were, -1 for an unknown number."""
    declared = -1 if video.frames_declared is None else video.frames_declared
    return {"frames_decoded": video.frames_decoded, "frames_declared": declared}


def _frames(video: VideoReader, times: deque[tuple[int, float]]) -> Iterator[np.ndarray]:
    for frame, index, seconds in video:
        if min(frame.shape[:2]) < MIN_SIDE:
            height, width = frame.shape[:2]
            raise ClipError(f"frames of {width}x{height}; flow needs at least {MIN_SIDE} pixels")
        times.append((index, seconds))
        yield frame
