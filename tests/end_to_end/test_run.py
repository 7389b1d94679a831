"""From a folder of videos to an accuracy, through the command line."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
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
n_words = 30
n_samples = 4000
n_starts = 1
[encode]
method = "bag-of-words"
[train]
classifier = "chi-square-svm"
C = 100.0
"""
N_GROUPS = 4
PROTOCOL = "leave-one-group-out"


def cinefeat(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "cinefeat.pipeline", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        check=False,
    )


def run(work: Path, store: str, *more: object, command: tuple = ("run",)) -> dict:
    done = cinefeat(*command, work / "tiny.toml", *_place(work, store), *more, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _place(work: Path, store: str) -> tuple[object, ...]:
    return ("--videos", work / "videos", "--store", work / store, "--protocol", PROTOCOL)


def arrays_of(store: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(store.rglob("*.h5")):
        with h5py.File(path) as file:
            names: list[str] = []
            file.visit(names.append)
            for name in names:
                if isinstance(file[name], h5py.Dataset):
                    found[f"{path.relative_to(store)}:{name}"] = file[name][()]
    return found


def assert_same_arrays(one: Path, two: Path) -> None:
    first, second = arrays_of(one), arrays_of(two)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def files_of(store: Path) -> dict[str, int]:
    return {
        str(path.relative_to(store)): path.stat().st_mtime_ns
        for path in store.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with videos, a recipe, and the store of an undisturbed run, `whole`."""
    folder = tmp_path_factory.mktemp("work")
    motion_only_videos(folder / "videos", N_GROUPS)
    (folder / "tiny.toml").write_text(RECIPE)
    figures = run(folder, "whole")
    (folder / "whole.json").write_text(json.dumps(figures))
    return folder


pytestmark = pytest.mark.xdist_group("end_to_end")


def test_classes_that_differ_in_motion_alone_are_told_apart(work: Path) -> None:
    figures = json.loads((work / "whole.json").read_text())
    assert figures["accuracy"] == 1.0
    assert figures["mean_class_accuracy"] == 1.0
    assert figures["n_clips"] == figures["n_test"] == 3 * N_GROUPS
    assert figures["failures"] == 0
    assert figures["per_class"] == {"sideways": 1.0, "turning": 1.0, "updown": 1.0}
    assert list(figures["seconds_per_stage"]) == [
        "flow", "describe", "fit", "encode", "train", "evaluate",
    ]  # fmt: skip
    names = {path.name for path in Path(figures["report"]).iterdir()}
    assert {"result.json", "confusion.csv", "confusion.txt", "confusion.png"} <= names


def test_shuffled_labels_fall_to_chance(work: Path) -> None:
    text = (work / "whole/manifest.csv").read_text().splitlines()
    header, rows = text[0].split(","), [line.split(",") for line in text[1:]]
    column = header.index("label")
    labels = [row[column] for row in rows]
    random.Random(3).shuffle(labels)
    path_column = header.index("path")
    for row, label in zip(rows, labels, strict=True):
        row[column] = label
        row[path_column] = str((work / "whole" / row[path_column]).resolve())
    manifest = work / "shuffled.csv"
    shutil.copytree(work / "whole", work / "shuffled_store")
    manifest.write_text("\n".join([",".join(header), *(",".join(row) for row in rows)]) + "\n")
    done = cinefeat(
        "run", work / "tiny.toml", "--manifest", manifest, "--store", work / "shuffled_store",
        "--protocol", PROTOCOL, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["accuracy"] <= 0.6


def test_a_second_run_writes_nothing(work: Path) -> None:
    before = files_of(work / "whole")
    figures = run(work, "whole")
    assert files_of(work / "whole") == before
    first = json.loads((work / "whole.json").read_text())
    assert {**figures, "seconds_per_stage": 0} == {**first, "seconds_per_stage": 0}


def test_another_c_redoes_only_train_and_evaluate(work: Path) -> None:
    shutil.copytree(work / "whole", work / "other_c")
    (work / "other.toml").write_text(RECIPE.replace("C = 100.0", "C = 10.0"))
    before = set(files_of(work / "other_c"))
    done = cinefeat("run", work / "other.toml", *_place(work, "other_c"))
    assert done.returncode == 0, done.stderr
    new = {name.split("/")[0] for name in set(files_of(work / "other_c")) - before}
    assert new == {"train", "evaluate", "reports"}


def test_shards_and_one_run_give_the_same_store_and_no_clip_twice(work: Path) -> None:
    for shard in range(4):
        before = files_of(work / "shards") if (work / "shards").exists() else {}
        done = cinefeat("run", work / "tiny.toml", *_place(work, "shards"), "--shard", f"{shard}/4")
        assert done.returncode == 0, done.stderr
        after = files_of(work / "shards")
        assert before.items() <= after.items()
    figures = run(work, "shards")
    assert figures["accuracy"] == 1.0
    assert before.items() <= files_of(work / "shards").items()
    assert_same_arrays(work / "whole", work / "shards")


def test_one_worker_and_two_give_the_same_arrays(work: Path) -> None:
    run(work, "one_worker", "--jobs", 1)
    assert_same_arrays(work / "whole", work / "one_worker")


@pytest.mark.parametrize("n_kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_run_again_gives_the_same_store(
    work: Path, n_kills: int
) -> None:
    store = f"killed{n_kills}"
    rng = random.Random(n_kills)
    for _ in range(n_kills):
        process = subprocess.Popen(
            [sys.executable, "-m", "cinefeat.pipeline", "run", str(work / "tiny.toml"),
             *map(str, _place(work, store))],
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(rng.uniform(1, 8))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert run(work, store)["accuracy"] == 1.0
    assert_same_arrays(work / "whole", work / store)
    assert not list((work / store).rglob("*.tmp"))


def test_a_damaged_clip_costs_that_clip_and_exits_with_1(work: Path) -> None:
    shutil.copytree(work / "videos", work / "damaged")
    (work / "damaged/turning/g01_turning.avi").write_bytes(b"not a video")
    done = cinefeat(
        "run", work / "tiny.toml", "--videos", work / "damaged", "--store", work / "damaged_store",
        "--protocol", PROTOCOL, "--json",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["failures"] == 1
    assert figures["n_test"] == 3 * N_GROUPS - 1
    ledger = (work / "damaged_store/failures.csv").read_text().splitlines()
    assert ledger[0] == "clip,stage,reason"
    assert len(ledger) == 2
    assert ledger[1].startswith("turning/g01_turning,flow,")


def test_a_clip_that_takes_too_much_memory_fails_alone(work: Path) -> None:
    done = cinefeat(
        "run", work / "tiny.toml", *_place(work, "hungry"), "--shard", "0/8",
        "--clip-gb", "0.01", "--only", "flow",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    reasons = (work / "hungry/failures.csv").read_text().splitlines()[1:]
    assert reasons
    assert all(row.endswith("took more than 0.01 GB of memory (--clip-gb)") for row in reasons)


def test_a_replaced_video_is_computed_again(work: Path) -> None:
    shutil.copytree(work / "videos", work / "replaced")
    shutil.copytree(work / "whole", work / "replaced_store")
    source = work / "replaced/turning/g02_turning.avi"
    shutil.copy(work / "replaced/turning/g03_turning.avi", source)
    done = cinefeat(
        "run", work / "tiny.toml", "--videos", work / "replaced",
        "--store", work / "replaced_store", "--only", "flow", "--protocol", PROTOCOL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "flow: 1 products" in done.stderr


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--shard", "4/4"], "--shard is '4/4'; it is I/N"),
        (["--protocol", "leave-one-out"], "leave-one-out"),
        (["--only", "fly"], "no stage 'fly'; it has flow, describe"),
        (["--device", "cuda:9"], "cuda:9"),
        (["--manifest", "nowhere.csv"], "either --videos DIR or --manifest CSV"),
        (["--jobs", "0"], "jobs"),
    ],
)
def test_bad_options_exit_with_2_and_one_sentence(
    work: Path, arguments: list[str], sentence: str
) -> None:
    done = cinefeat("run", work / "tiny.toml", *_place(work, "bad"), *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stage_without_its_inputs_says_which_to_run_first(work: Path) -> None:
    done = cinefeat("stage", "fit", work / "tiny.toml", *_place(work, "empty"))
    assert done.returncode == 2
    assert "run stage describe first" in done.stderr


def test_stages_one_by_one_give_the_same_store(work: Path) -> None:
    for stage in ("flow", "describe", "fit", "encode", "train", "evaluate"):
        done = cinefeat("stage", stage, work / "tiny.toml", *_place(work, "stages"))
        assert done.returncode == 0, done.stderr
    assert_same_arrays(work / "whole", work / "stages")


def test_status_counts_what_is_there(work: Path) -> None:
    done = cinefeat("status", work / "tiny.toml", "--store", work / "whole", "--json",
                    "--protocol", PROTOCOL)  # fmt: skip
    rows = {row["stage"]: row for row in json.loads(done.stdout)}
    assert rows["flow"] == {"stage": "flow", "done": 12, "failed": 0, "missing": 0}
    assert rows["fit"]["done"] == 5 * N_GROUPS
    assert rows["encode"]["done"] == 12 * N_GROUPS


def test_status_of_a_manifest_without_digests_is_the_same(work: Path, tmp_path: Path) -> None:
    with (work / "whole/manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    bare = tmp_path / "bare.csv"
    with bare.open("w", newline="") as file:
        writer = csv.DictWriter(file, ("clip", "path", "label", "group"), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    line = ("status", work / "tiny.toml", "--store", work / "whole", "--protocol", PROTOCOL)
    assert cinefeat(*line, "--manifest", bare).stdout == cinefeat(*line).stdout


def test_the_store_verifies_and_a_changed_byte_is_found(work: Path) -> None:
    assert cinefeat("verify", "--store", work / "whole").returncode == 0
    shutil.copytree(work / "whole", work / "changed")
    victim = next((work / "changed/flow").rglob("*.h5"))
    with h5py.File(victim, "a") as file:
        file.attrs["digest"] = "0" * 64
    done = cinefeat("verify", "--store", work / "changed")
    assert done.returncode == 1
    assert str(victim) in done.stdout


REQUIRED = (
    "schema", "clip", "source", "source_sha256", "digest", "settings", "versions", "device",
    "frames_decoded", "frames_declared",
)  # fmt: skip


@pytest.mark.parametrize("stage", ["flow", "describe", "encode"])
def test_every_file_of_a_clip_says_what_made_it(work: Path, stage: str) -> None:
    for path in (work / "whole" / stage).rglob("*.h5"):
        with h5py.File(path) as file:
            assert set(REQUIRED) <= set(file.attrs), path
            assert file.attrs["frames_decoded"] == 24
            versions = json.loads(file.attrs["versions"])
            assert {"cinefeat", "numpy", "torch", "opencv", "ffmpeg"} <= set(versions)


def test_every_row_of_a_feature_has_its_frame_and_time(work: Path) -> None:
    path = next((work / "whole/describe").rglob("*.h5"))
    with h5py.File(path) as file:
        n = len(file["hog"])
        assert n > 0
        np.testing.assert_array_equal(file["end_frame"][:] - file["start_frame"][:], 15)
        elapsed = file["end_seconds"][:] - file["start_seconds"][:]
        np.testing.assert_allclose(elapsed, 15 / 25, atol=1e-6)
        assert len(file["points"]) == len(file["info"]) == n


def test_pack_gives_one_file_with_a_group_per_clip(work: Path) -> None:
    out = work / "bags.h5"
    done = cinefeat("pack", "describe", work / "tiny.toml", "--store", work / "whole", "-o", out,
                    "--protocol", PROTOCOL)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with h5py.File(out) as file:
        group = file["clips/turning/g01_turning"]
        assert group.attrs["label"] == "turning"
        assert group.attrs["group"] == "g01"
        assert group["hog"].shape[1] == 96


def test_describe_tells_arrays_and_units(work: Path) -> None:
    path = next((work / "whole/flow").rglob("*.h5"))
    done = cinefeat("describe", path)
    assert done.returncode == 0
    assert "flow  23x96x112x2 uint8" in done.stdout
    assert "pixels = (code - zero)" in done.stdout


def test_recipes_prints_one_that_can_be_used(work: Path) -> None:
    assert "dt-bow" in cinefeat("recipes").stdout
    text = cinefeat("recipes", "dt-bow").stdout
    assert text.startswith('name = "dt-bow"')
