"""What a protocol's folds say together: accuracy, confusion, and the files that people read.

A report's folder is named after everything that it shows. It appears whole, by a rename, and is
never written twice.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cinefeat.classifiers import (
    accuracy,
    bootstrap_difference,
    confusion_matrix,
    mean_average_precision,
    mean_class_accuracy,
)
from cinefeat.pipeline.plan import DIGEST_LETTERS, Node
from cinefeat.pipeline.recipe import to_toml
from cinefeat.pipeline.settings import Recipe
from cinefeat.pipeline.store import csv_text, read_arrays, remove_stale_temporaries, temporary_name

Failures = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class Evaluation:
    """The test clips of all folds with their scores.

    Parameters
    ----------
    clips, labels, predicted : ndarray of shape (M,), strings
    classes : ndarray of shape (n_classes,), strings
    scores : ndarray of shape (M, n_classes)
        -inf for a class that a fold's training clips did not have.
    groups : ndarray of shape (M,), strings
        Empty where unknown.
    """

    clips: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    groups: np.ndarray


def gather(nodes: Sequence[Node]) -> Evaluation:
    """Read and join the scores of the evaluate stage of every fold."""
    folds = [read_arrays(node.product(node.stage.product)) for node in nodes]
    every = [fold[name] for fold in folds for name in ("classes", "label")]
    classes = np.unique(np.concatenate(every).astype(str))
    joined = {
        name: np.concatenate([fold[name] for fold in folds]).astype(str)
        for name in ("clip", "label", "predicted")
    }
    scores = np.full((len(joined["clip"]), len(classes)), -np.inf)
    row = 0
    for fold in folds:
        columns = np.searchsorted(classes, fold["classes"].astype(str))
        scores[row : row + len(fold["scores"]), columns] = fold["scores"]
        row += len(fold["scores"])
    group_of = {clip.id: clip.group for node in nodes for clip in node.clips}
    groups = np.array([group_of[name] for name in joined["clip"]])
    return Evaluation(joined["clip"], joined["label"], joined["predicted"], classes, scores, groups)


def result(
    recipe: Recipe, protocol: str, n_clips: int, evaluation: Evaluation, failures: Failures
) -> dict[str, Any]:
    """Return the figures of a run, as ``--json`` prints them (times and path aside)."""
    return {
        "recipe": recipe.name,
        "protocol": protocol,
        **measures(evaluation),
        "n_clips": n_clips,
        "n_test": len(evaluation.clips),
        "failures": len({clip for clip, _ in failures}),
        "per_class": per_class(evaluation),
    }


def measures(evaluation: Evaluation) -> dict[str, Any]:
    """Return how good the scores of some clips are, over all of them together.

    `accuracy_interval` covers the accuracy with 95 % by the percentile bootstrap; whole groups are
    drawn where every clip has one. Where some clips have no score for a class, average precision
    ranks them last.
    """
    labels, scores = evaluation.labels, evaluation.scores
    correct = labels == evaluation.predicted
    by_group = evaluation.groups if np.all(evaluation.groups != "") else None
    interval = bootstrap_difference(correct, np.zeros_like(correct), by_group, random_state=0)
    ranked = ranked_scores(scores)
    return {
        "accuracy": float(accuracy(labels, evaluation.predicted)),
        "accuracy_interval": [interval.low, interval.high],
        "mean_class_accuracy": float(mean_class_accuracy(labels, evaluation.predicted)),
        "mean_average_precision": mean_average_precision(labels, ranked, evaluation.classes),
    }


def ranked_scores(scores: np.ndarray) -> np.ndarray:
    """Return scores (n, n_classes) with those that are missing (-inf) below all others."""
    lowest = scores[np.isfinite(scores)].min() - 1
    return np.where(np.isfinite(scores), scores, lowest)


def per_class(evaluation: Evaluation) -> dict[str, float]:
    """Return the share of each class's clips that were labelled rightly."""
    counts = confusion_matrix(evaluation.labels, evaluation.predicted, evaluation.classes)
    return {
        str(name): float(counts[i, i] / counts[i].sum())
        for i, name in enumerate(evaluation.classes)
        if counts[i].sum()
    }


