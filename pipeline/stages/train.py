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
from cinefeat.pipeline.stages.encode import MIRRORED
from cinefeat.pipeline.store import ProductWriter, array_names, open_product, read_arrays


def run(job: Job, product: ProductWriter) -> None:
    """Fit and store the classifier of one fold."""
    labels = np.array([clip.label for clip in job.clips])
    if len(set(labels)) < 2:
        raise InputError(
            f"the training clips have {len(set(labels))} label(s); a classifier needs 2"
        )
    copies, channels = copies_of(job, job.clips[0])
    features = [read_encodings(job, job.clips, channels, prefix) for prefix in copies]
    sizes = channel_sizes(job, job.clips[0], channels)
    classifier = build(job.settings, sizes)
    classifier.fit(np.concatenate(features), np.tile(labels, len(copies)))
    for name, array in to_arrays(classifier).items():
        product.write(name, array)
    product.set_attrs({"channels": channels, "channel_sizes": sizes, "copies": copies})


def build(settings: TrainSettings, sizes: Sequence[int]) -> Any:
    """Return the unfitted classifier of a recipe's train table."""
    if isinstance(settings, ChiSquareSettings):
        return KernelSVM(settings.C, kernel="chi2", channel_sizes=list(sizes))
    if isinstance(settings, LinearSettings):
        return LinearSVM(settings.C, random_state=0)
    return RandomForest(settings.n_trees, random_state=settings.seed)


def copies_of(job: Job, clip: Clip) -> tuple[list[str], list[str]]:
    """Return the prefixes of a clip's encodings, itself and maybe its mirror image, and channels."""
    with open_product(job.input("encode", clip.id)) as file:
        names = array_names(file)
    channels = [name for name in names if not name.startswith(MIRRORED)]
    return ["", MIRRORED] if len(names) > len(channels) else [""], channels


def channel_sizes(job: Job, clip: Clip, channels: Sequence[str]) -> list[int]:
    """Return the width of each channel."""
    arrays = read_arrays(job.input("encode", clip.id), channels)
    return [len(arrays[name]) for name in channels]


def read_encodings(
    job: Job, clips: Sequence[Clip], channels: Sequence[str], prefix: str = ""
) -> np.ndarray:
    """Return the encodings (n_clips, D) float32 of one copy of the clips, channels side by side."""
    names = [prefix + name for name in channels]
    rows = []
    for clip in clips:
        arrays = read_arrays(job.input("encode", clip.id), names)
        rows.append(np.concatenate([arrays[name] for name in names]))
    return np.stack(rows).astype(np.float32)
