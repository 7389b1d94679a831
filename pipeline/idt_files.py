"""Trajectories as the text that the authors' programs print, DT and iDT alike.

A row per trajectory, a tab after each of 436 numbers: `info` (10), `trajectory` (30), `hog` (96),
`hof` (108), `mbhx` (96) and `mbhy` (96). The frame is printed as an integer, the next 39 with six
digits after the point, descriptors with seven. A clip is the file ``<clip id>.txt``, or
``<clip id>.txt.gz``.
"""

import gzip
import io
import itertools
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.store import temporary_name

WIDTHS = {"info": 10, "trajectory": 30, "hog": 96, "hof": 108, "mbhx": 96, "mbhy": 96}
N_COLUMNS = sum(WIDTHS.values())
SUFFIXES = (".txt", ".txt.gz")
_N_SHORT = WIDTHS["info"] + WIDTHS["trajectory"]
_ROW = "%d\t" + "%f\t" * (_N_SHORT - 1) + "%.7f\t" * (N_COLUMNS - _N_SHORT) + "\n"
_BLOCK = 1024  # rows read at a time

Rows = dict[str, NDArray[np.float32]]


def format_row(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the line of one trajectory.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        One row of each array in `WIDTHS`.

    Examples
    --------
    >>> zeros = {name: np.zeros(width, np.float32) for name, width in WIDTHS.items()}
    >>> format_row(zeros | {"info": np.full(10, 1.5)})[:20]
    '1\\t1.500000\\t1.500000\\t'
    """
    return _ROW % tuple(np.concatenate([arrays[name] for name in WIDTHS]).tolist())


def parse_rows(lines: Iterable[str]) -> Rows:
    """Return the arrays of some lines, float32, each (N, width as in `WIDTHS`); N may be 0.

    Raises
    ------
    ValueError
        If a line has not 436 numbers, or a number is NaN or infinite.
    """
    lines = [line for line in lines if line.strip()]
    table = np.empty((0, N_COLUMNS), np.float32)
    if lines:
        table = np.loadtxt(lines, np.float32, comments=None, ndmin=2)
    if table.shape[1] != N_COLUMNS:
        raise ValueError(
            f"has {table.shape[1]} columns; the authors' programs print {N_COLUMNS} with their "
            "default sizes"
        )
    if not np.isfinite(table).all():
        raise ValueError("holds NaN or infinity")
    ends = np.cumsum(list(WIDTHS.values()))[:-1]
    return dict(zip(WIDTHS, np.split(table, ends, axis=1), strict=True))


def find_idt_file(folder: Path, clip_id: str) -> Path:
    """Return the file of a clip in a folder.

    Raises
    ------
    ClipError
        If there is none, or the text and its compressed form both.
    """
    paths = [folder / f"{clip_id}{suffix}" for suffix in SUFFIXES]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise ClipError(f"there is neither {paths[0]} nor {paths[1].name}")
    if len(found) > 1:
        raise ClipError(f"there are both {paths[0]} and {paths[1].name}; keep one of them")
    return found[0]


def read_idt_file(path: Path) -> Iterator[Rows]:
    """Yield the rows of a file in blocks, in memory that does not grow with the file.

    Raises
    ------
    ClipError
        If the file is damaged or of another layout; the message tells the line where a block of
        such lines begins.
    """
    first = 1
    try:
        with _open(path) as file:
            while lines := list(itertools.islice(file, _BLOCK)):
                yield parse_rows(lines)
                first += len(lines)
    except ValueError as error:
        raise ClipError(f"{path}, from line {first} on, {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ClipError(f"{path} cannot be read: {error}") from error


def _open(path: Path) -> io.TextIOBase:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="ascii")
    return path.open(encoding="ascii")


def write_idt_file(path: Path, rows: Iterable[Mapping[str, np.ndarray]]) -> int:
    """Write one clip, compressed if the name ends in ``.gz``; the file appears when it is whole.

    Parameters
    ----------
    path : Path
    rows : iterable of mapping of str to ndarray
        What `format_row` takes, trajectory after trajectory.

    Returns
    -------
    int
        Rows written. The same rows give the same bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    n_rows = 0
    try:
        with temporary.open("wb") as raw, _compressor(raw, path) as file:
            for row in rows:
                file.write(format_row(row).encode("ascii"))
                n_rows += 1
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return n_rows


def _compressor(raw: io.BufferedWriter, path: Path) -> io.BufferedIOBase:
    if path.suffix != ".gz":
        return raw
    # neither name nor time in the header: both would differ from run to run
    return gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
