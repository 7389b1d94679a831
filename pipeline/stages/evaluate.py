"""Scores of the test clips of a fold.

Reads: the fold's classifier and the test clips' encodings, or the fold's networks and what they
read. Writes: `scores` (M, n_classes) float64, margins in the order of `classes`, the mean over a clip
and its mirror image where both are encoded, or the probabilities that the fold's sigmoids make of
them; of networks the mean of their streams; of both, the weighted mean of normalised scores. `clip`,
`label` and `predicted` (M,) strings.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cinefeat.classifiers import from_arrays, normalise_scores
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.train import BATCH, CALIBRATION, read_encodings
from cinefeat.pipeline.store import ProductWriter, read_arrays, read_attrs


def run(job: Job, product: ProductWriter) -> None:
    """Score and store the test clips of one fold."""
    if not job.clips:
        raise InputError("no test clip of a fold could be processed; see the failures ledger")
    scores, classes = _judge(job)
    product.write("scores", scores)
    product.write("classes", classes)
    product.write("clip", np.array([clip.id for clip in job.clips]))
    product.write("label", np.array([clip.label for clip in job.clips]))
    product.write("predicted", classes[scores.argmax(axis=1)])


def _judge(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (M, n_classes) of the test clips by what the fold learned, and the classes."""
    if "network" not in job.inputs:
        return _classifier_scores(job)
    from cinefeat.pipeline.stages.network import network_scores  # torch, which others do without

    found, classes = network_scores(job)
    if "train" not in job.inputs:
        return found, classes
    margins, known = _classifier_scores(job)
    if list(known) != list(classes):
        raise InputError("stages train and network learned different classes; see the ledger")
    share, rule = job.settings.network_share, job.settings.norm
    parts = [share * normalise_scores(found, rule), (1 - share) * normalise_scores(margins, rule)]
    return np.sum(parts, axis=0), classes


def _classifier_scores(job: Job) -> tuple[np.ndarray, np.ndarray]:
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
    return scores, np.asarray(classifier.classes_)


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
