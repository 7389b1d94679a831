"""Trajectories as the authors' text: there and back, the very bytes, and what is refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.idt_files import (
    N_COLUMNS,
    WIDTHS,
    find_idt_file,
    format_row,
    parse_rows,
    read_idt_file,
    write_idt_file,
)

REFERENCE = "reference/idt/person01_boxing_d1.authors_dt.txt.gz"
ZEROS = format_row({name: np.zeros(width, np.float32) for name, width in WIDTHS.items()})


def _rows(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    arrays = {name: rng.random((n, width), np.float32) for name, width in WIDTHS.items()}
    arrays["info"][:, 0] = np.arange(n) + 15
    return arrays


def _each(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    return [{name: array[i] for name, array in arrays.items()} for i in range(len(arrays["info"]))]


def _joined(path: Path) -> dict[str, np.ndarray]:
    blocks = list(read_idt_file(path))
    return {name: np.concatenate([block[name] for block in blocks]) for name in WIDTHS}


def test_a_row_has_an_integer_then_39_of_six_digits_then_396_of_seven() -> None:
    arrays = {name: np.full(width, 0.25, np.float32) for name, width in WIDTHS.items()}
    arrays["info"][0] = 21
    assert format_row(arrays) == "21\t" + "0.250000\t" * 39 + "0.2500000\t" * 396 + "\n"


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_arrays_survive_the_text_to_the_printed_digit(tmp_path: Path, suffix: str) -> None:
    arrays = _rows(1500)  # more than one block
    assert write_idt_file(tmp_path / f"clip{suffix}", _each(arrays)) == 1500
    read = _joined(tmp_path / f"clip{suffix}")
    for name, array in arrays.items():
        digits = 6 if name in ("info", "trajectory") else 7
        np.testing.assert_allclose(read[name], array, rtol=1e-7, atol=0.51 * 10.0**-digits)


def test_the_authors_file_comes_back_byte_for_byte(tmp_path: Path, shared: Path) -> None:
    source = shared / REFERENCE
    rows = _joined(source)
    assert len(rows["info"]) == 2092
    write_idt_file(tmp_path / "clip.txt", _each(rows))
    assert (tmp_path / "clip.txt").read_bytes() == gzip.decompress(source.read_bytes())


def test_the_same_rows_give_the_same_compressed_bytes(tmp_path: Path) -> None:
    for name in ("a.txt.gz", "b.txt.gz"):
        write_idt_file(tmp_path / name, _each(_rows(3)))
    assert (tmp_path / "a.txt.gz").read_bytes() == (tmp_path / "b.txt.gz").read_bytes()


@pytest.mark.parametrize("lines", [[], ["\n"]])
def test_no_rows_are_arrays_of_no_rows(lines: list[str]) -> None:
    assert {name: rows.shape for name, rows in parse_rows(lines).items()} == {
        name: (0, width) for name, width in WIDTHS.items()
    }


def test_spaces_and_a_missing_last_tab_do_not_matter() -> None:
    line = " ".join(str(i) for i in range(N_COLUMNS))
    rows = parse_rows([line])
    assert rows["info"][0, 9] == 9
    assert rows["mbhy"][0, -1] == N_COLUMNS - 1


@pytest.mark.parametrize(
    "lines, reason",
    [
        (["1\t2\t3\t\n"], "has 3 columns; the authors' programs print 436"),
        ([ZEROS, "0\t" + ZEROS], "number of columns changed"),
        ([ZEROS.replace("0.0000000", "nan", 1)], "NaN or infinity"),
        ([ZEROS.replace("0.0000000", "-inf", 1)], "NaN or infinity"),
        ([ZEROS.replace("0.0000000", "x", 1)], "could not convert string 'x'"),
    ],
)
def test_lines_of_another_layout_are_refused(lines: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_rows(lines)


def test_the_place_of_a_bad_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "clip.txt").write_text(ZEROS * 2000 + "1\t2\n")
    with pytest.raises(ClipError, match=r"clip\.txt, from line 1025 on, .*columns"):
        list(read_idt_file(tmp_path / "clip.txt"))


@pytest.mark.parametrize("keep", [-40, 5])
def test_a_compressed_file_that_is_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "clip.txt.gz"
    write_idt_file(path, _each(_rows(200)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ClipError, match="cannot be read"):
        list(read_idt_file(path))


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ClipError, match=r"clip\.txt, from line 1"):
        list(read_idt_file(tmp_path / "clip.txt"))


def test_a_clip_has_one_file_plain_or_compressed(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"neither .*wave/a\.txt nor a\.txt\.gz"):
        find_idt_file(tmp_path, "wave/a")
    write_idt_file(tmp_path / "wave/a.txt.gz", [])
    assert find_idt_file(tmp_path, "wave/a") == tmp_path / "wave/a.txt.gz"
    write_idt_file(tmp_path / "wave/a.txt", [])
    with pytest.raises(ClipError, match="both"):
        find_idt_file(tmp_path, "wave/a")


def test_a_failure_leaves_neither_a_file_nor_a_temporary(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_idt_file(tmp_path / "clip.txt", [{}])
    assert list(tmp_path.iterdir()) == []
