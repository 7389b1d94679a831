"""Several runs on the same clips: their accuracies side by side, and McNemar's test of each pair."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cinefeat.classifiers import accuracy, bootstrap_difference, mcnemar_test
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.report import Evaluation, measures
from cinefeat.pipeline.reporting.figures import MEASURES, Run

N_CLIPS = 40
"""Clips that are listed as told apart by the runs."""


def compare_runs(runs: Sequence[Run], *, common: bool = False) -> dict[str, Any] | None:
    """Return how several runs compare; None for one run.

    Every pair is tested by McNemar's exact test; `p_holm` is its p-value after Holm's correction for
    the number of pairs. A difference is the accuracy of the second run minus that of the first, with
    a 95 % bootstrap interval over whole groups where every clip has one.

    Parameters
    ----------
    runs : sequence of Run
    common : bool
        Compare on the clips that every run tested; else other clips are refused.

    Raises
    ------
    InputError
        If the runs tested other clips, or label one differently.

    References
    ----------
    .. [1] Holm. A simple sequentially rejective multiple test procedure. Scandinavian Journal of
       Statistics 1979.
    """
    if len(runs) < 2:
        return None
    names = _names(runs)
    evaluations = _aligned(runs, names, common)
    pairs = [
        _pair(names[i], names[j], evaluations[i], evaluations[j])
        for i, j in itertools.combinations(range(len(runs)), 2)
    ]
    for pair, adjusted in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = adjusted
    first = evaluations[0]
    listed = _hard(evaluations)
    rows = [_row(*row) for row in zip(names, runs, evaluations, strict=True)]
    lowest = min(row["accuracy_interval"][0] for row in rows)
    return {
        "n_clips": len(first.clips),
        "n_groups": len(set(first.groups.tolist())) if np.all(first.groups != "") else 0,
        "scale_from": max(0, math.floor(10 * lowest) / 10 - 0.1),
        "runs": rows,
        "pairs": pairs,
        "n_hard": len(listed),
        "clips": listed[:N_CLIPS],
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values after Holm's correction, in their order.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    return [float(p) for p in adjusted]


def _names(runs: Sequence[Run]) -> list[str]:
    """Return the recipes' names, or the folders' where two runs share a recipe's name."""
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [run.folder.resolve().name for run in runs]
    if len(set(names)) < len(names):
        raise InputError("two of the runs are the same, or their folders have the same name")
    return names


def _aligned(runs: Sequence[Run], names: Sequence[str], common: bool) -> list[Evaluation]:
    """Return the evaluations with the same clips in the same order."""
    tested = [set(run.evaluation.clips.tolist()) for run in runs]
    shared = set.intersection(*tested)
    for name, clips in zip(names, tested, strict=True):
        if clips != tested[0] and not common:
            other = sorted(clips ^ tested[0])
            raise InputError(
                f"{names[0]} and {name} tested other clips: {other[0]!r} is one of {len(other)} that "
                "only one of them has; compare runs of one protocol, or give --common"
            )
    if not shared:
        raise InputError("no clip was tested by every run: compare runs on the same clips")
    order = [name for name in runs[0].evaluation.clips.tolist() if name in shared]
    evaluations = [_select(run.evaluation, order) for run in runs]
    for name, one in zip(names, evaluations, strict=True):
        wrong = np.flatnonzero(one.labels != evaluations[0].labels)
        if len(wrong):
            raise InputError(f"{names[0]} and {name} label {order[wrong[0]]!r} differently")
    return evaluations


def _select(evaluation: Evaluation, order: Sequence[str]) -> Evaluation:
    row_of = {name: i for i, name in enumerate(evaluation.clips.tolist())}
    rows = [row_of[name] for name in order]
    of_clips = ("clips", "labels", "predicted", "scores", "groups")
    return replace(evaluation, **{name: getattr(evaluation, name)[rows] for name in of_clips})


def _row(name: str, run: Run, one: Evaluation) -> dict[str, Any]:
    """Return what a run measured, anew only where it is compared on some of its clips."""
    is_whole = len(one.clips) == len(run.evaluation.clips)
    found = {key: run.result[key] for key in MEASURES} if is_whole else measures(one)
    return {"name": name, "n_right": int(np.sum(one.labels == one.predicted)), **found}


def _pair(name: str, other: str, first: Evaluation, second: Evaluation) -> dict[str, Any]:
    right, theirs = first.labels == first.predicted, second.labels == second.predicted
    groups = first.groups if np.all(first.groups != "") else None
    gain = bootstrap_difference(theirs, right, groups, random_state=0)
    test = mcnemar_test(right, theirs)
    return {
        "first": name,
        "second": other,
        "difference": accuracy(second.labels, second.predicted)
        - accuracy(first.labels, first.predicted),
        "difference_interval": [gain.low, gain.high],
        "only_first": test.only_first,
        "only_second": test.only_second,
        "p": test.p_value,
    }


def _hard(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Return the clips that some run gets wrong: those that most get wrong first, then by name."""
    labels, clips = evaluations[0].labels, evaluations[0].clips
    wrong = np.stack([one.predicted != labels for one in evaluations])
    order = np.lexsort((clips, -wrong.sum(axis=0)))
    return [
        {
            "clip": str(clips[i]),
            "label": str(labels[i]),
            "n_wrong": int(wrong[:, i].sum()),
            "predicted": [str(one.predicted[i]) for one in evaluations],
        }
        for i in order.tolist()
        if wrong[:, i].any()
    ]
