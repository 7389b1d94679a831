"""Digests: what changes them, what does not, and what is left to do."""

from dataclasses import replace
from pathlib import Path

import pytest

from cinefeat.pipeline import plan as planning
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.plan import Node, plan, progress, record_failure, shard_of
from cinefeat.pipeline.protocol import Fold
from cinefeat.pipeline.recipe import load_recipe
from cinefeat.pipeline.settings import Recipe
from cinefeat.pipeline.store import write_product

CLIPS = tuple(
    Clip(id=f"{label}/{group}", path=Path(f"/v/{label}/{group}.avi"), label=label, group=group,
         sha256=f"{label}{group}")
    for label in ("walk", "wave")
    for group in ("a", "b", "c")
)  # fmt: skip
FOLD = Fold("a", train=tuple(c.id for c in CLIPS if c.group != "a"), test=("walk/a", "wave/a"))
OTHER = Fold("b", train=tuple(c.id for c in CLIPS if c.group != "b"), test=("walk/b", "wave/b"))
STAGES = ("flow", "describe", "fit", "encode", "train", "evaluate")


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("dt-bow")


def _digests(recipe: Recipe, store: Path, clips=CLIPS, fold=FOLD) -> dict[str, str]:  # type: ignore[no-untyped-def]
    return {name: node.digest for name, node in plan(recipe, store, clips, fold).items()}


def _changed(recipe: Recipe, table: str, **values: object) -> Recipe:
    return recipe.model_copy(update={table: getattr(recipe, table).model_copy(update=values)})


@pytest.mark.parametrize(
    "table, values, first",
    [
        ("flow", {"bound": 15.0}, "flow"),
        ("fit", {"n_words": 7}, "fit"),
        ("encode", {"grids": ((1, 1, 2),)}, "encode"),
        ("train", {"C": 1.0}, "train"),
    ],
)
def test_a_setting_changes_the_digests_from_its_stage_on(
    recipe: Recipe, tmp_path: Path, table: str, values: dict, first: str
) -> None:
    before = _digests(recipe, tmp_path)
    after = _digests(_changed(recipe, table, **values), tmp_path)
    differ = [name for name in STAGES if before[name] != after[name]]
    assert differ == list(STAGES[STAGES.index(first) :])


def test_a_stage_version_changes_the_digests_from_its_stage_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _digests(recipe, tmp_path)
    raised = tuple(replace(s, version=99) if s.name == "encode" else s for s in planning.STAGES)
    monkeypatch.setattr(planning, "STAGES", raised)
    after = _digests(recipe, tmp_path)
    assert [n for n in STAGES if before[n] != after[n]] == ["encode", "train", "evaluate"]


def test_the_fold_matters_only_to_what_learns(recipe: Recipe, tmp_path: Path) -> None:
    one, two = _digests(recipe, tmp_path), _digests(recipe, tmp_path, fold=OTHER)
    assert [n for n in STAGES if one[n] == two[n]] == ["flow", "describe"]


def test_the_test_clips_do_not_matter_to_what_learns(recipe: Recipe, tmp_path: Path) -> None:
    relabelled = tuple(replace(c, label="x") if c.id in FOLD.test else c for c in CLIPS)
    one, two = _digests(recipe, tmp_path), _digests(recipe, tmp_path, clips=relabelled)
    assert [n for n in STAGES if one[n] != two[n]] == ["evaluate"]


@pytest.mark.parametrize("field", ["label", "sha256"])
def test_a_training_clips_label_and_content_matter_to_what_learns(
    recipe: Recipe, tmp_path: Path, field: str
) -> None:
    changed = tuple(replace(c, **{field: "x"}) if c.id == "walk/b" else c for c in CLIPS)
    one, two = _digests(recipe, tmp_path), _digests(recipe, tmp_path, clips=changed)
    assert [n for n in STAGES if one[n] == two[n]] == ["flow", "describe"]


def test_the_order_of_the_manifest_does_not_matter(recipe: Recipe, tmp_path: Path) -> None:
    assert _digests(recipe, tmp_path) == _digests(recipe, tmp_path, clips=CLIPS[::-1])


def test_paths_do_not_matter(recipe: Recipe, tmp_path: Path) -> None:
    moved = tuple(replace(c, path=Path("/elsewhere") / c.path.name) for c in CLIPS)
    assert _digests(recipe, tmp_path) == _digests(recipe, tmp_path / "s2", clips=moved)


def _write(node: Node, name: str) -> None:
    write_product(node.product(name), {}, {})


def test_progress_tells_done_failed_and_missing(recipe: Recipe, tmp_path: Path) -> None:
    node = plan(recipe, tmp_path, CLIPS, FOLD)["flow"]
    _write(node, "walk/a")
    record_failure(node, CLIPS[1], "too short")
    state = progress(node)
    assert state.done == {"walk/a"}
    assert state.failed == {"walk/b": "too short"}
    assert state.missing == ("walk/c", "wave/a", "wave/b", "wave/c")


def test_a_failed_clip_is_left_out_of_everything_after(recipe: Recipe, tmp_path: Path) -> None:
    before = plan(recipe, tmp_path, CLIPS, FOLD)
    record_failure(before["flow"], CLIPS[1], "too short")
    after = plan(recipe, tmp_path, CLIPS, FOLD)
    assert CLIPS[1] in after["flow"].clips
    for name in STAGES[1:]:
        assert CLIPS[1] not in after[name].clips
    assert before["fit"].digest != after["fit"].digest


def test_a_product_outweighs_an_older_failure(recipe: Recipe, tmp_path: Path) -> None:
    node = plan(recipe, tmp_path, CLIPS, FOLD)["flow"]
    record_failure(node, CLIPS[0], "too short")
    _write(node, CLIPS[0].id)
    assert progress(node).failed == {}


@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_clip_is_in_exactly_one_shard(count: int) -> None:
    shards = [shard_of(f"clip {i}", count) for i in range(500)]
    assert set(shards) == set(range(count))


def test_shards_are_the_same_everywhere() -> None:
    assert [shard_of(name, 16) for name in ("a", "walk/é", "x y")] == [10, 6, 6]
