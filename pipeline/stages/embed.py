"""Network features of windows of one clip.

Reads: the video, or the flow stage's product for networks that take flow. Writes, per network
``<name>/``: `features` (M, D), `logits` (M, n_classes) where the network has them, the layers asked
for, and per window `start_frame`, `end_frame` (M,) int32 (the last frame included) and
`start_seconds`, `end_seconds` (M,) float64. With ten crops rows are their mean. The group's
attributes hold the input specification, the classes and the sha256 of the weights. Cost: the
network's; memory does not grow with the length of the clip.

Imported features are `features` of one group, read from the files of another program instead.
"""

import functools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from cinefeat.extractors import (
    change_spec,
    dense_starts,
    load_network,
    segment_starts,
    window_indices,
)
from cinefeat.pipeline.errors import ClipError, InputError
from cinefeat.pipeline.feature_files import find_feature_files, read_features
from cinefeat.pipeline.settings import EmbedSettings, ImportedFeatureSettings, NetworkSettings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.describe import count_frames
from cinefeat.pipeline.stages.flow import frame_counts, read_fields
from cinefeat.pipeline.store import ProductWriter, read_arrays
from cinefeat.pipeline.video import VideoReader

BATCH = 8  # windows that go through a network together, as far as it takes several

Timed = tuple[np.ndarray, int, float]  # a frame or field, its frame index and its seconds


def run(job: Job, product: ProductWriter) -> None:
    """Embed one clip by each network, in memory that does not grow with its length."""
    if isinstance(job.settings, ImportedFeatureSettings):
        _import(job, job.settings, product)
        return
    settings: EmbedSettings = job.settings
    for entry in settings.networks:
        _embed(job, entry, settings, product)


def _embed(
    job: Job, entry: NetworkSettings, settings: EmbedSettings, product: ProductWriter
) -> None:
    network = load_cached(entry.network, entry.weights, job.device, settings.whole_frame)
    n_steps = count_frames(job) - network.spec.is_flow
    length = entry.window or settings.window or network.spec.window
    policy = settings.short_clips or network.spec.short_clips
    if n_steps < 1 or (n_steps < length and policy == "error"):
        raise ClipError(f"{n_steps} frames; {entry.network} needs {length} (short_clips = 'error')")
    starts = window_starts(n_steps, length, settings, network.spec)
    windows = select_windows(_steps(job, network.spec, product), starts, n_steps, length, policy)
    for batch in _batches(windows, BATCH):
        _append(product, network, batch, entry, settings)
    about = {
        "spec": network.spec.to_dict(),
        "classes": list(network.classes),
        "weights": entry.weights,
        "weights_sha256": network.sha256,
        "short_clips": policy,
        "window": length,
    }
    product.set_attrs(about, entry.group)


@functools.lru_cache(maxsize=4)
def load_cached(network: str, weights: str, device: str, whole_frame: bool) -> Any:
    """Load a network once per worker; with `whole_frame`, it takes frames squeezed, not cropped.

    Raises
    ------
    InputError
        If the weights are missing, damaged, or of another network.
    """
    try:
        loaded = load_network(network, weights, device)
    except ValueError as error:
        raise InputError(f"embed.networks, {network}: {error}") from error
    if whole_frame:
        side = loaded.spec.crop
        loaded.spec = change_spec(loaded.spec, {"resize": [side, side]})
    return loaded


def window_starts(n_steps: int, length: int, settings: EmbedSettings, spec: Any) -> np.ndarray:
    """Return the first frame of each window, as the recipe covers a clip."""
    if settings.segments is not None:
        return segment_starts(n_steps, settings.segments, length)
    return dense_starts(n_steps, length, settings.stride or spec.stride)


def select_windows(
    steps: Iterable[Timed], starts: Iterable[int], n_steps: int, length: int, policy: str
) -> Iterator[list[Timed]]:
    """Yield the windows of a stream that begin at `starts` (ascending), holding one window of it.

    A clip shorter than a window is completed by `policy`, as `window_indices` says.
    """
    ends = deque(min(int(start) + length, n_steps) for start in starts)
    kept: deque[Timed] = deque(maxlen=length)
    for i, step in enumerate(steps, start=1):
        kept.append(step)
        while ends and ends[0] == i:
            ends.popleft()
            held = list(kept)
            if n_steps < length:
                held = [held[j] for j in window_indices(0, n_steps, length, policy)]
            yield held
    if ends:
        raise ClipError(f"decoding ended early: {n_steps} frames were counted before")


def _steps(job: Job, spec: Any, product: ProductWriter) -> Iterator[Timed]:
    if spec.is_flow:
        if "flow" not in job.inputs:
            raise InputError(f"a network of modality {spec.modality!r} needs table [flow]")
        path = job.input("flow")
        times = read_arrays(path, ["frame", "seconds"])
        name = "warped_flow" if spec.modality == "warped_flow" else "flow"
        for i, field in enumerate(read_fields(path, name)):
            yield field, int(times["frame"][i]), float(times["seconds"][i])
        return
    with VideoReader(job.clip.path) as video:
        yield from video
        product.set_attrs(frame_counts(video))


def _batches(windows: Iterable[list[Timed]], size: int) -> Iterator[list[list[Timed]]]:
    batch = []
    for window in windows:
        batch.append(window)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _append(
    product: ProductWriter,
    network: Any,
    windows: list[list[Timed]],
    entry: NetworkSettings,
    settings: EmbedSettings,
) -> None:
    inputs = [
        network.preprocess(np.stack([frame for frame, _, _ in window]), settings.crops)
        for window in windows
    ]
    outputs = network(np.concatenate(inputs), entry.layers)
    for name, rows in outputs.items():
        per_window = rows.reshape(len(windows), settings.crops, *rows.shape[1:])
        product.append(f"{entry.group}/{name}", per_window.mean(axis=1).astype(settings.storage))
    first = [min(window, key=lambda step: step[1]) for window in windows]
    last = [max(window, key=lambda step: step[1]) for window in windows]
    for side, steps in (("start", first), ("end", last)):
        frames = np.array([index for _, index, _ in steps], np.int32)
        product.append(f"{entry.group}/{side}_frame", frames)
        seconds = np.array([seconds for _, _, seconds in steps], np.float64)
        product.append(f"{entry.group}/{side}_seconds", seconds)


def _import(job: Job, settings: ImportedFeatureSettings, product: ProductWriter) -> None:
    if not job.sources:
        raise ClipError("its features were not imported; run: cinefeat import-features DIR RECIPE")
    paths = find_feature_files(job.sources["features"], settings.files, job.clip.id)
    rows, first = read_features(paths)
    with VideoReader(job.clip.path) as video:
        seconds = np.array([time for _, _, time in video])
    if first is None and settings.stride is not None:
        first = settings.stride * np.arange(len(rows))
    if first is None:  # equal parts of the clip
        edges = np.arange(len(rows) + 1) * len(seconds) // len(rows)
        first, last = edges[:-1], np.maximum(edges[1:] - 1, edges[:-1])
    else:
        last = np.minimum(first + settings.window, len(seconds)) - 1
    if first.max() >= len(seconds):
        raise ClipError(
            f"{paths[-1]}: a row begins at frame {first.max()}; the video has frames 0 to "
            f"{len(seconds) - 1}"
        )
    product.append(f"{settings.group}/features", rows.astype(settings.storage))
    for side, frames in (("start", first), ("end", last)):
        product.append(f"{settings.group}/{side}_frame", frames.astype(np.int32))
        product.append(f"{settings.group}/{side}_seconds", seconds[frames])
    product.set_attrs(frame_counts(video))
