"""Protocols: who is tested on whom, and what is refused."""

from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.protocol import PROTOCOLS, folds


def _clip(name: str, label: str, group: str = "", split: str = "") -> Clip:
    return Clip(name, Path(f"/{name}.avi"), label, group, split)


def _corpus(groups: str = "abcd", labels: str = "xyz", each: int = 1) -> list[Clip]:
    return [
        _clip(f"{group}{label}{i}", label, group)
        for group in groups
        for label in labels
        for i in range(each)
    ]


def test_split_reads_the_words_of_the_split_column():
    words = ["train", "test", "validation", "unused", "train", "test"]
    clips = [_clip(str(i), "xy"[i // 3], split=word) for i, word in enumerate(words)]
    (fold,) = folds(clips, "split")
    assert (fold.name, fold.train, fold.test) == ("split", ("0", "2", "4"), ("1", "5"))


@pytest.mark.parametrize("k, test", [(1, ("a", "c")), (2, ("b", "d")), (3, ("a", "d"))])
def test_official_splits_live_in_one_column(k, test):
    tested_in = {"a": (1, 3), "b": (2,), "c": (1,), "d": (2, 3)}
    clips = [
        _clip(name, label, name, " ".join(_word(j, j in tested_in[name]) for j in (1, 2, 3)))
        for name, label in zip("abcd", "xyyx", strict=True)
    ]
    clips += [_clip(f"more{label}", label, "more", "ucf101:1=train ucf101:2=train ucf101:3=train")
              for label in "xy"]  # fmt: skip
    (fold,) = folds(clips, f"ucf101:{k}")
    assert fold.test == test
    assert set(fold.train) == {clip.id for clip in clips} - set(test)


def _word(k: int, is_test: bool) -> str:
    return f"ucf101:{k}={'test' if is_test else 'train'}"


def test_words_of_other_protocols_are_not_read():
    words = "train hmdb51:1=test", "test hmdb51:1=train", "train hmdb51:1=test"
    clips = [_clip(*pair, split=word) for pair, word in zip(("ax", "bx", "cy"), words, strict=True)]
    assert folds(clips, "split")[0].test == ("b",)


def test_every_group_is_left_out_once():
    clips = _corpus()
    made = folds(clips, "leave-one-group-out")
    assert [fold.name for fold in made] == ["a", "b", "c", "d"]
    for fold in made:
        assert {name[0] for name in fold.test} == {fold.name}
        assert {name[0] for name in fold.train} == set("abcd") - {fold.name}


def test_the_order_of_clips_is_kept():
    clips = _corpus()[::-1]
    (first, *_) = folds(clips, "leave-one-group-out")
    assert first.train == tuple(clip.id for clip in clips if clip.group != "a")


@pytest.mark.parametrize("k", [2, 3, 7])
def test_k_folds_test_every_clip_once_and_split_no_group(k):
    clips = _corpus("abcdefg", each=2)
    made = folds(clips, f"k-fold:{k}")
    assert sorted(name for fold in made for name in fold.test) == sorted(c.id for c in clips)
    assert all({n[0] for n in f.train}.isdisjoint({n[0] for n in f.test}) for f in made)
    assert [fold.name for fold in made] == [f"fold-{i}" for i in range(1, k + 1)]


def test_k_folds_are_alike_in_size(rng):
    sizes = rng.integers(1, 30, size=40)
    clips = [_clip(f"{g}/{i}", "xy"[i % 2], f"g{g}") for g, n in enumerate(sizes) for i in range(n)]
    tested = [len(fold.test) for fold in folds(clips, "k-fold:5")]
    assert max(tested) - min(tested) <= 0.1 * len(clips) / 5


def test_k_folds_are_alike_in_labels():
    clips = [_clip(f"{label}{g}", label, f"{label}{g}") for label in "wxyz" for g in range(10)]
    for fold in folds(clips, "k-fold:5"):
        assert Counter(name[0] for name in fold.test) == dict.fromkeys("wxyz", 2)


def test_folds_depend_on_the_clips_and_not_on_their_order(rng):
    clips = _corpus("abcdefg", each=2)
    shuffled = [clips[i] for i in rng.permutation(len(clips))]
    expected = [(f.name, set(f.test)) for f in folds(clips, "k-fold:3")]
    assert [(f.name, set(f.test)) for f in folds(shuffled, "k-fold:3")] == expected


@pytest.mark.parametrize("protocol", ["", "splits", "ucf101", "ucf101:4", "k-fold:", "k-fold:-1"])
def test_an_unknown_protocol_is_refused_with_the_known_ones(protocol):
    with pytest.raises(InputError, match=r"use one of split, leave-one-group-out.*k-fold:K"):
        folds(_corpus(), protocol)


@pytest.mark.parametrize("protocol", ["k-fold:1", "k-fold:5", "k-fold:0"])
def test_as_many_folds_as_groups_at_most(protocol):
    with pytest.raises(InputError, match="from 2 to the number of groups, which is 4"):
        folds(_corpus(), protocol)


@pytest.mark.parametrize("protocol", ["leave-one-group-out", "k-fold:2"])
def test_folds_of_groups_need_a_group_for_every_clip(protocol):
    with pytest.raises(InputError, match="clip 'lost' has none: fill the manifest's group column"):
        folds([*_corpus(), _clip("lost", "x")], protocol)


def test_one_group_is_no_fold():
    with pytest.raises(InputError, match="all clips have the group 'a'"):
        folds(_corpus("a"), "leave-one-group-out")


def test_a_group_on_both_sides_is_refused_by_name():
    clips = [_clip(n, n, "eve" if n in "xz" else n, s) for n, s in _SIDES_OF.items()]
    with pytest.raises(InputError, match="group 'eve' on both sides"):
        folds(clips, "split")


_SIDES_OF = {"x": "train", "y": "train", "z": "test"}


@pytest.mark.parametrize("protocol", [p for p in PROTOCOLS if ":K" not in p and "group" not in p])
def test_a_missing_split_is_refused_by_clip(protocol):
    clips = [_clip("a", "x", split="other"), _clip("b", "y")]
    with pytest.raises(InputError, match=rf"protocol {protocol} needs .* clip 'a' has 'other'"):
        folds(clips, protocol)


@pytest.mark.parametrize("side, empty", [("train", "test"), ("test", "training")])
def test_an_empty_side_is_refused(side, empty):
    with pytest.raises(InputError, match=f"the {empty} side empty"):
        folds([_clip("a", "x", split=side), _clip("b", "y", split=side)], "split")


def test_a_label_that_is_only_tested_is_refused():
    clips = [*_corpus(), _clip("only", "rare", "a")]
    with pytest.raises(InputError, match="fold a tests label 'rare', which it never trains on"):
        folds(clips, "leave-one-group-out")


def test_training_on_one_label_is_refused():
    with pytest.raises(InputError, match="fold a trains on the one label 'x'"):
        folds(_corpus(labels="x"), "leave-one-group-out")


def test_too_many_folds_are_refused_before_they_fill_the_memory():
    clips = [_clip(str(i), "xy"[i % 2], f"g{i // 2}") for i in range(30_000)]
    with pytest.raises(InputError, match="15000 groups of 30000 clips are too many folds"):
        folds(clips, "leave-one-group-out")


def test_weizmann_leaves_each_of_nine_actors_out(shared):
    lines = (shared / "data/weizmann/manifest.csv").read_text().splitlines()[1:]
    clips = [_clip(*line.split(",")[:3]) for line in lines]
    made = folds(clips, "leave-one-group-out")
    assert [len(fold.test) for fold in made] == [10] * 9
    pairs = combinations([set(fold.test) for fold in made], 2)
    assert all(first.isdisjoint(second) for first, second in pairs)
