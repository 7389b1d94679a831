"""A small run over every stage through the command line, for the tests that disturb it."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from synthetic import motion_only_videos

from cinefeat.extractors.networks import build_network, expected_shapes
from cinefeat.extractors.weights import WeightRecord, weight_bytes

STAGES = ("flow", "describe", "embed", "fit", "encode", "pool", "train", "evaluate")
RECIPE = """
name = "every"
title = "Every stage, with little to do"
source = "test"
[flow]
preset = "fast"
[describe]
extractor = "dense-trajectories"
[embed]
segments = 1
[[embed.networks]]
network = "efficientnet-lite0"
weights = "WEIGHTS"
[fit]
codebook = "k-means"
channels = ["hof", "mbhx"]
n_words = 20
n_samples = 2000
n_starts = 1
[encode]
method = "bag-of-words"
[pool]
pooling = "mean"
[train]
classifier = "linear-svm"
"""
N_GROUPS = 2


def write_work(folder: Path) -> Path:
    """Write videos, random weights and a recipe of all stages into a folder."""
    motion_only_videos(folder / "videos", N_GROUPS)
    weights = folder / "lite0.safetensors"
    torch.manual_seed(0)
    state = build_network("efficientnet-lite0").state_dict()
    tensors = {name: state[name] for name in expected_shapes("efficientnet-lite0")}
    weights.write_bytes(weight_bytes(tensors, WeightRecord("efficientnet-lite0")))
    (folder / "every.toml").write_text(RECIPE.replace("WEIGHTS", str(weights)))
    return folder


def line(work: Path, store: Path, *more: object, command: tuple[str, ...] = ("run",)) -> list[str]:
    """Return the command line of a run, or of one stage."""
    place = ("--videos", work / "videos", "--store", store, "--protocol", "leave-one-group-out")
    words = (*command, work / "every.toml", *place, *more)
    return [sys.executable, "-m", "cinefeat.pipeline", *map(str, words)]


def call(arguments: list[str], **options: Any) -> subprocess.CompletedProcess:
    """Run a command line to its end."""
    return subprocess.run(arguments, capture_output=True, text=True, check=False, **options)


def arrays_of(store: Path) -> dict[str, np.ndarray]:
    """Return every array of every product of a store."""
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


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system of that size at a folder; skip where that is not allowed."""
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root and the command mount")
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = call(["mount", *options])
    if done.returncode != 0:
        pytest.skip(f"mounting a small disk is not allowed here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        call(["umount", "--lazy", str(folder)])


def fill(disk: Path, n_left: int) -> Path:
    """Write a file that leaves so many bytes of a small disk free, and return it."""
    state = os.statvfs(disk)
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - n_left)
    return filler
