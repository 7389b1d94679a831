"""Features of clips as other programs write them: arrays of numpy, and the blobs of C3D.

A ``.npy`` file holds a row per window, (M, D), or one vector (D,), as video_features writes them. A
blob of C3D's Caffe, such as ``000016.fc6-1``, holds one window: five integers of 32 bits (number,
channels, length, height, width), then as many floats of 32 bits as their product, all little-endian;
its name is the first frame, counted as the least name of the clip says: from 0, or from 1.
"""

import glob
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cinefeat.pipeline.errors import ClipError

_SIZES = 5  # integers that a blob begins with
Rows = NDArray[np.float32]


def find_feature_files(folder: Path, pattern: str, clip_id: str) -> list[Path]:
    """Return the files of a clip in a folder, by name.

    Parameters
    ----------
    folder : Path
    pattern : str
        Of their paths below it, with ``{clip}`` for the clip's id and ``*`` for anything in a name.
    clip_id : str

    Raises
    ------
    ClipError
        If there is none, or several of which one is a ``.npy``.
    """
    found = sorted(folder.glob(pattern.replace("{clip}", glob.escape(clip_id))))
    if not found:
        raise ClipError(f"there is no file {folder / pattern.replace('{clip}', clip_id)}")
    if len(found) > 1 and any(path.suffix == ".npy" for path in found):
        raise ClipError(f"there are both {found[0]} and {found[1].name}; a clip has one .npy file")
    return found


def read_features(paths: list[Path]) -> tuple[Rows, NDArray[np.int64] | None]:
    """Read the features of a clip.

    Parameters
    ----------
    paths : list of Path
        One ``.npy`` file, or the blobs of the clip.

    Returns
    -------
    rows : ndarray of shape (M, D), float32
        M is at least 1.
    first : ndarray of shape (M,) or None
        The first frame of each row, from 0, ascending; None where files do not tell.

    Raises
    ------
    ClipError
        If a file is damaged, holds no rows of finite numbers, or blobs differ in length.
    """
    if paths[0].suffix == ".npy":
        return _finite(paths[0], _read_npy(paths[0])), None
    numbers = np.array([_number(path) for path in paths])
    order = np.argsort(numbers, kind="stable")
    blobs = [_finite(paths[i], read_blob(paths[i])) for i in order]
    odd = next((i for i, blob in enumerate(blobs) if blob.shape != blobs[0].shape), None)
    if odd is not None:
        raise ClipError(
            f"{paths[order[odd]]} has {blobs[odd].size} numbers, {paths[order[0]].name} "
            f"{blobs[0].size}: they are of other layers"
        )
    return np.concatenate(blobs), numbers[order] - (1 if numbers.min() == 1 else 0)


def read_blob(path: Path) -> Rows:
    """Return the numbers of a blob of C3D as one row, (1, D) float32.

    Raises
    ------
    ClipError
        If the file has not the size that it says.
    """
    data = path.read_bytes()
    sizes = np.frombuffer(data[: 4 * _SIZES], "<i4") if len(data) >= 4 * _SIZES else np.zeros(1)
    n_values = int(np.prod(sizes.astype(np.int64)))
    if n_values < 1 or sizes.min() < 1 or sizes[0] != 1 or len(data) != 4 * (_SIZES + n_values):
        raise ClipError(
            f"{path} is not a blob of C3D: five integers of which the first is 1, and as many "
            f"floats as their product; it has {len(data)} bytes"
        )
    return np.frombuffer(data, "<f4", offset=4 * _SIZES)[None].astype(np.float32)


def _read_npy(path: Path) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ClipError(f"{path} is not a .npy file of plain numbers: {error}") from error
    if found.dtype.kind not in "fiu" or found.ndim not in (1, 2) or not found.size:
        raise ClipError(f"{path} has shape {found.shape} of {found.dtype}; give (M, D) numbers")
    return np.atleast_2d(found)


def _finite(path: Path, rows: np.ndarray) -> Rows:
    rows = rows.astype(np.float32)
    if not np.isfinite(rows).all():
        raise ClipError(f"{path} holds NaN or infinity")
    return rows


def _number(path: Path) -> int:
    stem = path.name.partition(".")[0]
    if not (stem.isascii() and stem.isdigit()):
        raise ClipError(f"{path}: the name of a blob is its first frame, as 000016.fc6-1")
    return int(stem)