def write_report(
    store: Path,
    recipe: Recipe,
    nodes: Sequence[Node],
    figures: dict[str, Any],
    evaluation: Evaluation,
    failures: Failures,
) -> Path:
    """Write the report's folder, unless it is there, and return it."""
    key = json.dumps([[node.digest for node in nodes], figures, failures_csv(failures)])
    digest = hashlib.sha256(key.encode()).hexdigest()[:DIGEST_LETTERS]
    protocol = figures["protocol"].replace(":", "-")
    folder = store / "reports" / f"{recipe.name}-{protocol}-{digest}"
    texts = {"recipe.toml": to_toml(recipe), "failures.csv": failures_csv(failures)}
    return write_folder(folder, figures, evaluation, texts)


def write_folder(
    folder: Path, figures: dict[str, Any], evaluation: Evaluation, texts: Mapping[str, str]
) -> Path:
    """Write figures, predictions, confusion and further texts into a folder, whole or not at all."""
    remove_stale_temporaries(folder.parent, below=False)
    if folder.exists():
        return folder
    temporary = temporary_name(folder)
    temporary.mkdir(parents=True)
    try:
        _write_files(temporary, figures, evaluation, texts)
        os.rename(temporary, folder)
    except OSError:
        if not folder.exists():  # else another process wrote the same report first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write_files(
    folder: Path, figures: dict[str, Any], evaluation: Evaluation, texts: Mapping[str, str]
) -> None:
    counts = confusion_matrix(evaluation.labels, evaluation.predicted, evaluation.classes)
    every = {
        **texts,
        "result.json": json.dumps(figures, indent=2) + "\n",
        "predictions.csv": predictions_csv(evaluation),
        "confusion.csv": confusion_csv(counts, evaluation.classes),
        "confusion.txt": confusion_text(counts, evaluation.classes),
    }
    for name, text in every.items():
        (folder / name).write_text(text, encoding="utf-8")
    draw_confusion(counts, evaluation.classes, folder / "confusion.png")


def failures_csv(failures: Failures) -> str:
    """Return the failures ledger: one row per clip and stage."""
    rows = [(clip, stage, reason) for (clip, stage), reason in sorted(failures.items())]
    return csv_text([("clip", "stage", "reason"), *rows])


def predictions_csv(evaluation: Evaluation) -> str:
    """Return one row per test clip: label, prediction, and the score of every class."""
    rows: list[Sequence[Any]] = [("clip", "label", "predicted", *evaluation.classes)]
    for i in np.argsort(evaluation.clips, kind="stable"):
        texts = (evaluation.clips[i], evaluation.labels[i], evaluation.predicted[i])
        rows.append((*texts, *(repr(float(score)) for score in evaluation.scores[i])))
    return csv_text(rows)


def confusion_csv(counts: np.ndarray, classes: np.ndarray) -> str:
    """Return the confusion counts, rows true and columns predicted."""
    rows = [(name, *row) for name, row in zip(classes, counts.tolist(), strict=True)]
    return csv_text([("true \\ predicted", *classes), *rows])


def confusion_text(counts: np.ndarray, classes: np.ndarray) -> str:
    """Return the confusion counts as an aligned table, with each class's accuracy."""
    names = [str(name) for name in classes]
    width = max(len(name) for name in names)
    cell = max(4, len(str(counts.max())) + 1)
    header = " " * width + "".join(f"{f'({i + 1})':>{cell}}" for i in range(len(names)))
    lines = [header]
    for i, name in enumerate(names):
        row = "".join(f"{n or '.':>{cell}}" for n in counts[i].tolist())
        share = f"{counts[i, i] / counts[i].sum():8.1%}" if counts[i].sum() else "       -"
        lines.append(f"{name:<{width}}{row}{share}  ({i + 1})")
    return "\n".join(lines) + "\n"


def draw_confusion(counts: np.ndarray, classes: np.ndarray, path: Path) -> None:
    """Draw the confusion matrix, rows normalised, into a PNG file."""
    from matplotlib.figure import Figure

    side = max(3.5, 0.45 * len(classes) + 1.8)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained", dpi=100)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    ticks = range(len(classes))
    axes.set_xticks(
        ticks, [str(c) for c in classes], rotation=60, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(ticks, [str(c) for c in classes])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(classes) <= 30:
        for i, j in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    figure.savefig(path, metadata={"Software": None})
