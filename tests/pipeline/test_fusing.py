"""Fusion of stored scores: published accuracies, refusals, and weights learned elsewhere."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cinefeat.pipeline import cli
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.fusing import (
    figures,
    fuse,
    fuse_by_learned_weights,
    judge,
    read_labels,
)
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.protocol import folds
from cinefeat.pipeline.scores import Scores

CLASSES = np.array(["run", "sit", "walk"])
TRUTH = tuple(
    Clip(f"{label}/{group}{i}", Path("/v.avi"), label, group)
    for label in CLASSES.tolist()
    for group in ("ann", "bob", "cy", "dan", "eve")
    for i in range(4)
)


def system(name: str, seed: int, strength: float = 1.0, n: int = len(TRUTH)) -> Scores:
    """Scores with normal noise and the true class raised by `strength`."""
    rng = np.random.default_rng(seed)
    labels = np.array([clip.label for clip in TRUTH[:n]])
    scores = rng.normal(size=(n, 3)) + strength * (labels[:, None] == CLASSES)
    return Scores(name, np.array([clip.id for clip in TRUTH[:n]]), CLASSES, scores)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    return json.loads(run_and_listen(capsys, *arguments, "--json").out.splitlines()[-1])


def run_and_listen(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    with pytest.raises(SystemExit) as ended:
        cli.main(["fuse", *map(str, arguments)])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    return said


@pytest.fixture
def ucf101(shared: Path):  # type: ignore[no-untyped-def]
    folder, lists = shared / "data/ucf101_scores", shared / "data/splits/ucfTrainTestlist"
    options = ("--names", folder / "ucf101_testlist01.txt", "--classes", lists / "classInd.txt",
               "--labels", lists)  # fmt: skip
    return folder, options


def percent(figures: dict) -> float:
    return round(100 * figures["accuracy"], 2)


@pytest.mark.parametrize("split, expected", [(1, 83.61), (2, 85.59), (3, 84.28)])
def test_published_trajectories(ucf101, capsys, split: int, expected: float) -> None:  # type: ignore[no-untyped-def]
    folder, options = ucf101
    scores = folder / f"ucf_idt_split{split}.mat"
    assert percent(run(capsys, scores, *options[2:], "--protocol", f"ucf101:{split}")) == expected


STREAMS = ("--weights", "1,1.5", "--normalise", "relu-l1")


def test_published_two_streams_and_their_report_with_trajectories(
    ucf101, capsys, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    folder, options = ucf101
    files = (folder / "spatial_quality100_split01.mat", folder / "temporal_tvl1_split01.mat")
    fused = run(capsys, *files, *options, *STREAMS, "-o", tmp_path / "two")
    assert percent(fused) == 91.30
    assert [percent(one) for one in fused["systems"]] == [80.97, 85.80]
    both = (tmp_path / "two", folder / "ucf_idt_split1.mat", *options[2:])
    three = run(capsys, *both, "--weights", ".75,.25", "--normalise", "l2")
    assert percent(three) == 92.60
    assert three["against_best"]["system"] == "two"
    assert three["against_best"]["mcnemar_p"] < 0.01


def test_published_hidden_two_streams(ucf101, capsys) -> None:  # type: ignore[no-untyped-def]
    folder, options = ucf101
    files = (folder / "spatial_quality100_split01.mat", folder / "temporal_hidden_split01.mat")
    assert percent(run(capsys, *files, *options, *STREAMS)) == 89.00


def test_fusion_does_not_depend_on_the_order_of_rows_and_columns() -> None:
    one, two = system("one", 1), system("two", 2)
    rows, columns = np.random.default_rng(0).permutation(len(TRUTH)), [2, 0, 1]
    mixed = replace(
        two,
        clips=two.clips[rows],
        classes=CLASSES[columns],
        scores=two.scores[np.ix_(rows, columns)],
    )
    plain = fuse(judge([one, two], TRUTH), ["l2", "raw"], [1.0, 2.0])
    np.testing.assert_array_equal(fuse(judge([one, mixed], TRUTH), ["l2", "raw"], [1, 2]), plain)


def test_learned_weights_do_not_depend_on_the_clips_they_are_used_on() -> None:
    every = folds(TRUTH, "leave-one-group-out")
    systems = [system("good", 1, 2.0), system("bad", 2, 0.2)]
    _, weights = fuse_by_learned_weights(judge(systems, TRUTH, every), ["raw"] * 2, every)
    judged = np.isin(systems[0].clips, every[0].test)
    spoiled = [
        replace(s, scores=np.where(judged[:, None], -9 * s.scores, s.scores)) for s in systems
    ]
    _, again = fuse_by_learned_weights(judge(spoiled, TRUTH, every), ["raw"] * 2, every)
    assert again["ann"] == weights["ann"]
    assert again["bob"] != weights["bob"]


def test_learned_weights_favour_the_better_system() -> None:
    systems = [system("good", 1, 3.0), system("noise", 2, 0.0)]
    _, weights = fuse_by_learned_weights(judge(systems, TRUTH), ["raw"] * 2, ())
    assert len(weights) == 5
    assert all(good > noise for good, noise in weights.values())


def test_one_fold_without_groups_has_nothing_to_learn_weights_on() -> None:
    alone = [replace(clip, group="") for clip in TRUTH]
    with pytest.raises(InputError, match="--learn-weights learns on other groups"):
        fuse_by_learned_weights(judge([system("a", 1), system("b", 2)], alone), ["raw"] * 2, ())


def test_the_figures_agree_with_counting() -> None:
    judged = judge([system("one", 1), system("two", 2)], TRUTH)
    fused = fuse(judged, ["raw", "raw"], [1.0, 1.0])
    found = figures(judged, fused, ["raw", "raw"], {"all": [1.0, 1.0]}, "")
    hits = CLASSES[fused.argmax(axis=1)] == judged.labels
    singles = [CLASSES[s.scores.argmax(axis=1)] == judged.labels for s in judged.systems]
    best = int(np.argmax([one.mean() for one in singles]))
    assert found["accuracy"] == hits.mean()
    assert found["against_best"]["only_fusion_right"] == (hits & ~singles[best]).sum()
    assert found["against_best"]["difference"] == pytest.approx(hits.mean() - singles[best].mean())
    low, high = found["against_best"]["difference_interval"]
    assert low <= found["against_best"]["difference"] <= high
    assert [one["system"] for one in found["against"]] == ["one", "two"]
    for one, right in zip(found["against"], singles, strict=True):
        assert one["only_system_right"] == (right & ~hits).sum()
    assert found["against_best"] == found["against"][best]


def test_a_fusion_is_printed_with_its_test_against_each_system(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # the first system is right on all four clips, the second on two, the fusion on all but r
    scores = {"one": [[9, 0], [9, 0], [6, 5], [0, 1]], "two": [[0, 1], [1, 0], [0, 2], [1, 2]]}
    for name, rows in scores.items():
        lines = [f"{clip},{a},{b}" for clip, (a, b) in zip("pqrs", rows, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["clip,x,y", *lines]) + "\n")
    (tmp_path / "labels.csv").write_text("clip,label\np,x\nq,x\nr,x\ns,y\n")
    files = (tmp_path / "one.csv", tmp_path / "two.csv")
    said = run_and_listen(capsys, *files, "--labels", tmp_path / "labels.csv")
    lines = [line for line in said.out.splitlines() if line.startswith("against")]
    assert [line.partition(" (")[0] for line in lines] == [
        "against one: -25.00%",
        "against two: +25.00%",
    ]
    told = [line.partition("McNemar: ")[2] for line in lines]
    assert told == [
        "0 clips by the fusion alone, 1 by the system alone, p = 1",
        "1 clips by the fusion alone, 0 by the system alone, p = 1",
    ]


def test_a_system_that_lacks_clips_is_refused_unless_common_ones_are_asked_for() -> None:
    systems = [system("whole", 1), system("part", 2, n=40)]
    with pytest.raises(InputError, match="part has no scores of 20 of 60 clips"):
        judge(systems, TRUTH)
    assert len(judge(systems, TRUTH, common=True).clips) == 40


def test_a_protocol_judges_its_test_clips() -> None:
    split = [replace(c, split="test" if c.group == "ann" else "train") for c in TRUTH]
    judged = judge([system("a", 1)], split, folds(split, "split"))
    assert set(judged.groups) == {"ann"}
    assert len(judged.clips) == 12


def test_a_clip_that_is_not_in_the_manifest_is_named() -> None:
    with pytest.raises(InputError, match=r"a scores 1 clips that are not in .*\('walk/eve3'"):
        judge([system("a", 1)], TRUTH[:-1])


def test_labels_that_contradict_the_manifest_are_refused() -> None:
    wrong = replace(system("a", 1), labels=np.array([clip.label for clip in TRUTH])[::-1])
    with pytest.raises(InputError, match="a has other labels for 40 clips"):
        judge([wrong], TRUTH)


def test_a_label_outside_the_classes_is_refused() -> None:
    other = [replace(clip, label="jump") if clip.group == "ann" else clip for clip in TRUTH]
    with pytest.raises(InputError, match="label 'jump' is not among the classes"):
        judge([system("a", 1)], other)


def test_labels_are_needed() -> None:
    with pytest.raises(InputError, match="no system carries labels: give --manifest or --labels"):
        judge([system("a", 1)], None)


def test_labels_come_from_a_csv(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("clip,label,group\na.avi,run,ann\nb.avi,walk,bob\n")
    assert [(c.id, c.label, c.group) for c in read_labels(tmp_path / "labels.csv")] == [
        ("a.avi", "run", "ann"),
        ("b.avi", "walk", "bob"),
    ]


@pytest.mark.parametrize(
    "text", ["clip\na\n", "clip,label\na,run\na,run\n", "clip,label\na,\n", ""]
)
def test_a_bad_labels_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=r"labels\.csv"):
        read_labels(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--weights", "1"], "--weights is '1'; it is 2 numbers"),
        (["--weights", "1,nan"], "--weights is '1,nan'"),
        (["--weights", "0,0"], "--weights are all 0"),
        (["--weights", "1,2", "--learn-weights"], "--weights or --learn-weights, not both"),
        (["--normalise", "l3"], "--normalise is 'l3'; it is one of raw, l2, softmax, relu-l1"),
        (["--protocol", "split"], "--protocol needs --manifest or --labels"),
        (["-o", "."], "holds something else: name another folder"),
    ],
)
def test_bad_options_exit_with_2_and_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("clip,label,run,walk\nx,run,1,0\ny,walk,0,1\n")
    with pytest.raises(SystemExit) as ended:
        cli.main(["fuse", "a.csv", "b.csv", *arguments])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_report_appears_whole_and_is_found_again(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.csv").write_text("clip,label,run,walk\nx,run,1,0\ny,walk,0,1\n")
    line = (tmp_path / "a.csv", "-o", tmp_path / "out")
    first = run(capsys, *line)
    assert run(capsys, *line) == first
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"result.json", "predictions.csv", "confusion.csv", "confusion.png"} <= names
    assert run(capsys, tmp_path / "out")["accuracy"] == 1.0
