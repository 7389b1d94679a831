"""Limits of a clip: what breaks them, and what a machine or a job has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cinefeat.pipeline import limits
from cinefeat.pipeline.limits import Limits


def test_no_limit_is_never_broken() -> None:
    assert Limits().broken(1e9, os.getpid()) == ""


@pytest.mark.parametrize("seconds, words", [(4.9, ""), (5.1, "longer than 5 s")])
def test_time(seconds: float, words: str) -> None:
    assert words in Limits(seconds=5).broken(seconds, os.getpid())
    assert bool(Limits(seconds=5).broken(seconds, os.getpid())) == bool(words)


GROW = """
import mmap, sys
print("small", flush=True)
sys.stdin.readline()
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
seen = sum(mapped[::4096])
held = bytearray(b"x" * 50_000_000)
print("grown", flush=True)
sys.stdin.readline()
"""


def test_memory_counts_what_is_written_to_and_not_what_is_mapped(tmp_path: Path) -> None:
    if limits.anonymous_bytes(os.getpid()) == 0:
        pytest.skip("no /proc here")
    (tmp_path / "file").write_bytes(bytes(100_000_000))
    # a process of its own: that of the tests has freed memory, which it may fill without growing
    line = [sys.executable, "-c", GROW, str(tmp_path / "file")]
    with subprocess.Popen(
        line, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "small\n"
        before = limits.anonymous_bytes(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "grown\n"
        grown = limits.anonymous_bytes(process.pid) - before
        assert Limits(gigabytes=0.01).broken(0, process.pid)
    assert 45e6 < grown < 80e6


def test_the_memory_of_a_process_that_is_gone_is_not_known() -> None:
    assert limits.anonymous_bytes(99_999_999) == 0


@pytest.mark.parametrize(
    "group, file, found",
    [
        ("0::/slurm/job_7\n", "slurm/memory.max", [5000]),
        ("0::/slurm/job_7/step_0\n", "slurm/job_7/memory.max", [5000]),
        ("9:cpu:/x\n4:memory:/slurm\n", "memory/slurm/memory.limit_in_bytes", [5000]),
        ("0::/\n", "other/memory.max", []),
    ],
)
def test_a_job_has_the_memory_of_its_control_group(
    tmp_path: Path, group: str, file: str, found: list[int]
) -> None:
    (tmp_path / "groups").write_text(group)
    path = tmp_path / "root" / file
    path.parent.mkdir(parents=True)
    path.write_text("5000\n")
    (path.parent / "deep").mkdir()
    assert limits._group_limits(tmp_path / "groups", tmp_path / "root") == found


def test_unlimited_groups_are_no_limit(tmp_path: Path) -> None:
    (tmp_path / "groups").write_text("0::/\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert limits._group_limits(tmp_path / "groups", tmp_path) == []
    assert limits._group_limits(tmp_path / "nothing", tmp_path) == []


def test_by_default_a_clip_has_an_hour_and_most_of_the_machine() -> None:
    found = limits.default_limits()
    assert found.seconds == 3600
    if (memory := limits.machine_bytes()) is not None:
        assert found.gigabytes == pytest.approx(0.8 * memory / 1e9, abs=0.01)
