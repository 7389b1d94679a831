"""Models packed into one file, labels of new videos, and fusion of reports, by the command line."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthetic import motion_only_videos

RECIPE = """
name = "tiny"
title = "Dense trajectories with few words"
source = "test"
[flow]
preset = "fast"
[describe]
extractor = "dense-trajectories"
[fit]
codebook = "k-means"
channels = ["hof", "mbhx", "mbhy"]
n_words = 30
n_samples = 4000
[encode]
method = "bag-of-words"
[train]
classifier = "chi-square-svm"
C = [1.0, 100.0]
"""
PROTOCOL = "k-fold:2"
pytestmark = pytest.mark.xdist_group("end_to_end")


def cinefeat(*arguments: object) -> subprocess.CompletedProcess:
    jobs = () if arguments[0] in ("fuse", "verify") else ("--jobs", "1")
    line = [sys.executable, "-m", "cinefeat.pipeline", *map(str, (*arguments, *jobs))]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def last_json(*arguments: object, status: int = 0) -> dict:
    done = cinefeat(*arguments, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def scores_of(path: Path) -> dict[str, list[float]]:
    with path.open(newline="") as file:
        names = ("clip", "label", "predicted")
        return {
            row["clip"]: [float(value) for key, value in row.items() if key not in names]
            for row in csv.DictReader(file)
        }


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, a recipe, the store of a run, and models of its first fold and of all clips."""
    folder = tmp_path_factory.mktemp("predict")
    motion_only_videos(folder / "videos", 4)
    (folder / "tiny.toml").write_text(RECIPE)
    place = (folder / "tiny.toml", "--videos", folder / "videos", "--store", folder / "store")
    figures = last_json("run", *place, "--protocol", PROTOCOL)
    (folder / "run.json").write_text(json.dumps(figures))
    for protocol, fold in ((PROTOCOL, ("--fold", "fold-1")), ("all", ())):
        output = ("-o", folder / f"{protocol.replace(':', '-')}.h5")
        done = cinefeat("export-model", *place, "--protocol", protocol, *fold, *output)
        assert done.returncode == 0, done.stderr
    return folder


def test_an_exported_fold_scores_its_test_clips_as_the_run_did(work: Path) -> None:
    report = Path(json.loads((work / "run.json").read_text())["report"])
    with h5py.File(work / "k-fold-2.h5") as model:
        trained = set(json.loads(model["train/model"].attrs["clips"]))
    of_run = scores_of(report / "predictions.csv")
    tested = {clip: scores for clip, scores in of_run.items() if clip not in trained}
    assert len(tested) == len(trained) == 6
    files = [work / "videos" / f"{clip}.avi" for clip in tested]
    done = cinefeat("predict", work / "k-fold-2.h5", *files, "-o", work / "fold.csv")
    assert done.returncode == 0, done.stderr
    assert scores_of(work / "fold.csv") == {Path(clip).name: s for clip, s in tested.items()}


def test_new_videos_are_labelled_by_a_model_of_all_clips_and_nothing_else(work: Path) -> None:
    paths = motion_only_videos(work / "new", 1, seed=500)
    model = shutil.copy(work / "all.h5", work / "alone.h5")
    found = last_json("predict", model, *paths)
    labels = {row["clip"]: row["predicted"] for row in found["predictions"]}
    assert labels == {f"g01_{label}": label for label in ("sideways", "turning", "updown")}
    for row in found["predictions"]:
        assert row["predicted"] == max(row["scores"], key=row["scores"].__getitem__)


def test_a_damaged_video_costs_its_own_label_and_a_kept_store_goes_on(work: Path) -> None:
    folder, store = work / "partly", work / "kept"
    shutil.copytree(work / "videos/turning", folder)
    (folder / "g01_turning.avi").write_bytes(b"not a video")
    line = ("predict", work / "all.h5", folder, "--store", store)
    found = last_json(*line, status=1)
    assert list(found["failures"]) == ["g01_turning"]
    assert [row["predicted"] for row in found["predictions"]] == ["turning"] * 3
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.h5")}
    assert last_json(*line, status=1) == found
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.h5")} == before
    assert cinefeat("verify", "--store", store).returncode == 0


def test_the_chosen_c_is_told(work: Path) -> None:
    path = next((work / "store/train").rglob("model.h5"))
    with h5py.File(path) as file:
        accuracies = json.loads(file.attrs["C_accuracies"])
        assert set(accuracies) == {"1", "100"}
        assert file.attrs["C"] == float(max(accuracies, key=accuracies.__getitem__))


def test_a_train_product_is_no_model(work: Path) -> None:
    product = next((work / "store/train").rglob("model.h5"))
    done = cinefeat("predict", product, work / "videos")
    assert done.returncode == 2
    assert "a product of one stage, not a model: make one with cinefeat export-model" in done.stderr


def test_a_fold_must_be_chosen_where_there_are_several(work: Path) -> None:
    done = cinefeat("export-model", work / "tiny.toml", "--store", work / "store",
                    "--protocol", PROTOCOL, "-o", work / "none.h5")  # fmt: skip
    assert done.returncode == 2
    assert "--fold fold-1|fold-2" in done.stderr
    assert not (work / "none.h5").exists()


def test_reports_and_products_can_be_fused(work: Path) -> None:
    report = Path(json.loads((work / "run.json").read_text())["report"])
    manifest = ("--manifest", work / "store/manifest.csv", "--protocol", PROTOCOL)
    figures = last_json("fuse", report, report / "predictions.csv", *manifest, "--learn-weights")
    assert figures["n_test"] == 12
    assert list(figures["weights"]) == ["fold-1", "fold-2"]
    assert figures["accuracy"] == figures["systems"][0]["accuracy"]
    product = next((work / "store/evaluate").rglob("scores.h5"))
    assert last_json("fuse", product)["n_test"] == 6


def test_figures_hold_precision_and_an_interval(work: Path) -> None:
    figures = json.loads((work / "run.json").read_text())
    low, high = figures["accuracy_interval"]
    assert low <= figures["accuracy"] <= high
    assert 0 < figures["mean_average_precision"] <= 1
    assert np.isfinite(figures["mean_average_precision"])
