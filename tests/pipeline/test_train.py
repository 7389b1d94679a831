"""The train and evaluate stages on made-up encodings: every classifier, C, groups and sigmoids."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pydantic import TypeAdapter

from cinefeat.classifiers import KernelSVM, LinearSVM, hellinger_kernel
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.plan import plan
from cinefeat.pipeline.protocol import Fold
from cinefeat.pipeline.recipe import load_recipe, to_toml
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.evaluate import read_classifier
from cinefeat.pipeline.stages.evaluate import run as evaluate
from cinefeat.pipeline.stages.train import run as train
from cinefeat.pipeline.store import ProductWriter, read_arrays, read_attrs, write_product
from cinefeat.pipeline.train_settings import TrainSettings

LABELS = ("jump", "run", "walk")
CLIPS = tuple(
    Clip(f"{label}-{group}{i}", Path("/v.avi"), label, group)
    for label in LABELS
    for group in ("ann", "bob", "cy", "dan")
    for i in range(3)
)
MACHINES = ("linear-svm", "hellinger-svm", "chi-square-svm")


def settings(classifier: str, **values: Any) -> Any:
    table = json.dumps({"classifier": classifier, **values})
    return TypeAdapter(TrainSettings).validate_json(table, strict=True)


EVERY = [
    *map(settings, MACHINES),
    settings("sgd"),
    settings("random-forest", n_trees=50),
]


@pytest.fixture
def store(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Histograms of two channels, and of the mirror images, that lean to a bin per label."""
    for clip in CLIPS:
        arrays = {}
        for name in ("hof/1x1x1", "hog/1x1x1", "mirrored/hof/1x1x1", "mirrored/hog/1x1x1"):
            counts = rng.uniform(0, 1, 6) + 1.5 * (np.arange(6) % 3 == LABELS.index(clip.label))
            arrays[name] = (counts / counts.sum()).astype(np.float32)
        write_product(tmp_path / "encode" / f"{clip.id}.h5", arrays, {})
    return tmp_path


def fit(store: Path, table: Any, clips: tuple[Clip, ...] = CLIPS) -> Path:
    inputs = {"encode": store / "encode"}
    job = Job("train", store / "train/model.h5", table, clips, inputs, {}, "model")
    with ProductWriter(job.target, {}) as product:
        train(job, product)
    return job.target


def scores(store: Path, table: Any) -> np.ndarray:
    fit(store, table)
    inputs = {"encode": store / "encode", "train": store / "train"}
    job = Job("evaluate", store / "scores.h5", None, CLIPS, inputs, {}, "scores")
    with ProductWriter(job.target, {}) as product:
        evaluate(job, product)
    return read_arrays(job.target)["scores"]


def rows(store: Path, prefix: str = "") -> np.ndarray:
    names = [f"{prefix}hof/1x1x1", f"{prefix}hog/1x1x1"]
    every = (read_arrays(store / "encode" / f"{clip.id}.h5", names) for clip in CLIPS)
    return np.stack([np.concatenate([one[name] for name in names]) for one in every])


@pytest.mark.parametrize("table", EVERY, ids=lambda table: table.classifier)
def test_every_classifier_learns_easy_classes(store: Path, table: Any) -> None:
    found = np.array(LABELS)[scores(store, table).argmax(axis=1)]
    assert np.mean(found == [clip.label for clip in CLIPS]) > 0.9


@pytest.mark.parametrize("table", EVERY, ids=lambda table: table.classifier)
def test_the_same_clips_give_the_same_model(store: Path, table: Any) -> None:
    first = scores(store, table)
    np.testing.assert_array_equal(scores(store, table), first)


