"""Samples of training and test: stored features and maps, stored flow, and decoded frames.

A sample is a clip. In training its rows or windows are drawn at random, one from each of as many
equal parts of the clip, pixels also cropped and mirrored at random; at test they are spread evenly.
Clips are held in memory up to `HELD_BYTES`; beyond, they are read again for every batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cinefeat.classifiers.training import Load
from cinefeat.extractors import change_spec, segment_starts, window_indices
from cinefeat.extractors.imaging import preprocess
from cinefeat.extractors.spec import InputSpec
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.network_models import spec_of
from cinefeat.pipeline.network_settings import PIXELS, PixelSettings, StreamSettings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.flow import read_fields
from cinefeat.pipeline.store import read_arrays
from cinefeat.pipeline.video import VideoReader

HELD_BYTES = 1 << 30

Read = Callable[[Clip], list[np.ndarray]]
Mode = Literal["train", "validation", "test"]


class Samples(NamedTuple):
    """Clips as a network sees them.

    Parameters
    ----------
    load : callable
        As `fit_network` takes it: ``load(numbers, seed)``.
    shapes : list of tuple of int
        Of each input of one sample.
    n : int
    """

    load: Load
    shapes: list[tuple[int, ...]]
    n: int


def open_samples(
    job: Job,
    settings: Any,
    stream: StreamSettings,
    clips: Sequence[Clip],
    classes: Sequence[str],
    mode: Mode,
) -> Samples:
    """Return clips as samples of a stream: inputs `x0`, `x1`, ... and, but for "test", `label`.

    Raises
    ------
    InputError
        If the stream's inputs are not what its model reads, or are not stored.
    """
    spec = spec_of(settings, stream)
    _check_inputs(job, settings, stream, spec)
    if spec is None:
        read = _held(lambda clip: _stored(job, stream.inputs, clip))
        take = _rows_of(settings.steps, settings.normalise)
    else:
        read = _held(lambda clip: [_pixels(job, spec.modality, clip)])
        take = _windows_of(settings, spec, mode)

    def load(numbers: Sequence[int], seed: int) -> dict[str, Tensor]:
        """Return inputs x0, x1, ... (B, ...) of clips, and unless to test their label (B,)."""
        samples = []
        for number in numbers:
            rng = np.random.default_rng([seed, number]) if mode == "train" else None
            samples.append(take(read(clips[number]), rng))
        inputs = zip(*samples, strict=True)
        batch = {f"x{i}": torch.from_numpy(np.stack(rows)) for i, rows in enumerate(inputs)}
        if mode == "test":
            return batch
        labels = [classes.index(clips[number].label) for number in numbers]
        return {**batch, "label": torch.tensor(labels)}

    shapes = [tuple(x.shape[1:]) for name, x in load([0], 0).items() if name != "label"]
    return Samples(load, shapes, len(clips))


def _check_inputs(job: Job, settings: Any, stream: StreamSettings, spec: InputSpec | None) -> None:
    wanted = None if spec is None else "frames" if spec.modality[:3] == "rgb" else spec.modality
    if wanted is not None and stream.inputs != (wanted,):
        raise InputError(
            f"network stream {stream.name!r} has inputs {list(stream.inputs)}, but model "
            f"{settings.model!r} reads [{wanted!r}]"
        )
    if wanted is None and set(stream.inputs) & set(PIXELS):
        raise InputError(
            f"network stream {stream.name!r} has inputs {list(stream.inputs)}, but model "
            f"{settings.model!r} reads arrays of the embed stage, as i3d-rgb/features"
        )
    needed = {None: "embed", "frames": ""}.get(wanted, "flow")
    if needed and needed not in job.inputs:
        raise InputError(f"network stream {stream.name!r} needs table [{needed}]")


def _held(read: Read) -> Read:
    """Keep what `read` returns, until that fills the memory that is meant for it."""
    kept: dict[str, list[np.ndarray]] = {}
    n_bytes = 0

    def read_or_recall(clip: Clip) -> list[np.ndarray]:
        """Return what `read` does, of a clip that is kept without reading."""
        nonlocal n_bytes
        if clip.id in kept:
            return kept[clip.id]
        arrays = read(clip)
        n_bytes += sum(array.nbytes for array in arrays)
        if n_bytes <= HELD_BYTES:
            kept[clip.id] = arrays
        return arrays

    return read_or_recall


def _stored(job: Job, names: Sequence[str], clip: Clip) -> list[np.ndarray]:
    """Return the rows of some arrays of the embed stage: (M, D), or maps (M, C, H, W)."""
    arrays = read_arrays(job.input("embed", clip.id), names)
    # a map of a window has a time of its own, shorter than the window: its mean
    rows = (arrays[name] for name in names)
    return [a.mean(axis=2, dtype=np.float32) if a.ndim == 5 else a for a in rows]


def _rows_of(n_steps: int, is_normalised: bool) -> Callable[..., list[np.ndarray]]:
    def take(arrays: list[np.ndarray], rng: np.random.Generator | None) -> list[np.ndarray]:
        """Return `n_steps` rows of each array, from the middles of equal parts or drawn there."""
        # arrays may have different numbers of rows: one place in time is taken from all
        places = (np.arange(n_steps) + (0.5 if rng is None else rng.random(n_steps))) / n_steps
        rows = [a[(places * len(a)).astype(int)].astype(np.float32) for a in arrays]
        return [_unit_length(x) for x in rows] if is_normalised else rows

    return take


def _unit_length(rows: np.ndarray) -> np.ndarray:
    """Scale features (T, D), or maps (T, C, H, W) at each place, to unit length; zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def _pixels(job: Job, modality: str, clip: Clip) -> np.ndarray:
    """Return all frames (T, H, W, 3) uint8 of a clip, or its flow (T, H, W, 2) float32 in pixels."""
    if modality in PIXELS:
        return np.stack(list(read_fields(job.input("flow", clip.id), modality)))
    with VideoReader(clip.path) as video:
        return np.stack([frame for frame, _, _ in video])


