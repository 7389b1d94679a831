"""Two feature files held against each other: arrays, shapes, rows and the first difference."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.store import read_arrays

PICKLES = (".pkl", ".pickle", ".p")


@dataclass(frozen=True)
class Comparison:
    """What two arrays of one name have in common.

    Parameters
    ----------
    name : str
    cosines : ndarray of shape (n,), float64
        Of each row of the one with that of the other: 1 for equal directions, also for two rows of
        zeros; 0 if one alone is zero. Empty where shapes differ or values are no numbers.
    largest : float
        Largest absolute difference.
    first : tuple of int or None
        Index of the first value that differs, None if none does.
    values : tuple of str
        The two values there; the two shapes and dtypes where these differ.
    """

    name: str
    cosines: NDArray[np.float64]
    largest: float
    first: tuple[int, ...] | None
    values: tuple[str, str] | None

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs by more than was allowed."""
        return self.values is None


def refuse_pickle(path: Path | str) -> None:
    """Raise `InputError` for a name that pickles have."""
    if Path(path).suffix.lower() in PICKLES:
        raise InputError(
            f"{path} is a pickle, which can run any code when it is read, and is never loaded: "
            "have the program that wrote it save its arrays by numpy.save as .npy"
        )


def read_feature_file(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.h5``, ``.npz`` or ``.npy`` file; the latter's has the name "".

    Raises
    ------
    InputError
        If the file is of another kind, damaged, or holds pickled values: a pickle can run code
        when it is read, and is never loaded.
    """
    refuse_pickle(path)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"{path} does not exist, or is not a file")
    if suffix in (".h5", ".hdf5"):
        return read_arrays(path)
    if suffix not in (".npy", ".npz"):
        raise InputError(f"{path}: features come as .h5, .npz or .npy")
    try:
        found = np.load(path, allow_pickle=False)
        return {"": found} if suffix == ".npy" else dict(found)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a {suffix} file of plain numbers: {error}") from error


def compare_arrays(
    name: str, a: np.ndarray, b: np.ndarray, *, rtol: float = 0.0, atol: float = 0.0
) -> Comparison:
    """Compare two arrays value by value and row by row.

    Parameters
    ----------
    a, b : ndarray
        Rows along the first axis.
    rtol, atol : float
        Values are equal if they differ by at most ``atol + rtol |b|``; NaN equals NaN.

    Examples
    --------
    >>> found = compare_arrays("x", np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 0.0], [2.0, 2.0]]))
    >>> found.cosines.round(4).tolist(), found.first, found.values
    ([1.0, 0.7071], (1, 0), ('0.0', '2.0'))
    """
    none = np.empty(0)
    if a.shape != b.shape:
        shapes = tuple(f"{'x'.join(map(str, x.shape)) or 'scalar'} {x.dtype}" for x in (a, b))
        return Comparison(name, none, np.inf, None, (shapes[0], shapes[1]))
    is_number = all(x.dtype.kind in "biuf" for x in (a, b))
    if not is_number:
        return _located(name, a, b, none, np.nan, a.astype(str) != b.astype(str))
    x, y = a.astype(np.float64), b.astype(np.float64)
    gap = np.abs(x - y)
    differs = ~((gap <= atol + rtol * np.abs(y)) | (np.isnan(x) & np.isnan(y)))
    largest = float(np.nanmax(gap)) if gap.size and not np.isnan(gap).all() else 0.0
    return _located(name, a, b, row_cosines(x, y), largest, differs)


def _located(
    name: str,
    a: np.ndarray,
    b: np.ndarray,
    cosines: NDArray[np.float64],
    largest: float,
    differs: NDArray[np.bool_],
) -> Comparison:
    if not differs.any():
        return Comparison(name, cosines, largest, None, None)
    first = tuple(int(i) for i in np.unravel_index(int(differs.argmax()), differs.shape))
    return Comparison(name, cosines, largest, first, (str(a[first]), str(b[first])))


def row_cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosine of each row of `a` with that of `b`; two rows of zeros have 1.

    Examples
    --------
    >>> row_cosines(np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[6.0, 8.0], [0.0, 0.0]]))
    array([1., 1.])
    """
    a, b = (x.reshape(len(x), -1) if x.ndim else x.reshape(1, 1) for x in (a, b))
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    product = np.where(lengths[0] * lengths[1] > 0, lengths[0] * lengths[1], 1.0)
    cosines = (a * b).sum(axis=1) / product
    both_zero = (lengths[0] == 0) & (lengths[1] == 0)
    return np.asarray(np.where(both_zero, 1.0, cosines))


def missing_names(
    a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]
) -> tuple[list[str], list[str]]:
    """Return the names that only the first and only the second has."""
    return [n for n in a if n not in b], [n for n in b if n not in a]
