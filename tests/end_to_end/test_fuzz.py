"""Damaged videos: each ends in a status within its limits, and nothing else suffers.

`make fuzz` takes 500 of them, and goes on to compute with those that can be read.
"""

import csv
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import write_variants

from cinefeat.pipeline.limits import Limits
from cinefeat.pipeline.manifest import read_manifest
from cinefeat.pipeline.plan import shard_of
from cinefeat.pipeline.workers import Task, WorkerPool

pytestmark = pytest.mark.needs_data
LIMITS = Limits(seconds=60, gigabytes=1.0)
REASONS = ("took longer than", "took more than", "its worker process")
RECIPE = """
name = "flow"
title = "Flow alone"
source = "test"
[flow]
preset = "fast"
"""


def _files(shared: Path, largest: int) -> list[Path]:
    folders = (shared / "data/clips", shared / "data/weizmann", shared / "data/ucf101_clips")
    files = [path for folder in folders for path in sorted(folder.rglob("*.*"))]
    videos = {".avi", ".mp4", ".mov", ".mkv", ".webm", ".mpg"}
    found = [p for p in files if p.suffix in videos and p.stat().st_size <= largest]
    return [p for p in found if p.is_relative_to(folders[0])] + [
        next(p for p in found if p.is_relative_to(folder))
        for folder in folders[1:]
        if any(p.is_relative_to(folder) for p in found)
    ]


def _probe_all(paths: list[Path]) -> tuple[dict[str, int], list[str], int]:
    """Probe in limited workers; return counts by status, what broke a worker, and the peak."""
    counts: dict[str, int] = {}
    broken, peak = [], 0
    tasks = [Task("task_functions:probe_and_peak", path, path.name, LIMITS) for path in paths]
    with WorkerPool(2) as pool:
        for outcome in pool.run(tasks):
            if outcome.failure is None:
                status, highest = outcome.value
                peak = max(peak, highest)
            else:
                assert any(reason in outcome.failure for reason in REASONS)
                status = "failed"
                broken.append(f"{outcome.task.label}: {outcome.failure}")
            assert outcome.seconds < LIMITS.seconds + 10
            counts[status] = counts.get(status, 0) + 1
    return counts, broken, peak


def test_every_damaged_video_ends_in_a_status(shared: Path, tmp_path: Path) -> None:
    paths = write_variants(_files(shared, 200_000), tmp_path / "videos", 60, seed=1)
    counts, broken, peak = _probe_all(paths)
    assert sum(counts.values()) == 60
    assert set(counts) <= {"ok", "short", "unreadable", "failed"}
    assert len(counts) >= 2, counts  # else they were hardly damaged
    assert peak < 2e9, (peak, broken)


@pytest.mark.slow
def test_500_damaged_videos_through_scan_and_flow(shared: Path, tmp_path: Path) -> None:
    n = int(os.environ.get("CINEFEAT_FUZZ", "500"))
    paths = write_variants(_files(shared, 10**6), tmp_path / "videos", n, seed=2)
    counts, broken, peak = _probe_all(paths)
    assert sum(counts.values()) == n
    print(f"\n{n} variants: {counts}; peak of a worker {peak / 1e9:.2f} GB", *broken, sep="\n  ")
    (tmp_path / "flow.toml").write_text(RECIPE)
    manifest, store = tmp_path / "clips.csv", tmp_path / "store"
    line = [sys.executable, "-m", "cinefeat.pipeline"]
    scan = subprocess.run([*line, "scan", tmp_path / "videos", "-o", manifest], check=False)
    assert scan.returncode in (0, 1)
    clips = read_manifest(manifest)
    assert len(clips) == n
    assert all(clip.status and clip.reason for clip in clips)
    # flow takes far longer than decoding: one clip in sixteen goes on to it
    limits = ["--clip-seconds", "120", "--clip-gb", "1", "--shard", "0/16"]
    stage = ["stage", "flow", tmp_path / "flow.toml", "--manifest", manifest, "--store", store]
    done = subprocess.run([*line, *stage, *limits], check=False)
    assert done.returncode in (0, 1)
    with (store / "failures.csv").open(newline="") as file:
        failed = {row["clip"] for row in csv.DictReader(file)}
    made = {path.stem for path in store.rglob("*.h5")}
    names = {clip.id.partition("/")[2] for clip in clips if shard_of(clip.id, 16) == 0}
    assert made | {clip.partition("/")[2] for clip in failed} == names
    assert not list(store.rglob("*.tmp"))
    highest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"flow: {len(made)} made, {len(failed)} failed; peak {highest / 1e9:.2f} GB")
    assert highest < 3e9
