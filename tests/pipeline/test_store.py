"""The file contract: atomic, finite, closed to links, readable with plain h5py."""

import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from cinefeat.pipeline import store
from cinefeat.pipeline.errors import InputError


def test_a_product_reads_back_as_written(tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = {"a": rng.random((3, 2)).astype(np.float32), "deep/name": np.arange(4, dtype=np.uint8)}
    store.write_product(tmp_path / "x/y.h5", arrays, {"clip": "y", "settings": {"k": 1}})
    read = store.read_arrays(tmp_path / "x/y.h5")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
    attrs = store.read_attrs(tmp_path / "x/y.h5")
    assert attrs == {"schema": store.SCHEMA, "clip": "y", "settings": '{"k": 1}'}


def test_strings_read_back_as_strings(tmp_path: Path) -> None:
    store.write_product(tmp_path / "s.h5", {"label": np.array(["wave", "çök"])}, {})
    assert store.read_arrays(tmp_path / "s.h5")["label"].tolist() == ["wave", "çök"]


@pytest.mark.parametrize("sizes", [[1], [3, 4], [0, 2, 0, 5]])
def test_appended_rows_equal_rows_written_at_once(
    tmp_path: Path, rng: np.random.Generator, sizes: list[int]
) -> None:
    parts = [rng.random((n, 7, 2)) for n in sizes]
    with store.ProductWriter(tmp_path / "p.h5", {}) as product:
        for part in parts:
            product.append("rows", part, compress=True)
    path = tmp_path / "p.h5"
    np.testing.assert_array_equal(store.read_arrays(path)["rows"], np.concatenate(parts))
    np.testing.assert_array_equal(list(store.iter_rows(path, "rows", 2)), np.concatenate(parts))


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    def write_half() -> None:
        with store.ProductWriter(tmp_path / "p.h5", {}) as product:
            product.append("rows", np.zeros((2, 2)))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_the_product_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    store.write_product(path, {"a": np.ones(1)}, {})
    with pytest.raises(ValueError, match="NaN"):
        store.write_product(path, {"a": np.array([np.nan])}, {})
    assert store.read_arrays(path)["a"].tolist() == [1.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(tmp_path: Path, value: float) -> None:
    with (
        pytest.raises(ValueError, match="'hog' holds NaN or infinity"),
        store.ProductWriter(tmp_path / "p.h5", {}) as product,
    ):
        product.append("hog", np.array([[value]], np.float16))


def test_a_killed_writer_leaves_no_product_and_its_rest_is_cleaned_up(tmp_path: Path) -> None:
    code = (
        "import os, signal, numpy as np; from pathlib import Path;"
        "from cinefeat.pipeline.store import ProductWriter;"
        f"w = ProductWriter(Path({str(tmp_path)!r}) / 'p.h5', {{}}); w.__enter__();"
        "w.append('a', np.zeros((9, 9))); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not (tmp_path / "p.h5").exists()
    assert len(list(tmp_path.iterdir())) == 1
    assert store.remove_stale_temporaries(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_temporaries_of_living_processes_stay(tmp_path: Path) -> None:
    mine = store.temporary_name(tmp_path / "p.h5")
    mine.touch()
    assert str(os.getpid()) in mine.name
    assert store.remove_stale_temporaries(tmp_path) == 0
    assert mine.exists()


def _temporary_of(folder: Path, host: str, process: str) -> Path:
    path = folder / f".p.h5.{host}.{process}.tmp"
    path.touch()
    return path


@pytest.mark.parametrize(
    "process, is_left",
    [("99999999-5", False), ("1-0", False), (f"{10**30}-5", False), ("sub-1", True), ("", True)],
)
def test_only_the_dead_of_this_host_are_stale_at_once(
    tmp_path: Path, process: str, is_left: bool
) -> None:
    here = _temporary_of(tmp_path / "", store._HOST, process)
    there = _temporary_of(tmp_path / "", "another", process)
    store.remove_stale_temporaries(tmp_path)
    assert (here.exists(), there.exists()) == (is_left, True)


def test_what_another_host_left_goes_after_a_week(tmp_path: Path) -> None:
    old, new = (_temporary_of(tmp_path, "another", f"{n}-1") for n in (5, 6))
    six_days, eight_days = (time.time() - n * 24 * 3600 for n in (6, 8))
    os.utime(old, (eight_days, eight_days))
    os.utime(new, (six_days, six_days))
    assert store.remove_stale_temporaries(tmp_path) == 1
    assert (old.exists(), new.exists()) == (False, True)


def test_half_written_folders_go_and_other_hidden_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "a" / f".report.{store._HOST}.99999999-5.tmp"
    folder.mkdir(parents=True)
    (folder / "x.csv").touch()
    (tmp_path / ".keep.tmp").touch()
    assert store.remove_stale_temporaries(tmp_path, below=False) == 0
    assert store.remove_stale_temporaries(tmp_path) == 1
    assert not folder.exists()
    assert (tmp_path / ".keep.tmp").exists()


@pytest.mark.parametrize("kind", ["soft", "external", "virtual", "raw"])
def test_arrays_that_lie_elsewhere_are_not_followed(tmp_path: Path, kind: str) -> None:
    store.write_product(tmp_path / "other.h5", {"secret": np.ones(3)}, {})
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["inside"] = np.ones(3)
        if kind == "soft":
            file["x"] = h5py.SoftLink("/inside")
        elif kind == "external":
            file["x"] = h5py.ExternalLink("other.h5", "/secret")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3,), "f8")
            layout[:] = h5py.VirtualSource("other.h5", "secret", (3,))
            file.create_virtual_dataset("x", layout)
        else:
            raw = [(str(tmp_path / "raw.bin"), 0, 24)]
            file.create_dataset("x", (3,), "f8", external=raw)
    with pytest.raises(InputError, match="'x'"):
        store.read_arrays(tmp_path / "bad.h5", ["x"])


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(50)])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.h5"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.h5 is not a readable HDF5 file"):
        store.read_arrays(path)


def test_a_missing_array_names_those_that_are_there(tmp_path: Path) -> None:
    store.write_product(tmp_path / "p.h5", {"hog": np.ones(1)}, {})
    with pytest.raises(InputError, match=r"no array 'hof'; it has \['hog'\]"):
        store.read_arrays(tmp_path / "p.h5", ["hof"])


def test_unchanged_text_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    store.write_text(path, "one")
    before = path.stat().st_mtime_ns
    store.write_text(path, "one")
    assert path.stat().st_mtime_ns == before
    store.write_text(path, "two")
    assert path.read_text() == "two"


def test_bytes_are_written_whole(tmp_path: Path) -> None:
    store.write_bytes(tmp_path / "new/a.bin", b"one")
    store.write_bytes(tmp_path / "new/a.bin", b"two")
    assert (tmp_path / "new/a.bin").read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.bin"]
