"""Files of scores: the matrix in each, and what of its names it holds.

=====================  ============================================================================
report folder          of `cinefeat run` or `cinefeat fuse`: its ``predictions.csv``
``.csv``               the columns ``clip`` (or ``path``, ``file``, ``video``), if wanted ``label``,
                       ``group``, ``predicted``; every other column is a class
``.h5``, ``.hdf5``     arrays `scores`, `clip`, `classes` (a product of the evaluate stage), or any
                       one matrix, with or without an array of names
``.mat``               MATLAB up to v7.3: one matrix, if wanted a cell of clip names and a vector of
                       true class numbers from 1, which is checked against the labels
``.npy``               one matrix
=====================  ============================================================================

Files with several matrices are named ``FILE:MATRIX``. Pickled arrays are refused.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.store import array_names, dataset, open_product, read_arrays

_NAME_COLUMNS = ("clip", "path", "file", "video")
_TOLD_COLUMNS = (*_NAME_COLUMNS, "label", "group", "predicted")
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Table:
    """The matrix of a file, and what of its names the file holds.

    Parameters
    ----------
    scores : ndarray of shape (n, n_classes), float64
    clips, classes, labels : ndarray of strings, or None
    truth : ndarray of shape (n,), int64, or None
        Column of the true class of each row.
    """

    scores: np.ndarray
    clips: np.ndarray | None = None
    classes: np.ndarray | None = None
    labels: np.ndarray | None = None
    truth: np.ndarray | None = None


def read_table(system: str) -> Table:
    """Read the matrix of a file or report folder, ``PATH`` or ``PATH:MATRIX``.

    Raises
    ------
    InputError
        If there is no such file, its kind is unknown, or it has no matrix or several.
    """
    path, wanted = _split(system)
    if path.is_dir():
        path = path / "predictions.csv"
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise InputError(f"{path}: scores come as a report folder or a file of kind {known}")
    if not path.is_file():
        raise InputError(f"{path} does not exist: it is where scores were looked for")
    table: Table = reader(path, wanted)
    return table


def _split(system: str) -> tuple[Path, str]:
    """Return the path and the name of the matrix, which may be empty."""
    path, colon, matrix = system.rpartition(":")
    if not colon or Path(system).exists():
        return Path(system), ""
    return Path(path), matrix


def _read_csv(path: Path, wanted: str) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file, strict=True) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not CSV in UTF-8: {error}") from error
    told = {name: header.index(name) for name in _TOLD_COLUMNS if name in header}
    by = next((name for name in _NAME_COLUMNS if name in told), None)
    at = [i for i in range(len(header)) if i not in told.values()]
    if by is None or not rows or not at:
        raise InputError(f"{path} needs a column clip, a column per class, and a row per clip")
    if any(len(row) != len(header) for row in rows):
        raise InputError(f"{path} has a row with another number of fields than its header")
    try:
        scores = np.array([[float(row[i]) for i in at] for row in rows])
    except ValueError as error:
        raise InputError(f"{path} holds a score that is not a number: {error}") from error
    column = {name: np.array([row[i] for row in rows]) for name, i in told.items()}
    classes = np.array([header[i] for i in at])
    return Table(scores, column[by], classes, column.get("label"))


def _read_npy(path: Path, wanted: str) -> Table:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is not an .npy file of numbers: {error}") from error
    return _pick(path, {"": array}, "")


def _read_hdf5(path: Path, wanted: str) -> Table:
    arrays = read_arrays(path)
    ours = {"scores", "clip", "classes"} <= arrays.keys() and wanted in ("", "scores")
    if not ours:
        return _pick(path, arrays, wanted)
    names = (arrays["clip"], arrays["classes"], arrays.get("label"))
    return Table(np.asarray(arrays["scores"], np.float64), *names)


def _read_mat(path: Path, wanted: str) -> Table:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if h5py.is_hdf5(path):
        return _pick(path, _matlab73(path), wanted, first=1)
    try:
        found = loadmat(path, chars_as_strings=True)
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError) as error:
        raise InputError(f"{path} is not a readable MATLAB file: {error}") from error
    arrays = {name: _cells(value) for name, value in found.items() if not name.startswith("__")}
    return _pick(path, arrays, wanted, first=1)


def _cells(value: Any) -> np.ndarray:
    """Return a cell array of texts as an array of strings, and anything else as it is."""
    array = np.asarray(value)
    if array.dtype.kind != "O":
        return array
    texts = [np.asarray(cell).squeeze() for cell in array.ravel()]
    if not all(text.dtype.kind == "U" and text.ndim == 0 for text in texts):
        return np.empty(0)  # a cell array of something else is no scores
    return np.array([str(text) for text in texts])


def _matlab73(path: Path) -> Arrays:
    """Read the variables of a v7.3 file, which holds columns as rows, and texts as numbers."""
    arrays: Arrays = {}
    with open_product(path) as file:
        for name in array_names(file):
            if name.startswith("#"):
                continue
            node = dataset(file, name)
            if node.attrs.get("MATLAB_class") == b"cell":
                arrays[name] = np.array([_text(file[cell]) for cell in node[...].T.ravel()])
            elif node.dtype.kind in "iuf":
                arrays[name] = node[...].T
    return arrays


def _text(cell: h5py.Dataset) -> str:
    return "".join(map(chr, np.asarray(cell[...]).T.ravel())) if cell.dtype == np.uint16 else ""


def _pick(path: Path, arrays: Mapping[str, np.ndarray], wanted: str, first: int = 0) -> Table:
    """Find the matrix of scores among the arrays of a file, and the names that fit its rows."""
    matrices = {
        name: array
        for name, array in arrays.items()
        if array.dtype.kind in "iuf" and array.ndim == 2 and min(array.shape) > 1
    }
    chosen = wanted if wanted else next(iter(matrices), "")
    if chosen not in matrices or (not wanted and len(matrices) > 1):
        raise InputError(
            f"{path} holds {len(matrices)} matrices ({', '.join(matrices) or 'none'}): name one as "
            f"{path}:MATRIX"
        )
    scores = np.asarray(matrices[chosen], np.float64)
    vectors = [array.ravel() for array in arrays.values() if array.size == len(scores)]
    names = [vector for vector in vectors if vector.dtype.kind in "UO"]
    numbers = [vector for vector in vectors if _are_classes(vector, scores.shape[1], first)]
    return Table(
        scores,
        names[0].astype(np.str_) if len(names) == 1 else None,
        truth=numbers[0].astype(np.int64) - first if first and len(numbers) == 1 else None,
    )


def _are_classes(vector: np.ndarray, n_classes: int, first: int) -> bool:
    """Whether a vector may hold class numbers that count from `first`."""
    if vector.dtype.kind not in "iuf" or not np.all(vector == np.floor(vector)):
        return False
    return bool(vector.min() >= first and vector.max() < n_classes + first)


_READERS = {
    ".csv": _read_csv,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".mat": _read_mat,
    ".npy": _read_npy,
}
