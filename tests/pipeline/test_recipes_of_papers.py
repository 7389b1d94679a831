"""Shipped recipes against the papers: they can be run, and what differs is told in their text."""

from pathlib import Path
from typing import Any

import pytest

from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.network_settings import PIXELS
from cinefeat.pipeline.plan import classifies, plan, stages_of
from cinefeat.pipeline.post_table import ROWS
from cinefeat.pipeline.protocol import Fold
from cinefeat.pipeline.recipe import load_recipe, shipped_recipes
from cinefeat.pipeline.settings import Recipe

RECIPES = Path(__file__).parents[2] / "pipeline" / "recipes"
CLIPS = tuple(
    Clip(f"{label}/{group}", Path(f"/v/{label}/{group}.avi"), label, group, sha256=label + group)
    for label in ("walk", "wave")
    for group in "abc"
)
FOLD = Fold("a", tuple(c.id for c in CLIPS if c.group != "a"), ("walk/a", "wave/a"))

VLAD = {"n_anchors": 64, "alpha": 1000.0, "optimiser": "adam", "learning_rate": 0.01,
        "weight_decay": 4e-5, "clip_norm": 5.0, "steps": 25, "scores": "logits", "dropout": 0.0,
        "n_epochs": 60, "width": 1.0}  # fmt: skip
FUSION = {"fusion": "conv3d", "dropout": 0.85, "batch_size": 96, "learning_rate": 5e-4,
          "momentum": 0.9, "steps": 5, "width": 1.0}  # fmt: skip
LRCN = {"n_units": 256, "dropout": (0.9, 0.5), "steps": 16, "batch_size": 24, "optimiser": "sgd",
        "learning_rate": 1e-3, "momentum": 0.9, "weight_decay": 5e-3, "width": 1.0,
        "n_epochs": 75, "milestones": (25, 50)}  # fmt: skip
KARPATHY = {"batch_size": 32, "momentum": 0.9, "weight_decay": 5e-4, "learning_rate": 1e-3,
            "size": 170, "test_windows": 20, "width": 1.0, "milestones": ()}  # fmt: skip
LTC = {"window": 60, "size": 71, "batch_size": 10, "learning_rate": 3e-3, "momentum": 0.9,
       "weight_decay": 5e-3, "width": 1.0}  # fmt: skip
T3D = {"depth": 121, "window": 32, "size": 224, "optimiser": "nesterov", "learning_rate": 0.1,
       "momentum": 0.9, "weight_decay": 1e-4, "milestones": (30, 60, 90, 120), "n_epochs": 150,
       "width": 1.0}  # fmt: skip
HIDDEN = {"n_frames": 11, "size": 224, "width": 1.0, "optimiser": "sgd", "dropout": (0.9, 0.8),
          "test_windows": 25, "test_crops": 10}  # fmt: skip
TSN = {"segments": 3, "consensus": "average", "partial_norm": True, "batch_size": 128,
       "learning_rate": 1e-3, "momentum": 0.9, "weight_decay": 5e-4, "clip_norm": 20.0,
       "test_windows": 25, "test_crops": 10, "scores": "logits"}  # fmt: skip
