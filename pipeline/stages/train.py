"""The classifier of a fold, learned from the encodings of its training clips.

Reads: the training clips' encodings. Writes: the arrays of the fitted classifier as
`cinefeat.classifiers.to_arrays` names them, with the channels in the order of its columns.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cinefeat.classifiers import KernelSVM, LinearSVM, RandomForest, to_arrays
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.recipe import ChiSquareSettings, LinearSettings, TrainSettings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.store import ProductWriter, array_names, open_product, read_arrays


def run(job: Job, product: ProductWriter) -> None:
    """Fit and store the classifier of one fold."""
    labels = [clip.label for clip in job.clips]
    if len(set(labels)) < 2:
        raise InputError(
            f"the training clips have {len(set(labels))} label(s); a classifier needs 2"
        )
    channels = channels_of(job, job.clips[0])
    features, sizes = read_encodings(job, job.clips, channels)
    classifier = build(job.settings, sizes).fit(features, labels)
    for name, array in to_arrays(classifier).items():
        product.write(name, array)
    product.set_attrs({"channels": channels, "channel_sizes": sizes})


def build(settings: TrainSettings, sizes: Sequence[int]) -> Any:
    """Return the unfitted classifier of a recipe's train table."""
    if isinstance(settings, ChiSquareSettings):
        return KernelSVM(settings.C, kernel="chi2", channel_sizes=list(sizes))
    if isinstance(settings, LinearSettings):
        return LinearSVM(settings.C, random_state=0)
    return RandomForest(settings.n_trees, random_state=settings.seed)


def channels_of(job: Job, clip: Clip) -> list[str]:
    """Return the channels of a clip's encoding, in the order of the file."""
    with open_product(job.input("encode", clip.id)) as file:
        return array_names(file)


def read_encodings(
    job: Job, clips: Sequence[Clip], channels: Sequence[str]
) -> tuple[np.ndarray, list[int]]:
    """Return the encodings (n_clips, D) float32, channels side by side, and each one's width."""
    rows = []
    for clip in clips:
        arrays = read_arrays(job.input("encode", clip.id), channels)
        rows.append(np.concatenate([arrays[name] for name in channels]))
        sizes = [len(arrays[name]) for name in channels]
    return np.stack(rows).astype(np.float32), sizes
