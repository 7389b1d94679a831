"""Disks that fill up or refuse: one sentence, exit 2, nothing half-written, and on it goes."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import STAGES, arrays_of, assert_same_arrays, call, fill, line, small_disk, write_work

pytestmark = pytest.mark.xdist_group("disk_faults")
PAGES = 3 * 4096


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_work(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="module")
def whole(work: Path) -> Path:
    """The store of an undisturbed run."""
    done = call(line(work, work / "whole"))
    assert done.returncode == 0, done.stderr
    return work / "whole"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 64) as folder:
        yield folder


def assert_told_once(done: subprocess.CompletedProcess, store: Path, *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    told = [row for row in done.stderr.splitlines() if row.startswith("cinefeat:")]
    assert len(told) == 1
    assert all(word in told[0] for word in (str(store), *words)), told
    assert not list(store.rglob("*.tmp"))


FULL = ("No space left on device", "free some space and run the same line again")


def test_a_disk_that_is_full_during_a_stage_stops_the_run_in_one_sentence(
    work: Path, disk: Path
) -> None:
    store = disk / "store"
    store.mkdir()
    filler = fill(disk, 20 * 4096)
    command = line(work, store, "--jobs", 2, command=("stage", "flow"))
    assert_told_once(call(command), store, *FULL)
    assert arrays_of(store) == {}
    filler.unlink()
    assert call(command).returncode == 0
    assert len(list(store.rglob("*.h5"))) == 6


@pytest.mark.slow
def test_a_disk_that_fills_up_during_each_stage(work: Path, whole: Path, disk: Path) -> None:
    store = disk / "store"
    store.mkdir()
    shutil.copy(whole / "manifest.csv", store)
    for stage in STAGES:
        before = set(store.rglob("*.h5"))
        filler = fill(disk, PAGES)
        command = line(work, store, command=("stage", stage))
        assert_told_once(call(command), store, *FULL)
        half_way = set(store.rglob("*.h5"))
        assert before <= half_way
        filler.unlink()
        verified = call([*command[:3], "verify", "--store", str(store)])
        assert verified.returncode == 0, (stage, verified.stdout)
        done = call(command)
        assert done.returncode == 0, (stage, done.stderr)
        assert half_way < set(store.rglob("*.h5")), stage
    assert_same_arrays(whole, store)


def _by_manifest(work: Path, store: Path) -> list[str]:
    """Return a line that reads the clips from a list outside of the store."""
    rows = [f"{path.stem},{path},x" for path in sorted((work / "videos").rglob("*.avi"))]
    (work / "clips.csv").write_text("\n".join(["clip,path,label", *rows]) + "\n")
    command = line(work, store, command=("stage", "flow"))
    return [*command[:6], "--manifest", str(work / "clips.csv"), "--store", str(store)]


def test_a_store_that_can_only_be_read(work: Path, disk: Path) -> None:
    (disk / "store").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for command in (
        line(work, disk / "store", command=("stage", "flow")),
        _by_manifest(work, disk / "store"),
    ):
        done = call(command)
        assert_told_once(done, disk / "store", "Read-only file system", "name a folder")


def test_a_store_that_denies_permission(work: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o555)
    powerless: list[str] = []
    if os.geteuid() == 0:  # whom nothing is denied, unless that power is given up
        powerless = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
        if shutil.which("setpriv") is None:
            pytest.skip("root needs the command setpriv to be denied anything")
    done = call([*powerless, *_by_manifest(work, tmp_path / "store")])
    assert_told_once(done, tmp_path / "store", "Permission denied", "allow it, or name another")
