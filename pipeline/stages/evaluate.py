"""Scores of the test clips of a fold.

Reads: the fold's classifier and the test clips' encodings. Writes: `scores` (M, n_classes)
float64, margins in the order of `classes`, the mean over a clip and
its mirror image where both are encoded; `clip`, `label` and `predicted` (M,) strings.
"""

import json

import numpy as np

from cinefeat.classifiers import from_arrays
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.train import read_encodings
from cinefeat.pipeline.store import ProductWriter, read_arrays, read_attrs


def run(job: Job, product: ProductWriter) -> None:
    """Score and store the test clips of one fold."""
    if not job.clips:
        raise InputError("no test clip of a fold could be processed; see the failures ledger")
    model = job.input("train", "model")
    classifier = from_arrays(read_arrays(model))
    attrs = read_attrs(model)
    channels, copies = json.loads(attrs["channels"]), json.loads(attrs["copies"])
    features = (read_encodings(job, job.clips, channels, prefix) for prefix in copies)
    every = [classifier.decision_function(rows) for rows in features]
    scores = np.mean(every, axis=0, dtype=np.float64)
    classes = np.asarray(classifier.classes_)
    product.write("scores", scores)
    product.write("classes", classes)
    product.write("clip", np.array([clip.id for clip in job.clips]))
    product.write("label", np.array([clip.label for clip in job.clips]))
    product.write("predicted", classes[scores.argmax(axis=1)])
