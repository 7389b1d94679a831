"""Every shipped recipe that learns from pixels, narrow and short, from the command line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cinefeat.pipeline.network_settings import PixelSettings
from cinefeat.pipeline.recipe import load_recipe, parse_recipe, shipped_recipes, to_toml

DATA = Path(os.environ.get("CINEFEAT_TEST_DATA", Path(__file__).parents[3] / "shared")) / "data"
ACTIONS, ACTORS = ("bend", "walk", "wave2"), ("daria", "denis", "eli")
# what makes each recipe small: table [network] only
CHANGES: dict[str, dict[str, Any]] = {
    "karpathy-single": {"size": 60, "width": 0.1},
    "karpathy-early": {"size": 60, "width": 0.1},
    "karpathy-late": {"size": 60, "width": 0.1},
    "karpathy-slow": {"size": 60, "width": 0.1},
    "fstcn": {"size": 75, "width": 0.1, "test_crops": 1},
    "ltc-rgb": {"window": 20, "size": 58, "width": 0.1},
    "ltc-flow": {"window": 20, "size": 58, "width": 0.1},
    "t3d": {"window": 16, "size": 32, "width": 0.125},
    "t3d-tsn": {"window": 16, "size": 32, "width": 0.125, "segments": 2, "test_windows": 2},
    "t3d-transfer": {"window": 16, "size": 32, "width": 0.125},
    "t3d-transferred": {"window": 16, "size": 32, "width": 0.125},
    "c3d-fine-tuned": {"width": 0.05, "test_windows": 2},
    "tsn-rgb-fine-tuned": {"size": 64, "width": 0.1, "partial_norm": False, "test_crops": 1},
    "tsn-flow-fine-tuned": {"size": 64, "width": 0.1, "partial_norm": False, "test_crops": 1},
    "i3d-fine-tuned": {"window": 16, "size": 32, "width": 0.1},
    "motionnet": {"size": 32, "resize": 48, "width": 0.03},
    "hidden-two-stream": {"size": 32, "resize": 48, "width": 0.03, "test_windows": 2},
    "hidden-two-stream-tsn": {"size": 32, "resize": 48, "width": 0.03, "test_windows": 2},
}


def write_manifest(path: Path, actions: tuple[str, ...], actors: tuple[str, ...]) -> None:
    rows = csv.DictReader((DATA / "weizmann" / "manifest.csv").open())
    chosen = [r for r in rows if r["label"] in actions and r["group"] in actors]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "path", "label", "group", "split"])
        for row in chosen:
            split = "test" if row["group"] == actors[0] else "train"
            name = row["path"].removesuffix(".avi")
            writer.writerow(
                [name, DATA / "weizmann" / row["path"], row["label"], row["group"], split]
            )


def small_recipe(name: str, **changes: Any) -> str:
    recipe = load_recipe(name)
    network = recipe.network.model_dump(mode="json")
    network |= {"n_epochs": 2, "batch_size": 3, "milestones": [], "learning_rate": 1e-3}
    network |= CHANGES[name] | changes
    for stream in network["streams"]:
        stream |= {"weights": "", "origin": ""}
    tables = recipe.model_dump(mode="json", exclude_none=True)
    return to_toml(type(recipe).model_validate_json(json.dumps(tables | {"network": network})))


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "weizmann").is_dir(), reason="no Weizmann videos")
@pytest.mark.parametrize("name", CHANGES)
def test_a_recipe_runs_from_the_command_line_on_weizmann(name: str, tmp_path: Path) -> None:
    write_manifest(tmp_path / "clips.csv", ACTIONS, ACTORS)
    (tmp_path / "small.toml").write_text(small_recipe(name))
    options = ["--manifest", str(tmp_path / "clips.csv"), "--store", str(tmp_path / "store")]
    network = load_recipe(name).network
    is_scored = network.classifies
    command = ["run", "--json"] if is_scored else ["fit-network"]
    arguments = [*command, str(tmp_path / "small.toml"), *options, "--jobs", "1"]
    found = subprocess.run(
        [sys.executable, "-m", "cinefeat.pipeline", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    products = list((tmp_path / "store" / "network").glob("*/*.h5"))
    assert {path.stem for path in products} == set(network.stream_names)
    assert all(path.with_suffix(".png").exists() for path in products)
    if is_scored:
        assert json.loads(found.stdout.splitlines()[-1])["accuracy"] >= 0


@pytest.mark.parametrize("name", CHANGES)
def test_a_small_recipe_is_a_recipe(name: str) -> None:
    assert parse_recipe(small_recipe(name), name).network.width < 1


def test_every_recipe_that_learns_from_pixels_is_run_here() -> None:
    tables = {name: load_recipe(name).network for name in shipped_recipes()}
    learned = {n for n, table in tables.items() if isinstance(table, PixelSettings)}
    assert learned == CHANGES.keys()
