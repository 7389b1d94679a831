"""Late fusion of the stored scores of several systems, and how it compares with each of them.

Weights are given, or learned without the clips that they are used on: every clip's weights come from
the clips of the other folds of the protocol or, where it has one fold, of the other groups (5 parts of
whole groups). So no clip, and no clip of its group, has a say in the weights of its own fusion.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cinefeat.classifiers import (
    accuracy,
    bootstrap_difference,
    fuse_scores,
    grouped_folds,
    learn_weights,
    mcnemar_test,
    mean_average_precision,
    mean_class_accuracy,
    normalise_scores,
)
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.lists import read_lists
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.protocol import Fold
from cinefeat.pipeline.report import Evaluation, measures, per_class
from cinefeat.pipeline.scores import Scores, align, match_names

RULES = {"raw": "raw", "l2": "l2", "softmax": "softmax", "relu-l1": "relu_l1"}
N_PARTS = 5


@dataclass(frozen=True)
class Judged:
    """The clips that systems are judged on, and their scores in one order of rows and columns.

    Parameters
    ----------
    clips, labels, groups : ndarray of shape (n,), strings
        A group is empty where unknown.
    systems : tuple of Scores
        Of these clips in this order, with the same classes.
    """

    clips: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    systems: tuple[Scores, ...]

    @property
    def classes(self) -> np.ndarray:
        """What the columns of the scores stand for: (n_classes,) strings."""
        return self.systems[0].classes

    def evaluation(self, scores: np.ndarray) -> Evaluation:
        """Return these clips with some scores (n, n_classes)."""
        predicted = self.classes[scores.argmax(axis=1)]
        return Evaluation(self.clips, self.labels, predicted, self.classes, scores, self.groups)


def read_labels(path: Path) -> tuple[Clip, ...]:
    """Read labels without videos: official lists, or a CSV of clip,label and maybe group, split.

    Raises
    ------
    InputError
        If the folder holds no official lists, or the file is not such a CSV.
    """
    if path.is_dir():
        listed = read_lists(path)
        return tuple(
            Clip(name, Path(name), one.label, one.group, one.split) for name, one in listed.items()
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read the labels {path} as CSV in UTF-8: {error}") from error
    if not rows or not {"clip", "label"} <= rows[0].keys():
        raise InputError(
            f"{path} needs a header with clip,label[,group[,split]] and a row per clip"
        )
    names = {row["clip"] for row in rows}
    if len(names) < len(rows) or not all(row["label"] for row in rows):
        raise InputError(f"{path}: every clip comes once and has a label")
    return tuple(
        Clip(
            row["clip"],
            Path(row["clip"]),
            row["label"],
            group=row.get("group", ""),
            split=row.get("split", ""),
        )
        for row in rows
    )


def judge(
    systems: Sequence[Scores],
    truth: Sequence[Clip] | None,
    folds: Sequence[Fold] = (),
    *,
    common: bool = False,
) -> Judged:
    """Bring systems to one order of clips and classes, with the clips' labels and groups.

    Parameters
    ----------
    systems : sequence of Scores
    truth : sequence of Clip or None
        What the clips are; every clip that is scored must be among them. None takes the labels that
        the systems carry.
    folds : sequence of Fold
        Only the clips that they test are judged. Empty: all clips that a system scores.
    common : bool
        Judge the clips that every system scores; else a system that lacks one is refused.

    Raises
    ------
    InputError
        If a scored clip is not in `truth`, a system lacks clips or has other classes, labels
        contradict each other, are unknown or not among the classes, or no clip is left.
    """
    known = tuple(systems[0].clips.tolist()) if truth is None else tuple(clip.id for clip in truth)
    found = [match_names(known, system.clips) for system in systems]
    for system, there in zip(systems, found, strict=True):
        _check_known(system, there, "the manifest or labels" if truth else systems[0].name, common)
    tested = {name for fold in folds for name in fold.test}
    scored = set.intersection(*map(set, found)) if common else set().union(*found)
    wanted = tested & scored if folds and common else tested if folds else scored
    clips = [name for name in known if name in wanted]
    if not clips:
        raise InputError("no clip is scored by every system: compare the names of their clips")
    aligned = tuple(align(system, clips, systems[0].classes) for system in systems)
    by_id = {} if truth is None else {clip.id: clip for clip in truth}
    labels = _labels(aligned, [by_id[name].label for name in clips] if by_id else None)
    groups = np.array([by_id[name].group if by_id else "" for name in clips])
    return Judged(np.array(clips), labels, groups, aligned)


def fuse(judged: Judged, rules: Sequence[str], weights: Sequence[float]) -> np.ndarray:
    """Return the weighted sum (n, n_classes) of the systems' normalised scores."""
    return fuse_scores(_normalised(judged, rules), weights)


def fuse_by_learned_weights(
    judged: Judged, rules: Sequence[str], folds: Sequence[Fold]
) -> tuple[np.ndarray, dict[str, list[float]]]:
    """Return fused scores (n, n_classes) and, per fold, the weights learned outside it.

    Raises
    ------
    InputError
        If there is one fold or none, and the clips have no groups or too few.
    """
    tables = _normalised(judged, rules)
    fused = np.empty_like(tables[0])
    learned = {}
    for name, test in _parts(judged, folds).items():
        rest = np.setdiff1d(np.arange(len(judged.clips)), test)
        weights = learn_weights([t[rest] for t in tables], judged.labels[rest], judged.classes)
        fused[test] = fuse_scores([t[test] for t in tables], weights.tolist())
        learned[name] = weights.tolist()
    return fused, learned