def _windows_of(settings: PixelSettings, spec: InputSpec, mode: Mode) -> Callable[..., Any]:
    squeezed = change_spec(spec, {"resize": [spec.crop, spec.crop]})
    n = settings.test_windows if mode == "test" else settings.segments
    n_crops = settings.test_crops if mode == "test" else 1

    def take(arrays: list[np.ndarray], rng: np.random.Generator | None) -> list[np.ndarray]:
        """Return prepared windows (N, *spec.shape) of a clip, at fixed places or drawn and cropped."""
        (frames,) = arrays
        if rng is None:
            starts = segment_starts(len(frames), n, spec.window)
            windows = _cut(frames, starts, spec)
            return [np.concatenate([preprocess(w, spec, n_crops) for w in windows])]
        n_starts = max(len(frames) - spec.window + 1, 1)
        starts = ((np.arange(n) + rng.random(n)) * n_starts / n).astype(int)
        crop = _draw_crop(frames.shape[1:3], settings, rng)
        windows = [_cropped(w, crop, spec) for w in _cut(frames, starts, spec)]
        return [np.concatenate([preprocess(w, squeezed) for w in windows])]

    return take


def _cut(frames: np.ndarray, starts: np.ndarray, spec: InputSpec) -> list[np.ndarray]:
    n, policy = len(frames), spec.short_clips
    return [frames[window_indices(int(s), n, spec.window, policy)] for s in starts]


def _draw_crop(
    shape: tuple[int, ...], settings: PixelSettings, rng: np.random.Generator
) -> tuple[slice, slice, bool]:
    """Draw a part of the frame, its sides as the scales say, and whether it is mirrored."""
    height, width = shape if settings.whole_frame else (min(shape),) * 2
    scales = np.array(settings.scale)
    first = int(rng.integers(len(scales)))
    # the sides' scales are neighbours at most, so that things keep about their shape
    second = int(np.clip(first + rng.integers(-1, 2), 0, len(scales) - 1))
    rows, columns = round(height * scales[first]), round(width * scales[second])
    top, left = (int(rng.integers(n - m + 1)) for n, m in zip(shape, (rows, columns), strict=True))
    is_mirrored = settings.flip and bool(rng.integers(2))
    return slice(top, top + rows), slice(left, left + columns), is_mirrored


def _cropped(window: np.ndarray, crop: tuple[slice, slice, bool], spec: InputSpec) -> np.ndarray:
    rows, columns, is_mirrored = crop
    part = window[:, rows, columns]
    if not is_mirrored:
        return part
    mirrored = np.ascontiguousarray(part[:, :, ::-1])
    return mirrored * np.array([-1, 1], np.float32) if spec.is_flow else mirrored
