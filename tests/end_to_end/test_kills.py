"""Processes that share a store are killed at random in every stage, and nothing is lost or torn."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from faults import STAGES, assert_same_arrays, call, line, write_work
from synthetic import motion_only_frames, write_video

pytestmark = pytest.mark.xdist_group("kills")
N_PROCESSES = 2
PATIENCE = 120.0  # seconds until a stage begins, at most


class Runs:
    """The same run several times at once on one store; processes that end are started again."""

    def __init__(self, command: list[str], rng: random.Random) -> None:
        self._command, self._rng = command, rng
        self._processes: list[subprocess.Popen] = []
        self._groups: set[int] = set()
        self._hurt: set[int] = set()

    def keep_up(self) -> None:
        self._processes = [process for process in self._processes if process.poll() is None]
        while len(self._processes) < N_PROCESSES:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen(self._command, start_new_session=True, **quiet)
            self._processes.append(process)
            self._groups.add(process.pid)

    def kill_one(self) -> str:
        """Kill a run with its workers, or the run alone, or a worker of it alone."""
        process = self._rng.choice(self._processes)
        workers = [pid for pid in _members(process.pid) if pid != process.pid]
        kinds = ["all", "parent"]
        if workers and process.pid not in self._hurt:  # a second one would cost its clip: exit 1
            kinds.append("worker")
        kind = self._rng.choice(kinds)
        with contextlib.suppress(ProcessLookupError):
            if kind == "all":
                os.killpg(process.pid, signal.SIGKILL)
            elif kind == "parent":
                os.kill(process.pid, signal.SIGKILL)
            else:
                self._hurt.add(process.pid)
                os.kill(self._rng.choice(workers), signal.SIGKILL)
        if kind != "worker":
            process.wait()
        return kind

    def end(self) -> None:
        """Kill what runs, and wait for orphaned workers, which finish what they are at."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        until = time.monotonic() + 60
        while any(_members(group) for group in self._groups) and time.monotonic() < until:
            time.sleep(0.1)


def _members(group: int) -> list[int]:
    """Return the living processes of a process group."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] not in "ZX":
                found.append(int(folder.name))
    return found


def _wait_for(stage: str, store: Path, runs: Runs) -> bool:
    """Wait until a product of the stage is being written; False if that does not come."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        runs.keep_up()
        if any(True for _ in (store / stage).rglob(".*.tmp")):
            return True
        time.sleep(0.005)
    return False


def _unmake(stage: str, store: Path, rng: random.Random) -> None:
    """Remove some products of a stage, so that there is work for it."""
    products = sorted((store / stage).rglob("*.h5"))
    for path in rng.sample(products, min(2, len(products))):
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not Path("/proc").is_dir():
        pytest.skip("workers are found by /proc, which is not here")
    folder = write_work(tmp_path_factory.mktemp("kills"))
    done = call(line(folder, folder / "whole"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("n_kills", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_at_random_in_every_stage_and_run_once_more_the_store_is_whole(
    work: Path, n_kills: int
) -> None:
    rng, store = random.Random(n_kills), work / f"killed{n_kills}"
    runs = Runs(line(work, store, "--jobs", 2), rng)
    kills = []
    try:
        for number in range(n_kills):
            stage = STAGES[number % len(STAGES)]
            if number >= len(STAGES):
                _unmake(stage, store, rng)
            began = _wait_for(stage, store, runs)
            time.sleep(rng.uniform(0, 0.2))
            kills.append((stage, runs.kill_one() if began else "missed"))
    finally:
        runs.end()
    assert all(kind != "missed" for _, kind in kills), kills
    command = line(work, store)
    last = call(command)
    assert last.returncode == 0, last.stderr
    assert_same_arrays(work / "whole", store)
    assert not list(store.rglob("*.tmp"))
    assert (store / "failures.csv").read_text() == "clip,stage,reason\n"
    verified = call([*command[:3], "verify", "--store", str(store)])
    assert verified.returncode == 0, verified.stdout


def test_a_worker_killed_twice_at_a_clip_leaves_nothing_but_a_failure(tmp_path: Path) -> None:
    if not Path("/proc").is_dir():
        pytest.skip("that a process has ended is told by /proc, which is not here")
    frames = motion_only_frames("turning", 0)
    write_video(tmp_path / "videos/turning/g01.avi", [*frames] * 100)
    store = tmp_path / "store"
    (tmp_path / "every.toml").write_text('name="f"\ntitle="f"\nsource="f"\n[flow]\n')
    place = ("--videos", tmp_path / "videos", "--store", store, "--jobs", "1")
    stage = (*line(tmp_path, store)[:3], "stage", "flow", tmp_path / "every.toml", *place)
    process = subprocess.Popen(stage)
    killed: set[Path] = set()
    while len(killed) < 2 and process.poll() is None:
        for path in set((store / "flow").rglob(".*.tmp")) - killed:
            if ".h5." in path.name:
                killed.add(path)
                os.kill(int(path.name.split(".")[-2].partition("-")[0]), signal.SIGKILL)
        time.sleep(0.005)
    assert process.wait() == 1
    assert len(killed) == 2
    assert not list(store.rglob("*.tmp"))
    (row,) = (store / "failures.csv").read_text().splitlines()[1:]
    assert row == "turning/g01,flow,its worker process was killed by SIGKILL"
