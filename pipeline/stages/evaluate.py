"""Scores of the test clips of a fold.

Reads: the fold's classifier and the test clips' encodings. Writes: `scores` (M, n_classes)
float64, margins in the order of `classes`, the mean over a clip and its mirror image where both are
encoded, or the probabilities that the fold's sigmoids make of them; `clip`, `label` and `predicted`
(M,) strings.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cinefeat.classifiers import from_arrays
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.train import BATCH, CALIBRATION, read_encodings
from cinefeat.pipeline.store import ProductWriter, read_arrays, read_attrs


def run(job: Job, product: ProductWriter) -> None:
    """Score and store the test clips of one fold."""
    if not job.clips:
        raise InputError("no test clip of a fold could be processed; see the failures ledger")
    model = job.input("train", "model")
    classifier, calibration = read_classifier(model)
    attrs = read_attrs(model)
    channels, copies = json.loads(attrs["channels"]), json.loads(attrs["copies"])
    read = functools.partial(
        read_encodings, job, channels=channels, rooted=bool(attrs["square_rooted"])
    )
    scores = np.concatenate(
        [
            _scores(classifier, [read(job.clips[i : i + BATCH], prefix=copy) for copy in copies])
            for i in range(0, len(job.clips), BATCH)
        ]
    )
    if calibration is not None:
        scores = calibration.predict_proba(scores)
    classes = np.asarray(classifier.classes_)
    product.write("scores", scores)
    product.write("classes", classes)
    product.write("clip", np.array([clip.id for clip in job.clips]))
    product.write("label", np.array([clip.label for clip in job.clips]))
    product.write("predicted", classes[scores.argmax(axis=1)])


def _scores(classifier: Any, copies: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean scores (n_clips, n_classes) of the copies of some clips."""
    every = [classifier.decision_function(rows) for rows in copies]
    return np.asarray(np.mean(every, axis=0, dtype=np.float64))


def read_classifier(model: Path) -> tuple[Any, Any]:
    """Return the fitted classifier of a train product, and its calibration or None."""
    arrays = read_arrays(model)
    sigmoids = {
        name.removeprefix(CALIBRATION): array
        for name, array in arrays.items()
        if name.startswith(CALIBRATION)
    }
    rest = {name: array for name, array in arrays.items() if not name.startswith(CALIBRATION)}
    return from_arrays(rest), from_arrays(sigmoids) if sigmoids else None
