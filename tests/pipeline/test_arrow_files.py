"""Tables of Apache Arrow: the same numbers as in the files that they are made from."""

import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cinefeat.pipeline import arrow_files
from cinefeat.pipeline.cli import _status

N_CLIPS, WIDTH = 7, 5
SCORES = "clip,label,predicted,run,sit\na,run,run,0.5,-1.5\nb,sit,run,2.0,-inf\n"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """As `cinefeat pack pool --scores` writes it."""
    path = tmp_path / "packed.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(stage="pool", digest="d", identity="{}")
        for name in ("clip", "label", "group", "split"):
            file[name] = [f"{name} {i}" for i in range(N_CLIPS)]
        file["fold"] = ["ann"]
        file["side"] = [["train"] * (N_CLIPS - 1) + ["test"]]
        rng = np.random.default_rng(0)
        file["features/hog.1x1x1"] = rng.normal(size=(N_CLIPS, WIDTH)).astype(np.float32)
        file["mirrored/hog.1x1x1"] = rng.normal(size=(N_CLIPS, WIDTH)).astype(np.float32)
        file["scores"] = [[i, -np.inf] for i in range(N_CLIPS - 1)] + [[np.nan] * 2]
        file["classes"] = ["run", "sit"]
    return path


def read(path: Path) -> Any:
    if path.suffix == ".parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(path)
    return pytest.importorskip("pyarrow.ipc").open_file(str(path)).read_all()


@pytest.mark.parametrize("suffix", arrow_files.KINDS)
def test_a_packed_file_is_a_table_of_the_same_numbers(
    packed: Path, suffix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    monkeypatch.setattr(arrow_files, "_BLOCK", 3)
    out = packed.with_suffix(suffix)
    assert _status(["export-table", str(packed), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"7 clips in {out}\n"
    table = read(out)
    with h5py.File(packed) as file:
        for name in ("clip", "label", "group", "split"):
            assert table[name].to_pylist() == file[name].asstr()[:].tolist()
        for name in ("features/hog.1x1x1", "mirrored/hog.1x1x1"):
            found = np.array(table[name].to_pylist(), np.float32)
            np.testing.assert_array_equal(found, file[name][:])
            assert str(table.schema.field(name).type).endswith("float>[5]")
    assert table["side/ann"].to_pylist() == ["train"] * 6 + ["test"]
    assert table["scores/run"].to_pylist() == [0, 1, 2, 3, 4, 5, None]
    assert table["scores/sit"].to_pylist() == [None] * 7
    assert table.schema.metadata[b"stage"] == b"pool"
    assert sorted(path.name for path in packed.parent.iterdir()) == sorted([out.name, packed.name])


def test_the_scores_of_a_report_are_a_column_per_class(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    (tmp_path / "report").mkdir()
    (tmp_path / "report/predictions.csv").write_text(SCORES)
    assert arrow_files.export_table(tmp_path / "report", tmp_path / "s.arrow") == 2
    assert read(tmp_path / "s.arrow").to_pydict() == {
        "clip": ["a", "b"], "label": ["run", "sit"],
        "scores/run": [0.5, 2.0], "scores/sit": [-1.5, None],
    }  # fmt: skip


def test_a_name_of_another_kind_and_a_file_of_bags_are_refused(
    packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    assert _status(["export-table", str(packed), "-o", "x.csv"]) == 2
    assert "ends in .parquet or .arrow" in capsys.readouterr().err
    with h5py.File(packed, "a") as file:
        del file["features"]
    assert _status(["export-table", str(packed), "-o", "x.parquet"]) == 2
    assert "holds no vectors" in capsys.readouterr().err


def test_without_pyarrow_one_sentence_says_what_to_install(
    packed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert _status(["export-table", str(packed), "-o", "x.parquet"]) == 2
    assert "pip install 'cinefeat[arrow]'" in capsys.readouterr().err
