"""Runs on the same clips: what is refused, and Holm's correction."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_folders import make_run

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.reporting.comparison import compare_runs, holm
from cinefeat.pipeline.reporting.figures import MEASURES, Run, read_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return [read_run(make_run(tmp_path, name, i), {}) for i, name in enumerate(("one", "two"))]


def _without(run: Run, n: int) -> Run:
    one = run.evaluation
    kept = {k: getattr(one, k)[n:] for k in ("clips", "labels", "predicted", "scores", "groups")}
    return replace(run, evaluation=replace(one, **kept))


def test_other_clips_are_refused_or_left_out(runs: list[Run]) -> None:
    runs[1] = _without(runs[1], 3)
    with pytest.raises(InputError, match="'0/ann' is one of 3"):
        compare_runs(runs)
    found = compare_runs(runs, common=True)
    assert found
    assert found["n_clips"] == len(runs[0].evaluation.clips) - 3


def test_a_run_has_the_interval_that_it_stored(tmp_path: Path) -> None:
    folders = [make_run(tmp_path, name, i) for i, name in enumerate(("one", "two"))]
    found = compare_runs([read_run(folder, {}) for folder in folders])
    assert found
    for row, folder in zip(found["runs"], folders, strict=True):
        stored = json.loads((folder / "result.json").read_text())
        # without a manifest nobody knows the groups that the stored interval was drawn by
        assert {key: row[key] for key in MEASURES} == {key: stored[key] for key in MEASURES}


def test_other_labels_are_refused(runs: list[Run]) -> None:
    labels = runs[1].evaluation.labels.copy()
    labels[0] = "run"
    runs[1] = replace(runs[1], evaluation=replace(runs[1].evaluation, labels=labels))
    with pytest.raises(InputError, match="label '0/ann' differently"):
        compare_runs(runs)


def test_the_order_of_the_clips_does_not_matter(runs: list[Run]) -> None:
    one = runs[1].evaluation
    order = np.random.default_rng(0).permutation(len(one.clips))
    mixed = {
        k: getattr(one, k)[order] for k in ("clips", "labels", "predicted", "scores", "groups")
    }
    other = replace(runs[1], evaluation=replace(one, **mixed))
    assert compare_runs([runs[0], other]) == compare_runs(runs)


def test_a_run_does_not_differ_from_its_copy(runs: list[Run], tmp_path: Path) -> None:
    copy = replace(runs[0], folder=tmp_path / "copy")
    found = compare_runs([runs[0], copy])
    assert found
    (pair,) = found["pairs"]
    assert (pair["difference"], pair["only_first"], pair["only_second"], pair["p"]) == (0, 0, 0, 1)
    with pytest.raises(InputError, match="two of the runs are the same"):
        compare_runs([runs[0], runs[0]])


@pytest.mark.parametrize("seed", range(3))
def test_holm_rejects_as_the_literal_procedure(seed: int) -> None:
    p_values = np.random.default_rng(seed).uniform(0, 0.1, 6).tolist()
    for level in (0.01, 0.05, 0.1):
        rejected = set()
        for k, p in enumerate(sorted(p_values)):
            if p > level / (len(p_values) - k):
                break
            rejected.add(p)
        adjusted = holm(p_values)
        assert {p for p, q in zip(p_values, adjusted, strict=True) if q <= level} == rejected