def figures(
    judged: Judged,
    fused: np.ndarray,
    rules: Sequence[str],
    weights: Mapping[str, Sequence[float]],
    protocol: str,
) -> dict[str, Any]:
    """Return the figures of a fusion, as ``--json`` prints them.

    `weights` are those of each fold, or given ones under the name "all". Several systems are each held
    against their fusion in `against`. `against_best` is that of the most accurate on these very
    clips, the first of equals: chosen with hindsight, it is the harder one to beat. The interval of the difference covers 95 % (`measures` says how).
    """
    fusion = judged.evaluation(fused)
    singles = [_single(judged, system) for system in judged.systems]
    result: dict[str, Any] = {
        "systems": [
            {"name": system.name, "normalise": rule, **single}
            for system, rule, single in zip(judged.systems, rules, singles, strict=True)
        ],
        "weights": {name: list(values) for name, values in weights.items()},
        "protocol": protocol,
        **measures(fusion),
        "n_test": len(judged.clips),
        "per_class": per_class(fusion),
    }
    if len(singles) > 1:
        best = int(np.argmax([single["accuracy"] for single in singles]))
        result["against"] = [_against(judged, fusion, system) for system in judged.systems]
        result["against_best"] = result["against"][best]
    return result


def _single(judged: Judged, system: Scores) -> dict[str, float]:
    one = judged.evaluation(system.scores)
    return {
        "accuracy": accuracy(one.labels, one.predicted),
        "mean_class_accuracy": mean_class_accuracy(one.labels, one.predicted),
        "mean_average_precision": mean_average_precision(one.labels, one.scores, one.classes),
    }


def _against(judged: Judged, fusion: Evaluation, system: Scores) -> dict[str, Any]:
    ours = fusion.predicted == judged.labels
    theirs = judged.evaluation(system.scores).predicted == judged.labels
    groups = judged.groups if np.all(judged.groups != "") else None
    gain = bootstrap_difference(ours, theirs, groups, random_state=0)
    test = mcnemar_test(ours, theirs)
    return {
        "system": system.name,
        "difference": gain.difference,
        "difference_interval": [gain.low, gain.high],
        "only_fusion_right": test.only_first,
        "only_system_right": test.only_second,
        "mcnemar_p": test.p_value,
    }


def _normalised(judged: Judged, rules: Sequence[str]) -> list[np.ndarray]:
    pairs = zip(judged.systems, rules, strict=True)
    return [normalise_scores(system.scores, RULES[rule]) for system, rule in pairs]


def _parts(judged: Judged, folds: Sequence[Fold]) -> dict[str, np.ndarray]:
    """Return the rows of each fold's test clips, or of parts of whole groups."""
    if len(folds) > 1:
        row_of = {name: i for i, name in enumerate(judged.clips)}
        rows = {fold.name: [row_of[c] for c in fold.test if c in row_of] for fold in folds}
        return {name: np.array(part) for name, part in rows.items() if part}
    n_groups = len(set(judged.groups))
    if np.any(judged.groups == "") or n_groups < 2:
        raise InputError(
            "--learn-weights learns on other groups than it judges: give --manifest or --labels "
            "with at least two groups, or a --protocol of several folds"
        )
    try:
        parts = grouped_folds(judged.labels, judged.groups, min(N_PARTS, n_groups))
    except ValueError as error:
        raise InputError(f"--learn-weights: {error}") from error
    return {f"part-{i}": test for i, (_, test) in enumerate(parts, start=1)}


def _check_known(system: Scores, there: Mapping[str, int], where: str, common: bool) -> None:
    unknown = sorted(set(range(len(system.clips))) - set(there.values()))
    if unknown and not common:
        raise InputError(
            f"{system.name} scores {len(unknown)} clips that are not in {where} "
            f"({str(system.clips[unknown[0]])!r} is one): names must agree; or give --common"
        )


def _labels(systems: Sequence[Scores], told: Sequence[str] | None) -> np.ndarray:
    """Return the clips' labels, after holding them against those that the systems carry."""
    carried = [(system.name, system.labels) for system in systems if system.labels is not None]
    if told is None and not carried:
        raise InputError("no system carries labels: give --manifest or --labels")
    labels = np.array(told if told is not None else carried[0][1], dtype=np.str_)
    for name, own in carried:
        wrong = np.flatnonzero(np.asarray(own, dtype=np.str_) != labels)
        if len(wrong):
            clip, mine, right = (str(of[wrong[0]]) for of in (systems[0].clips, own, labels))
            raise InputError(
                f"{name} has other labels for {len(wrong)} clips ({mine!r} for {clip!r}, which is "
                f"{right!r}): are its columns in another order than --classes says?"
            )
    unseen = sorted(set(labels.tolist()) - set(systems[0].classes.tolist()))
    if unseen:
        raise InputError(f"label {unseen[0]!r} is not among the classes that are scored")
    return labels
