"""Recipes: shipped ones load, wrong ones say what is wrong, text forms are stable."""

import re
from pathlib import Path

import pytest

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.recipe import canonical, load_recipe, shipped_recipes, to_toml

MINIMAL = """
name = "mine"
title = "t"
source = "s"
[flow]
[describe]
extractor = "dense-trajectories"
[fit]
codebook = "k-means"
n_words = 10
[encode]
method = "bag-of-words"
[train]
classifier = "linear-svm"
"""


def _load(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_recipe(str(path))


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_loads_under_its_name_and_survives_its_text_form(
    tmp_path: Path, name: str
) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert _load(tmp_path, to_toml(recipe)) == recipe


@pytest.mark.parametrize(
    "change, message",
    [
        ("n_wrods = 10", r"unknown key 'fit.n_wrods'; known keys are .*n_words"),
        ("n_words = 0", r"fit.n_words = 0: .*greater than or equal to 1"),
        ("n_words = 'ten'", r"fit.n_words = 'ten': .*integer"),
        ("n_words = 10\nchannels = ['hog', 'sift']", r"fit.channels.1 = 'sift'"),
        ("n_words = 10\nchannels = []", r"fit.channels = \[\]"),
        ("n_words = 10\n[trian]", r"unknown key 'trian'; known keys are .*train"),
        ("n_words = 99999999999999", r"fit.n_words"),
        ("n_words = nan", r"fit.n_words"),
        ("n_words = true", r"fit.n_words = True"),
        ("n_words = '10'", r"fit.n_words = '10'"),
        ("n_words = 10\nmirror = 1", r"fit.mirror = 1"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _load(tmp_path, MINIMAL.replace("n_words = 10", change))


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    text = MINIMAL.replace("n_words = 10", "n_words = 0\nfoo = 1") + "C = -1\n"
    with pytest.raises(InputError) as caught:
        _load(tmp_path, text)
    assert all(key in str(caught.value) for key in ("fit.n_words", "fit.foo", "train.C"))


def test_an_unknown_key_of_a_classifier_lists_that_classifiers_keys(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'train.n_trees'; known keys are C, classifier"):
        _load(tmp_path, MINIMAL + "n_trees = 3\n")


def test_flow_is_computed_unless_the_recipe_says_imported(tmp_path: Path) -> None:
    assert _load(tmp_path, MINIMAL).flow.method == "tvl1"
    imported = MINIMAL.replace("[flow]", '[flow]\nmethod = "imported"\nname = "dense_flow"')
    assert _load(tmp_path, imported).flow.name == "dense_flow"


@pytest.mark.parametrize(
    "table, message",
    [
        (
            '[flow]\nmethod = "farneback"',
            "flow.method = 'farneback': it is one of 'tvl1', 'imported', 'motionnet'",
        ),
        ('[flow]\nmethod = "imported"', "key 'flow.name' is required"),
        ('[flow]\nmethod = "imported"\nname = ""', "flow.name = ''"),
        ('[flow]\nmethod = "motionnet"', "key 'flow.weights' is required"),
        (
            '[flow]\nmethod = "motionnet"\nweights = "w"\nwarped = true',
            "flow.warped = True: Input should be False",
        ),
        ("[flow]\nprest = 1", "unknown key 'flow.prest'; known keys are bound, method, preset"),
    ],
)
def test_what_is_wrong_with_a_flow_table_is_named(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        _load(tmp_path, MINIMAL.replace("[flow]", table))


def test_imported_trajectories_can_be_encoded_and_mirrored(tmp_path: Path) -> None:
    text = MINIMAL.replace('"dense-trajectories"', '"imported-idt"\nname = "iDT"')
    recipe = _load(tmp_path, text.replace("n_words = 10", "n_words = 10\nmirror = true"))
    assert recipe.describe.storage == "float16"


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(InputError, match=r"no recipe 'dt-bwo'.*dt-bow"):
        load_recipe("dt-bwo")


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(InputError, match="not valid TOML"):
        load_recipe(str(tmp_path / "bad.toml"))


def test_the_canonical_text_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    one = _load(tmp_path, MINIMAL.replace("n_words = 10", "n_words = 10\nseed = 3"))
    two = _load(tmp_path, MINIMAL.replace("n_words = 10", "seed = 3\nn_words = 10"))
    assert canonical(one.fit) == canonical(two.fit)
    assert re.fullmatch(r"\{.*\}", canonical(one.fit))


def test_a_table_that_means_nothing_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"table \[train\] needs table \[encode\]"):
        _load(tmp_path, MINIMAL.replace('[encode]\nmethod = "bag-of-words"', ""))


def test_text_outside_ascii_survives_the_text_form(tmp_path: Path) -> None:
    text = MINIMAL.replace('"t"', '"Kläser \U0001f3c3 \\u007f"')
    recipe = _load(tmp_path, text)
    assert recipe.title == "Kläser \U0001f3c3 \x7f"
    assert _load(tmp_path, to_toml(recipe)) == recipe
