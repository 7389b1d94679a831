"""What the folder of a run says, as one tree of plain values that JSON holds.

Nothing here is judged anew: accuracies and their interval are those of ``result.json``, and what the
page adds to them is counted from ``predictions.csv``, after the two have been held against each other.
"""

import csv
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cinefeat.classifiers import accuracy, average_precision, confusion_matrix
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.report import Evaluation, ranked_scores

N_TOP = 3
"""Scores that are shown of a clip."""
N_CONFUSIONS = 10
"""Pairs of classes that are listed as confused."""
MEASURES = ("accuracy", "accuracy_interval", "mean_class_accuracy", "mean_average_precision")
"""What ``result.json`` says of all test clips together."""
_TOLD = ("clip", "label", "predicted")


@dataclass(frozen=True)
class Run:
    """A report folder of ``cinefeat run`` or ``cinefeat fuse``, read.

    Parameters
    ----------
    folder : Path
    result : dict
        ``result.json`` as it is.
    recipe : str
        The recipe's TOML text; empty for a fusion.
    evaluation : Evaluation
        ``predictions.csv``, in its order.
    failures : tuple of (str, str, str)
        Clip, stage and reason.
    """

    folder: Path
    result: dict[str, Any]
    recipe: str
    evaluation: Evaluation
    failures: tuple[tuple[str, str, str], ...]

    @property
    def name(self) -> str:
        """The recipe's name, or the folder's where there is no recipe."""
        return str(self.result.get("recipe") or self.folder.resolve().name)


def read_run(folder: Path, group_of: Mapping[str, str]) -> Run:
    """Read a report folder.

    Parameters
    ----------
    folder : Path
    group_of : mapping of str to str
        Group of every clip that has one, by clip id.

    Raises
    ------
    InputError
        If it is not a report folder, a file of it cannot be read, or its predictions do not give its
        accuracy.
    """
    result = _read_result(folder / "result.json")
    evaluation = _read_predictions(folder / "predictions.csv", group_of)
    found = accuracy(evaluation.labels, evaluation.predicted)
    if not math.isclose(found, result["accuracy"], abs_tol=1e-12):
        raise InputError(
            f"{folder}: predictions.csv gives an accuracy of {found}, result.json says "
            f"{result['accuracy']}: the folder was changed; run `cinefeat run` again elsewhere"
        )
    recipe = folder / "recipe.toml"
    ledger = folder / "failures.csv"
    rows = _read_csv(ledger)[1:] if ledger.exists() else []
    return Run(
        folder,
        result,
        recipe.read_text(encoding="utf-8") if recipe.exists() else "",
        evaluation,
        tuple((clip, stage, reason) for clip, stage, reason in rows),
    )


def _read_result(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            f"{path.parent} has no result.json: give a report folder that `cinefeat run` named, or "
            "that `cinefeat fuse -o` wrote"
        )
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON in UTF-8: {error}") from error
    if not isinstance(result, dict) or set(MEASURES) - result.keys():
        raise InputError(f"{path} lacks {', '.join(sorted(MEASURES))}: it is not a run's result")
    return result