def test_encodings_that_are_not_held_give_the_same_model(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = scores(store, settings("sgd", n_epochs=3))
    monkeypatch.setattr("cinefeat.pipeline.stages.train.HELD_BYTES", 0)
    np.testing.assert_array_equal(scores(store, settings("sgd", n_epochs=3)), held)


def test_the_hellinger_machine_is_that_of_the_kernel(store: Path) -> None:
    copies = [rows(store), rows(store, "mirrored/")]
    features = np.concatenate(copies)
    machine = KernelSVM(10.0, kernel="precomputed", tol=1e-8)
    machine.fit(hellinger_kernel(features, features), np.tile([c.label for c in CLIPS], 2))
    margins = [machine.decision_function(hellinger_kernel(copy, features)) for copy in copies]
    found = scores(store, settings("hellinger-svm", C=10.0))
    np.testing.assert_allclose(found, np.mean(margins, axis=0), atol=2e-3)


@pytest.mark.parametrize("classifier", MACHINES)
def test_a_list_of_one_good_c_gives_the_machine_of_that_c(store: Path, classifier: str) -> None:
    chosen = fit(store, settings(classifier, C=[1e-9, 5.0]))
    attrs = read_attrs(chosen)
    accuracies = json.loads(attrs["C_accuracies"])
    best = max(accuracies.values())
    assert attrs["C"] == min(float(c) for c, share in accuracies.items() if share == best)
    machine, _ = read_classifier(chosen)
    plain, _ = read_classifier(fit(store, settings(classifier, C=attrs["C"])))
    assert machine.C == plain.C
    np.testing.assert_array_equal(machine.intercept_, plain.intercept_)


def test_cross_validation_keeps_a_clip_and_its_mirror_image_together(store: Path) -> None:
    """Encodings are noise, equal in both copies: a machine that saw the one would know the other."""
    noise = np.random.default_rng(7)
    for clip in CLIPS:
        with h5py.File(store / "encode" / f"{clip.id}.h5", "a") as file:
            for name in ("hof", "hog"):
                vector = noise.uniform(0, 1, 6).astype(np.float32)
                file[f"{name}/1x1x1"][:] = vector
                file[f"mirrored/{name}/1x1x1"][:] = vector
    attrs = read_attrs(fit(store, settings("chi-square-svm", C=[100.0, 1000.0])))
    assert max(json.loads(attrs["C_accuracies"]).values()) < 0.7  # 1.0 where copies are split


@pytest.mark.parametrize("classifier", MACHINES)
def test_probabilities_sum_to_one_and_order_as_margins_do_mostly(
    store: Path, classifier: str
) -> None:
    margins = scores(store, settings(classifier))
    odds = scores(store, settings(classifier, probabilities=True))
    np.testing.assert_allclose(odds.sum(axis=1), 1)
    assert odds.min() >= 0
    assert np.mean(odds.argmax(axis=1) == margins.argmax(axis=1)) > 0.9


def test_cross_validation_needs_groups(store: Path) -> None:
    alone = tuple(replace(clip, group="") for clip in CLIPS)
    with pytest.raises(InputError, match="cross-validation over groups, but clip 'jump-ann0'"):
        fit(store, settings("linear-svm", C=[1.0, 2.0]), alone)


def test_a_class_of_one_group_cannot_be_left_out(store: Path) -> None:
    some = tuple(clip for clip in CLIPS if clip.label != "run" or clip.group == "ann")
    with pytest.raises(InputError, match="class run is missing from the training part"):
        fit(store, settings("linear-svm", C=[1.0, 2.0]), some)


def test_negative_encodings_have_no_square_root(store: Path) -> None:
    with h5py.File(store / "encode" / f"{CLIPS[0].id}.h5", "a") as file:
        file["hof/1x1x1"][0] = -1
    with pytest.raises(InputError, match=r"compares histograms, but an encoding holds -1"):
        fit(store, settings("hellinger-svm"))


def test_wide_encodings_are_read_in_blocks_to_the_same_machine(store: Path) -> None:
    few = tuple(clip for clip in CLIPS if clip.id.endswith("ann0"))
    machine, _ = read_classifier(fit(store, settings("linear-svm", C=3.0), few))
    chosen = [i for i, clip in enumerate(CLIPS) if clip in few]
    features = np.concatenate([rows(store)[chosen], rows(store, "mirrored/")[chosen]])
    whole = LinearSVM(3.0, solver="gram").fit(features, np.tile(LABELS, 2))
    np.testing.assert_allclose(machine.coef_, whole.coef_, atol=1e-4)


@pytest.mark.parametrize("values, counts", [({"C": 1.0}, 1), ({"C": (1.0, 2.0)}, 2),
                                            ({"probabilities": True}, 2)])  # fmt: skip
def test_groups_are_part_of_the_identity_where_they_matter(values: dict, counts: int) -> None:
    recipe = load_recipe("dt-bow")
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update=values)})
    fold = Fold("all", tuple(clip.id for clip in CLIPS), ())
    regrouped = tuple(replace(clip, group=f"{clip.group}-2") for clip in CLIPS)
    digests = {plan(recipe, Path("s"), clips, fold)["train"].digest for clips in (CLIPS, regrouped)}
    assert len(digests) == counts


@pytest.mark.parametrize(
    "change, message",
    [
        ("C = [1.0]", r"train\.C\.list = \[1\.0\]"),
        ("C = [1.0, -2.0]", r"train\.C\.list\.1 = -2\.0: .*greater than 0"),
        ("C = 0.0", r"train\.C\.number = 0\.0: .*greater than 0"),
        ("C = 1.0\n[encode]\nmethod = 'vlad'", r"'chi-square-svm' compares histograms"),
    ],
)
def test_a_wrong_train_table_is_named(tmp_path: Path, change: str, message: str) -> None:
    text = to_toml(load_recipe("dt-bow")).replace("C = 100.0", "C = 1.0")
    encode = text[text.index("[encode]") : text.index("[train]")]
    text = text.replace(encode, "") if "[encode]" in change else text
    (tmp_path / "bad.toml").write_text(text.replace("C = 1.0", change))
    with pytest.raises(InputError, match=message):
        load_recipe(str(tmp_path / "bad.toml"))
