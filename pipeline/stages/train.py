"""The classifier of a fold, learned from the encodings of its training clips.

Reads: the training clips' encodings. Writes: the arrays of the fitted classifier as
`cinefeat.classifiers.to_arrays` names them, with the channels in the order of its columns.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cinefeat.classifiers import KernelSVM, LinearSVM, RandomForest, to_arrays
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.settings import ChiSquareSettings, LinearSettings, TrainSettings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.encode import MIRRORED
from cinefeat.pipeline.store import ProductWriter, array_names, dataset, open_product


def run(job: Job, product: ProductWriter) -> None:
    """Fit and store the classifier of one fold."""
    labels = np.array([clip.label for clip in job.clips])
    if len(set(labels)) < 2:
        raise InputError(
            f"the training clips have {len(set(labels))} label(s); a classifier needs 2"
        )
    copies, channels = copies_of(job, job.clips[0])
    sizes = channel_sizes(job, job.clips[0], channels)
    classifier = build(job.settings, sizes)
    targets = np.tile(labels, len(copies))
    blocks = functools.partial(_blocks, job, channels, copies)
    if isinstance(classifier, LinearSVM) and sum(sizes) > len(targets):
        classifier.fit_blocks(blocks, targets)
    else:
        classifier.fit(np.concatenate(list(blocks()), axis=1), targets)
    for name, array in to_arrays(classifier).items():
        product.write(name, array)
    product.set_attrs({"channels": channels, "channel_sizes": sizes, "copies": copies})


def _blocks(job: Job, channels: Sequence[str], copies: Sequence[str]) -> Iterator[np.ndarray]:
    """Yield the training encodings channel by channel: (n_copies * n_clips, d) float32."""
    for channel in channels:
        parts = [read_encodings(job, job.clips, [channel], prefix) for prefix in copies]
        yield np.concatenate(parts)


def build(settings: TrainSettings, sizes: Sequence[int]) -> Any:
    """Return the unfitted classifier of a recipe's train table."""
    if isinstance(settings, ChiSquareSettings):
        return KernelSVM(settings.C, kernel="chi2", channel_sizes=list(sizes))
    if isinstance(settings, LinearSettings):
        return LinearSVM(settings.C, random_state=0)
    return RandomForest(settings.n_trees, random_state=settings.seed)


def copies_of(job: Job, clip: Clip) -> tuple[list[str], list[str]]:
    """Return the prefixes of a clip's encodings, itself and maybe its mirror image, and channels."""
    names = _stored_names(job, clip)
    channels = [name for name in names if not name.startswith(MIRRORED)]
    return ["", MIRRORED] if len(names) > len(channels) else [""], channels


def channel_sizes(job: Job, clip: Clip, channels: Sequence[str]) -> list[int]:
    """Return the width of each channel."""
    vectors = _read_vectors(job, clip, channels)
    return [len(vectors[name]) for name in channels]


def read_encodings(
    job: Job, clips: Sequence[Clip], channels: Sequence[str], prefix: str = ""
) -> np.ndarray:
    """Return the encodings (n_clips, D) float32 of one copy of the clips, channels side by side.

    A channel that has no such copy (network features have no mirror image) is taken as it is.
    """
    stored = set(_stored_names(job, clips[0]))
    names = [prefix + name if prefix + name in stored else name for name in channels]
    rows = (_read_vectors(job, clip, names) for clip in clips)
    return np.stack([np.concatenate([row[name] for name in names]) for row in rows])


def _sources(job: Job) -> list[str]:
    return [stage for stage in ("encode", "pool") if stage in job.inputs]


def _stored_names(job: Job, clip: Clip) -> list[str]:
    names = []
    for stage in _sources(job):
        with open_product(job.input(stage, clip.id)) as file:
            names += array_names(file)
    return names


def _read_vectors(job: Job, clip: Clip, names: Sequence[str]) -> dict[str, np.ndarray]:
    vectors: dict[str, np.ndarray] = {}
    for stage in _sources(job):
        with open_product(job.input(stage, clip.id)) as file:
            there = set(array_names(file)) & set(names)
            vectors |= {name: dataset(file, name)[...] for name in there}
    return vectors