def _read_csv(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.reader(file, strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path} as CSV in UTF-8: {error}") from error


def _read_predictions(path: Path, group_of: Mapping[str, str]) -> Evaluation:
    header, *rows = _read_csv(path) or [[]]
    classes = header[len(_TOLD) :]
    if tuple(header[: len(_TOLD)]) != _TOLD or not rows or not classes:
        raise InputError(f"{path} needs the columns {','.join(_TOLD)}, one per class, and rows")
    try:
        scores = np.array([[float(text) for text in row[len(_TOLD) :]] for row in rows])
    except ValueError as error:
        raise InputError(f"{path} holds a score that is not a number: {error}") from error
    clips, labels, predicted = (np.array([row[i] for row in rows]) for i in range(len(_TOLD)))
    groups = np.array([group_of.get(name, "") for name in clips.tolist()])
    return Evaluation(clips, labels, predicted, np.array(classes), scores, groups)


def run_figures(run: Run, n_worst: int) -> dict[str, Any]:
    """Return what the page says of one run: plain values, None where a value is undefined."""
    evaluation = run.evaluation
    counts = confusion_matrix(evaluation.labels, evaluation.predicted, evaluation.classes)
    tables = tomllib.loads(run.recipe)
    return {
        "name": run.name,
        "title": str(tables.get("title", "")),
        "source": str(tables.get("source", "")),
        "folder": run.folder.resolve().name,
        "recipe": run.recipe,
        "result": run.result,
        "n_right": int(np.trace(counts)),
        "n_test": len(evaluation.clips),
        "n_groups": len(set(evaluation.groups.tolist()) - {""}),
        "n_classes": len(evaluation.classes),
        "class_names": evaluation.classes.tolist(),
        "confusion": counts.tolist(),
        "confusions": _confusions(counts, evaluation.classes),
        "classes": _classes(counts, evaluation),
        "worst": _worst(evaluation, n_worst),
        "failures": [
            dict(zip(("clip", "stage", "reason"), row, strict=True)) for row in run.failures
        ],
    }


def _classes(counts: np.ndarray, evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return one row per class that has test clips."""
    scores = ranked_scores(evaluation.scores)
    rows = []
    for i, name in enumerate(evaluation.classes.tolist()):
        n, n_predicted, right = (
            int(k) for k in (counts[i].sum(), counts[:, i].sum(), counts[i, i])
        )
        if not n:
            continue
        rows.append(
            {
                "class": name,
                "n": n,
                "right": right,
                "recall": right / n,
                "precision": right / n_predicted if n_predicted else None,
                "f1": 2 * right / (n + n_predicted),
                "average_precision": average_precision(evaluation.labels == name, scores[:, i]),
            }
        )
    return rows


def _confusions(counts: np.ndarray, classes: np.ndarray) -> list[dict[str, Any]]:
    """Return the most frequent confusions: by count, then by share of the true class, then by name."""
    sizes = counts.sum(axis=1)
    pairs = [(int(i), int(j)) for i, j in zip(*np.nonzero(counts), strict=True) if i != j]
    pairs.sort(key=lambda pair: (-counts[pair], -counts[pair] / sizes[pair[0]], pair))
    return [
        {"true": str(classes[i]), "predicted": str(classes[j]), "n": int(counts[i, j]),
         "of": int(sizes[i])}
        for i, j in pairs[:N_CONFUSIONS]
    ]  # fmt: skip


def _worst(evaluation: Evaluation, n_worst: int) -> list[dict[str, Any]]:
    """Return the clips whose true class leads by least, or trails by most, the worst first."""
    classes, scores = evaluation.classes, evaluation.scores
    at = np.searchsorted(classes, evaluation.labels)
    leads = np.array([_lead(row, column) for row, column in zip(scores, at, strict=True)])
    order = np.lexsort((evaluation.clips, leads))[:n_worst]
    return [
        {
            "clip": str(evaluation.clips[i]),
            "label": str(evaluation.labels[i]),
            "predicted": str(evaluation.predicted[i]),
            "lead": _finite(leads[i]),
            "rank": int((scores[i] > scores[i, at[i]]).sum()) + 1,
            "top": _top(scores[i], classes),
        }
        for i in order.tolist()
    ]


def _lead(row: np.ndarray, column: int) -> float:
    """Return the score of one class minus the highest of the others; -inf where it has none."""
    others = np.delete(row, column)
    return float(row[column] - others.max()) if np.isfinite(row[column]) else -math.inf


def _top(row: np.ndarray, classes: np.ndarray) -> list[dict[str, Any]]:
    """Return the classes with the highest scores; `share` places a score between the row's extremes."""
    best = np.argsort(-row, kind="stable")[:N_TOP]
    known = row[np.isfinite(row)]
    low, span = known.min(), max(np.ptp(known), np.finfo(float).tiny)
    return [
        {"class": str(classes[j]), "score": float(row[j]), "share": float((row[j] - low) / span)}
        for j in best
        if np.isfinite(row[j])
    ]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
