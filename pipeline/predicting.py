"""Labels of new videos by a model: the stages of its recipe, without learning."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip, check_id
from cinefeat.pipeline.models import read_model, unpack_model
from cinefeat.pipeline.plan import stages_of
from cinefeat.pipeline.protocol import Fold
from cinefeat.pipeline.run import Request, nodes_of, run
from cinefeat.pipeline.scan import find_videos
from cinefeat.pipeline.store import csv_text, read_arrays


@dataclass(frozen=True)
class Predictions:
    """What a model says of new clips.

    Parameters
    ----------
    clips, predicted : ndarray of shape (n,), strings
        Ids, and the classes of greatest score.
    classes : ndarray of shape (n_classes,), strings
    scores : ndarray of shape (n, n_classes), float64
    failures : dict of str to str
        Reason of every clip that could not be labelled.
    """

    clips: np.ndarray
    predicted: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    failures: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the predictions as plain values, for JSON."""
        rows = zip(self.clips.tolist(), self.predicted.tolist(), self.scores.tolist(), strict=True)
        names = self.classes.tolist()
        return {
            "predictions": [
                {"clip": clip, "predicted": label, "scores": dict(zip(names, scores, strict=True))}
                for clip, label, scores in rows
            ],
            "failures": self.failures,
        }


def find_clips(videos: Sequence[Path]) -> tuple[Clip, ...]:
    """Return the clips of files and of folders of videos, without labels.

    A clip's id is its path in the folder given, or the name of the file given, without extension.

    Raises
    ------
    InputError
        If a file or folder is not there, a folder has no video, or two videos have one id.
    """
    found: dict[str, Path] = {}
    for path in videos:
        clips = find_videos(path) if path.is_dir() else {path.stem: path}
        for clip_id, file in clips.items():
            check_id(clip_id)
            if not file.exists():
                raise InputError(f"{file} does not exist: give videos, or folders of videos")
            if clip_id in found:
                raise InputError(
                    f"{found[clip_id]} and {file} would both be clip {clip_id!r}: label them apart"
                )
            found[clip_id] = file.absolute()
    return tuple(Clip(clip_id, file, "") for clip_id, file in found.items())


def label_clips(
    path: Path, clips: tuple[Clip, ...], store: Path, jobs: int, device: str
) -> Predictions:
    """Label clips by the model at `path`, keeping what is computed in a store.

    Raises
    ------
    InputError
        If the file is not a model, it learned from other values than this version computes, or no
        clip could be processed.
    """
    model = read_model(path)
    unpack_model(model, store)
    fold = Fold("new", train=(), test=tuple(clip.id for clip in clips))
    request = Request(
        model.recipe, clips, store, (fold,), None, jobs, device, learned=model.learned
    )
    failures = run_before_evaluation(request)
    if len(failures) == len(clips):
        clip, reason = next(iter(failures.items()))
        raise InputError(f"no clip could be labelled; {clip}: {reason}")
    run(replace(request, only="evaluate"))
    (node,) = nodes_of(request, "evaluate")
    arrays = read_arrays(node.product(node.stage.product))
    ids, labels, classes = (arrays[n].astype(np.str_) for n in ("clip", "predicted", "classes"))
    return Predictions(ids, labels, classes, arrays["scores"], failures)


def run_before_evaluation(request: Request) -> dict[str, str]:
    """Run all stages of a request but the last; return the reason of every clip that failed."""
    failures: dict[str, str] = {}
    for stage in stages_of(request.recipe):
        if stage.reads != "test":
            summary = run(replace(request, only=stage.name))
            failures |= {clip: reason for (clip, _), reason in summary.failures.items()}
    return failures


def predictions_csv(found: Predictions) -> str:
    """Return one row per clip: the label, and the score of every class."""
    rows: list[Sequence[Any]] = [("clip", "predicted", *found.classes)]
    for clip, label, scores in zip(found.clips, found.predicted, found.scores, strict=True):
        rows.append((clip, label, *(repr(score) for score in scores.tolist())))
    return csv_text(rows)
