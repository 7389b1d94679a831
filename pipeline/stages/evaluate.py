"""Scores of the test clips of a fold.

Reads: the fold's classifier and the test clips' encodings. Writes: `scores` (M, n_classes)
float64, margins in the order of `classes`, the mean over a clip and
its mirror image where both are encoded; `clip`, `label` and `predicted` (M,) strings.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from cinefeat.classifiers import from_arrays
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.train import read_encodings
from cinefeat.pipeline.store import ProductWriter, read_arrays, read_attrs

BATCH = 256  # clips whose encodings are in memory at once


def run(job: Job, product: ProductWriter) -> None:
    """Score and store the test clips of one fold."""
    if not job.clips:
        raise InputError("no test clip of a fold could be processed; see the failures ledger")
    model = job.input("train", "model")
    classifier = from_arrays(read_arrays(model))
    attrs = read_attrs(model)
    channels, copies = json.loads(attrs["channels"]), json.loads(attrs["copies"])
    scores = np.concatenate(
        [
            _scores(job, classifier, job.clips[i : i + BATCH], channels, copies)
            for i in range(0, len(job.clips), BATCH)
        ]
    )
    classes = np.asarray(classifier.classes_)
    product.write("scores", scores)
    product.write("classes", classes)
    product.write("clip", np.array([clip.id for clip in job.clips]))
    product.write("label", np.array([clip.label for clip in job.clips]))
    product.write("predicted", classes[scores.argmax(axis=1)])


def _scores(
    job: Job, classifier: Any, clips: Sequence[Clip], channels: list[str], copies: list[str]
) -> np.ndarray:
    """Return the mean scores (n_clips, n_classes) of the copies of some clips."""
    features = (read_encodings(job, clips, channels, prefix) for prefix in copies)
    every = [classifier.decision_function(rows) for rows in features]
    return np.asarray(np.mean(every, axis=0, dtype=np.float64))