# table [network] as published, in epochs of UCF101's 9537 training clips where that is in steps
PUBLISHED: dict[str, dict[str, Any]] = {
    "action-vlad": {**VLAD, "milestones": (17,)},
    "action-vlad-idt": {**VLAD, "milestones": (17,)},
    "two-stream-fusion": FUSION,
    "two-stream-fusion-idt": FUSION,
    "lrcn-rgb": {**LRCN, "clip_norm": 5.0},
    "lrcn-rgb-flow": {**LRCN, "clip_norm": 15.0},
    "attention": {"n_glances": 1, "dropout": 0.5, "penalty": 0.706, "batch_size": 64, "steps": 26,
                  "optimiser": "adadelta", "learning_rate": None, "weight_decay": 1e-4,
                  "clip_norm": 10.0, "patience": 20, "width": 1.0},
    "karpathy-single": KARPATHY,
    "karpathy-early": KARPATHY,
    "karpathy-late": KARPATHY,
    "karpathy-slow": {**KARPATHY, "size": 178},
    "fstcn": {"size": 204, "batch_size": 32, "test_crops": 18, "width": 1.0},
    "ltc-rgb": {**LTC, "dropout": 0.5, "n_epochs": 170, "milestones": (80, 150)},
    "ltc-flow": {**LTC, "dropout": 0.9, "n_epochs": 500, "milestones": (270, 420)},
    "t3d": {**T3D, "batch_size": 64},
    "t3d-transfer": {**T3D, "batch_size": 32, "images": "densenet121"},
    "t3d-transferred": {**T3D, "batch_size": 64, "learning_rate": 0.01},
    "t3d-tsn": {**T3D, "segments": 5, "batch_size": 64},
    "motionnet": {"n_frames": 11, "size": 224, "width": 1.0, "optimiser": "adam",
                  "learning_rate": 3.2e-5},
    "hidden-two-stream": HIDDEN,
    "hidden-two-stream-tsn": {**HIDDEN, "segments": 3},
    "c3d-fine-tuned": {"batch_size": 30, "learning_rate": 1e-4, "momentum": 0.9,
                       "weight_decay": 5e-4, "n_epochs": 63, "milestones": (16, 31, 47),
                       "test_windows": 10},
    "tsn-rgb-fine-tuned": {**TSN, "n_epochs": 80, "milestones": (30, 60),
                           "scale": (1.0, 0.875, 0.75, 0.66)},
    "tsn-flow-fine-tuned": {**TSN, "n_epochs": 340, "milestones": (190, 300),
                            "scale": (1.0, 0.875, 0.75), "rates": {"conv1_7x7_s2": 5.0}},
    "i3d-fine-tuned": {"window": 64, "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 1e-7},
}  # fmt: skip
_HIDDEN_TOLD = {
    "width": "there BN-Inception, width 1|there width 1",
    "size": "crops of 224",
    "optimiser": "SGD at 1e-6",
}
# where a recipe differs: the words of it that say so
TOLD: dict[str, dict[str, str]] = {
    "action-vlad": {"milestones": "the paper: after 5000 steps"},
    "action-vlad-idt": {"milestones": "the paper: after 5000 steps"},
    "attention": {"learning_rate": "ADADELTA as published has none"},
    **{f"karpathy-{f}": {"milestones": "rates lowered at fixed epochs"}
       for f in ("single", "early", "late", "slow")},
    "fstcn": {"test_crops": "ten crops instead of 18"},
    "t3d-transfer": {"images": "DenseNet-121 is the paper's image"},
    "t3d-tsn": {"batch_size": "12 videos are about as many windows as the 64 of t3d"},
    "motionnet": {"size": "crops of 224", "width": "there width 1", "learning_rate": "3.2e-5"},
    "hidden-two-stream": {**_HIDDEN_TOLD, "dropout": "dropout of 0.9 and 0.8",
                          "test_windows": "25 x 10 views", "test_crops": "25 x 10 views"},
    "hidden-two-stream-tsn": {**_HIDDEN_TOLD, "dropout": "there BN-Inception",
                              "test_crops": "ten crops"},
}  # fmt: skip


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every weight file be there."""
    (tmp_path / "w").write_bytes(b"weights")
    monkeypatch.setattr("cinefeat.extractors.find_weights", lambda _: tmp_path / "w")


def _made_before(recipe: Recipe) -> set[str]:
    """Return the names of what the stages before [network] give."""
    names = {"frames", *(PIXELS if recipe.flow is not None else ())}
    if recipe.flow is not None and not recipe.flow.warped:
        names.discard("warped_flow")
    for one in recipe.embed.networks if recipe.embed is not None else ():
        arrays = ("features", *one.layers)
        names |= {f"{one.name or one.network}/{array}" for array in arrays}
    return names


@pytest.mark.parametrize("name", shipped_recipes())
@pytest.mark.usefixtures("weights")
def test_a_recipe_plans_all_of_its_stages(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    nodes = plan(recipe, tmp_path / "store", CLIPS, FOLD)
    assert list(nodes) == [stage.name for stage in stages_of(recipe)]
    assert ("evaluate" in nodes) == classifies(recipe)
    for stage, node in nodes.items():
        assert node.parts(), stage
        read = {one.stage.name for one in node.needs}
        assert read == set(node.stage.needs) & nodes.keys()
    if recipe.network is not None:
        wanted = {array for stream in recipe.network.streams for array in stream.inputs}
        assert wanted <= _made_before(recipe)


def test_every_recipe_of_a_published_network_is_compared() -> None:
    trained = {name for name in shipped_recipes() if load_recipe(name).network is not None}
    small = {n for n in trained if "for data sets of tens of clips" in load_recipe(n).source}
    assert trained - small == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_differs_from_the_paper_is_told(name: str) -> None:
    network, text = load_recipe(name).network, (RECIPES / f"{name}.toml").read_text()
    found = {key: getattr(network, key) for key in PUBLISHED[name]}
    differs = {key for key, value in PUBLISHED[name].items() if found[key] != value}
    assert differs == TOLD.get(name, {}).keys()
    for words in TOLD.get(name, {}).values():
        assert any(one in text for one in words.split("|")), words


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.recipe)
def test_a_row_of_the_post_has_a_recipe_that_gives_scores(row: Any) -> None:
    recipe = load_recipe(row.recipe)
    assert classifies(recipe)
    assert (recipe.describe is not None) == ("iDT" in row.variant)


@pytest.mark.parametrize("name, share", [("action-vlad", 0.75), ("two-stream-fusion", 0.5)])
def test_scores_of_networks_and_trajectories_are_fused_as_published(
    name: str, share: float
) -> None:
    alone, both = load_recipe(name), load_recipe(f"{name}-idt")
    assert (alone.network, alone.embed, alone.flow) == (both.network, both.embed, both.flow)
    assert both.evaluate is not None
    assert (both.evaluate.network_share, both.evaluate.norm) == (share, "l2")
    assert (both.fit.n_components, both.fit.pca, both.train.C) == (256, 0.5, 100.0)


def test_c3d_and_trajectories_are_joined_before_the_classifier_as_published() -> None:
    alone, both = load_recipe("c3d-3nets-svm"), load_recipe("c3d-3nets-idt-svm")
    assert (alone.embed, alone.pool, alone.train) == (both.embed, both.pool, both.train)
    assert len(both.fit.channels) * both.fit.n_words == 25_000
    assert both.encode.method == "bag-of-words"
