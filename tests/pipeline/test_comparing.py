"""Two feature files held against each other."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from cinefeat.pipeline.cli import _status
from cinefeat.pipeline.comparing import compare_arrays, read_feature_file, row_cosines
from cinefeat.pipeline.errors import InputError


def test_the_first_difference_in_order_of_memory_is_told() -> None:
    a = np.zeros((3, 4))
    b = a.copy()
    b[1, 2], b[2, 0] = 0.5, -2
    found = compare_arrays("x", a, b)
    assert (found.first, found.values, found.largest) == ((1, 2), ("0.0", "0.5"), 2)
    assert found.cosines.tolist() == [1, 0, 0]


def test_a_tolerance_lets_small_differences_pass() -> None:
    a = np.array([[1.0, 100.0]])
    assert not compare_arrays("x", a, a * 1.001).is_equal
    assert compare_arrays("x", a, a * 1.001, rtol=0.002).is_equal
    assert compare_arrays("x", a, a + 0.5, atol=0.5).is_equal


def test_cosines_are_those_of_the_literal_sum(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(2, 7, 3, 5))
    for x, y, cosine in zip(a, b, row_cosines(a, b), strict=True):
        wanted = np.dot(x.ravel(), y.ravel()) / (np.linalg.norm(x) * np.linalg.norm(y))
        assert cosine == pytest.approx(wanted, abs=1e-12)


def test_shapes_and_strings_are_compared_as_well() -> None:
    assert compare_arrays("x", np.zeros(3), np.zeros(4)).values == ("3 float64", "4 float64")
    found = compare_arrays("x", np.array(["a", "b"]), np.array(["a", "c"]))
    assert (found.first, found.values) == ((1,), ("b", "c"))


def test_the_command_compares_files_of_two_kinds(tmp_path: Path, capsys) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["net/features"] = rows
    np.savez(tmp_path / "b.npz", **{"net/features": rows, "more": rows})
    a, b = str(tmp_path / "a.h5"), str(tmp_path / "b.npz")
    assert _status(["compare", a, b, "--array", "net/features", "--rows"]) == 0
    assert "row 1: cosine 1.0" in capsys.readouterr().out
    assert _status(["compare", a, b]) == 1
    assert f"more: only in {b}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["x.pkl", "x.npy"])
def test_pickles_are_never_loaded(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"pickle|plain numbers"):
        read_feature_file(tmp_path / name)
