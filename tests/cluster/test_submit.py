"""A recipe on a real Slurm: cancelled, killed and requeued tasks, and one resubmission."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthetic import motion_only_videos

# descriptors are quick to make, so that a task takes little more than its start
RECIPE = """
name = "tiny"
title = "Dense trajectories with few words"
source = "test"
[describe]
extractor = "dense-trajectories"
flow = "farneback"
[fit]
codebook = "k-means"
channels = ["hof", "mbhx"]
n_words = 20
n_samples = 2000
n_starts = 1
[encode]
method = "bag-of-words"
[train]
classifier = "chi-square-svm"
C = 100.0
"""
N_SHARDS = 4
N_CLIPS = 12

pytestmark = pytest.mark.xdist_group("slurm")
Environment = dict[str, str]


def cinefeat(env: Environment, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cinefeat.pipeline", *map(str, arguments)],
        capture_output=True, text=True, env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def slurm_says(env: Environment, *call: str) -> str:
    return subprocess.run(call, capture_output=True, text=True, env=env, check=True).stdout


def wait_for(condition: Callable[[], object], seconds: float = 400) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.2)


def arrays_of(store: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for path in sorted(store.rglob("*.h5")):
        with h5py.File(path) as file:
            names: list[str] = []
            file.visit(names.append)
            for name in names:
                if isinstance(file[name], h5py.Dataset):
                    found[f"{path.relative_to(store)}:{name}"] = file[name][()]
    return found


@pytest.fixture
def line(tmp_path: Path) -> tuple[object, ...]:
    """The arguments of `submit`, after a local run of the same in the store `local`."""
    motion_only_videos(tmp_path / "videos", N_CLIPS // 3)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return (tmp_path / "tiny.toml", "--manifest", tmp_path / "local/manifest.csv",
            "--store", tmp_path / "store", "--shards", N_SHARDS)  # fmt: skip


def test_one_resubmission_finishes_what_was_cancelled_killed_and_requeued(
    slurm: Environment, tmp_path: Path, line: tuple[object, ...]
) -> None:
    local = cinefeat(slurm, "run", tmp_path / "tiny.toml", "--videos", tmp_path / "videos",
                     "--store", tmp_path / "local", "--json")  # fmt: skip

    ids = dict(re.findall(r"^(\w+) +(\d+)", cinefeat(slurm, "submit", *line), re.MULTILINE))
    assert list(ids) == ["describe", "fit", "encode", "train", "evaluate"]
    first = ids["describe"]
    running = "squeue", "--noheader", "--states=R", "--format=%K", f"--jobs={first}"
    wait_for(lambda: len(slurm_says(slurm, *running).split()) == 3)
    slurm_says(slurm, "scancel", f"{first}_3", f"{first}_0")  # one that waits, one that runs
    slurm_says(slurm, "scancel", "--signal=KILL", "--full", f"{first}_1")
    slurm_says(slurm, "scontrol", "requeue", f"{first}_2")
    wait_for(lambda: not slurm_says(slurm, "squeue", "--noheader"))

    lost = status(slurm, line)
    assert lost["describe"]["shards"] == [0, 1, 3]
    assert [lost[stage]["done"] for stage in ("fit", "encode", "train", "evaluate")] == [0] * 4

    again = cinefeat(slurm, "submit", *line)
    assert re.search(r"^describe +\d+  shards 0-1,3$", again, re.MULTILINE)
    wait_for(lambda: not slurm_says(slurm, "squeue", "--noheader"))
    assert all(row["missing"] == row["failed"] == 0 for row in status(slurm, line).values())
    assert cinefeat(slurm, "submit", *line) == "all stages are done\n"

    there, here = arrays_of(tmp_path / "store"), arrays_of(tmp_path / "local")
    assert there.keys() == here.keys()
    for name, array in here.items():
        np.testing.assert_array_equal(there[name], array, err_msg=name)
    (report,) = (tmp_path / "store/reports").iterdir()
    accuracy = json.loads((report / "result.json").read_text())["accuracy"]
    assert accuracy == json.loads(local.splitlines()[-1])["accuracy"]
    assert not list((tmp_path / "store").rglob("*.tmp"))


def status(env: Environment, line: tuple[object, ...]) -> dict[str, dict]:
    return {row["stage"]: row for row in json.loads(cinefeat(env, "status", *line, "--json"))}
