"""Files for HDF5 whose writes never fail, and what is told of what a disk refuses."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from faults import fill, small_disk

from cinefeat.pipeline import store
from cinefeat.pipeline.disk import DiskFile, explain, explained
from cinefeat.pipeline.errors import InputError


def _write(file: h5py.File, rng: np.random.Generator) -> None:
    file.attrs["about"] = "x" * 500
    rows = file.create_dataset("rows", (0, 30), "f4", maxshape=(None, 30), chunks=(4, 30))
    for n in (3, 1, 9):
        rows.resize(len(rows) + n, axis=0)
        rows[-n:] = rng.random((n, 30))
    for i in range(60):
        file[f"deep/array{i}"] = rng.random(i)
    del file["deep/array3"]


def test_hdf5_written_through_it_is_what_was_written(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    disk = DiskFile(tmp_path / "a.h5", tmp_path / "a.h5")
    with h5py.File(disk, "w") as file:
        _write(file, np.random.default_rng(1))
    disk.close()
    disk.check()
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        _write(file, np.random.default_rng(1))
    for name in ("a.h5", "plain.h5"):
        with h5py.File(tmp_path / name) as file:
            assert file["rows"].shape == (13, 30)
            assert len(file["deep"]) == 59
    with h5py.File(tmp_path / "a.h5") as one, h5py.File(tmp_path / "plain.h5") as two:
        np.testing.assert_array_equal(one["rows"], two["rows"])
        np.testing.assert_array_equal(one["deep/array59"], two["deep/array59"])


def test_it_is_a_file(tmp_path: Path) -> None:
    disk = DiskFile(tmp_path / "a", tmp_path / "a")
    assert (disk.write(b"abcdef"), disk.tell(), disk.seek(2)) == (6, 6, 2)
    assert disk.write(b"XY") == 2
    assert disk.seek(-3, os.SEEK_END) == 3
    assert disk.read(99) == b"Yef"
    assert disk.truncate(4) == 4
    assert disk.seek(0, os.SEEK_END) == 4
    disk.close()
    disk.close()
    assert (tmp_path / "a").read_bytes() == b"abXY"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_what_a_full_disk_refuses_is_kept_in_memory_and_told_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    disk = DiskFile(tmp_path / ".a.tmp", tmp_path / "a.h5")
    disk.write(b"before")
    disk.check()

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", refuse)
    assert disk.write(b"after") == 5
    disk.seek(4)
    assert disk.write(b"RE") == 2
    disk.seek(0)
    assert disk.read(20) == b"befoREafter"
    with pytest.raises(InputError, match=rf"a\.h5: {os.strerror(number)}: .* the same line again"):
        disk.check()
    disk.close()


@pytest.mark.parametrize("n_left", [0, 4096, 40 * 4096])
@pytest.mark.parametrize("how", ["append", "many", "whole"])
def test_hdf5_on_a_disk_that_fills_up_neither_crashes_nor_leaves_anything(
    tmp_path: Path, how: str, n_left: int
) -> None:
    script = f"""
import numpy as np
from pathlib import Path
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.store import ProductWriter, read_arrays, write_product
path = Path(r"{tmp_path}/disk/p.h5")
rng = np.random.default_rng(0)
try:
    with ProductWriter(path, {{"clip": "p"}}) as product:
        for i in range(400):
            if "{how}" == "append":
                product.append("rows", rng.random((1, 60, 60)), compress=True)
            elif "{how}" == "many":
                product.write(f"array{{i}}", rng.random(300))
            elif i == 0:
                product.write("whole", rng.random(400_000))
except InputError as error:
    print(error)
assert not list(path.parent.glob(".*.tmp"))
Path(r"{tmp_path}/disk/filler").unlink()
write_product(path, {{"a": np.ones(9)}}, {{}})
print(read_arrays(path)["a"].sum())
"""
    with small_disk(tmp_path / "disk", 2) as disk:
        fill(disk, n_left)
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "p.h5: No space left on device: free some space" in done.stdout
    assert done.stdout.endswith("9.0\n")
    assert done.stderr == ""


def test_an_error_of_the_program_stays_one(tmp_path: Path) -> None:
    assert explain(FileNotFoundError(errno.ENOENT, "no such file")) == ""
    with pytest.raises(FileNotFoundError), explained(tmp_path):
        (tmp_path / "nothing").read_text()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM, errno.ESTALE])
def test_what_a_disk_refuses_is_told_with_the_file_and_a_remedy(number: int) -> None:
    sentence = explain(OSError(number, "x", "clips/a.h5"))
    assert sentence.startswith(f"cannot use clips/a.h5: {os.strerror(number)}: ")
    assert len(sentence.split(": ")[2]) > 10


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        store.write_text(disk / "a.csv", "old")
        fill(disk, 0)
        with pytest.raises(InputError, match=r"a\.csv: No space left on device"):
            store.write_text(disk / "a.csv", "new" * 9999)
        assert (disk / "a.csv").read_text() == "old"
        assert {path.name for path in disk.iterdir()} == {"a.csv", "filler"}
