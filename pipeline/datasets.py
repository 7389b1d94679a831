"""Packed features in a user's own project: arrays for scikit-learn, a data set for torch.

::

    from cinefeat.pipeline.datasets import load_fold, load_packed

    data = load_packed("encodings.h5")                      # .features, .labels, .groups, .splits
    train, test = load_fold("encodings.h5", "daria")        # the sides of one fold

    from cinefeat.pipeline.datasets import PackedDataset

    loader = DataLoader(PackedDataset("encodings.h5", fold="daria", side="train"), batch_size=32)

The file is what `cinefeat pack` writes. Nothing here needs the store, the recipe or the videos.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Packed", "PackedDataset", "load_fold", "load_packed"]

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.store import array_names, dataset, open_product

Strings = NDArray[np.str_]
_SIDES = ("train", "test")


class Packed(NamedTuple):
    """Features of n clips and what is known of each.

    Parameters
    ----------
    features : ndarray of shape (n, D), or list of n ndarrays of shape (N_i, D)
        One vector per clip, the arrays asked for side by side; or one bag per clip.
    labels, groups, splits, clips : ndarray of shape (n,), strings
        Groups and splits as in the manifest, empty where it has none.
    """

    features: Any
    labels: Strings
    groups: Strings
    splits: Strings
    clips: Strings


def load_packed(path: Path | str, names: Sequence[str] = ()) -> Packed:
    """Load the features, labels, groups and splits of a packed file.

    Parameters
    ----------
    path : path
        Written by `cinefeat pack`.
    names : sequence of str
        Arrays to load, side by side where there are several. By default all of a file with one
        vector per clip; a file of bags has to be asked for one.

    Raises
    ------
    InputError
        If the file is not a packed one, or lacks an array.

    Examples
    --------
    ::

        data = load_packed("encodings.h5")
        scores = cross_val_score(LinearSVC(), data.features, data.labels, groups=data.groups,
                                 cv=LeaveOneGroupOut())
    """
    with _open(Path(path)) as file:
        clips = _strings(file, "clip")
        labels, groups, splits = (_strings(file, name) for name in ("label", "group", "split"))
        return Packed(_features(file, clips, names), labels, groups, splits, clips)


def load_fold(
    path: Path | str, fold: str | None = None, names: Sequence[str] = ()
) -> tuple[Packed, Packed]:
    """Load the training and the test side of one fold of a packed file.

    Parameters
    ----------
    path, names
        As `load_packed`.
    fold : str or None
        Name of a fold; None takes the only one.

    Raises
    ------
    InputError
        As `load_packed`, and if there is no such fold.
    """
    data = load_packed(path, names)
    with _open(Path(path)) as file:
        sides = _sides(file, fold)
    train, test = (_rows(data, np.flatnonzero(sides == side)) for side in _SIDES)
    return train, test


class PackedDataset(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """The clips of a packed file as a data set of torch: pairs of features and class number.

    The file is opened once in each worker process, and read row by row.

    Parameters
    ----------
    path : path
        Written by `cinefeat pack`.
    names : sequence of str
        As in `load_packed`; the vectors are put side by side.
    fold, side : str or None
        Only the clips of the side "train" or "test" of a fold; None takes all clips. A side without
        a fold is that of the only fold.

    Attributes
    ----------
    classes : tuple of str
        All labels of the file, sorted: class number k is ``classes[k]``, on either side.
    labels, groups, clips : ndarray of shape (n,), strings
        Of the clips of the set.

    Raises
    ------
    InputError
        As `load_fold`.
    """

    def __init__(
        self,
        path: Path | str,
        names: Sequence[str] = (),
        *,
        fold: str | None = None,
        side: str | None = None,
    ) -> None:
        if (side is None and fold is not None) or side not in (None, *_SIDES):
            raise InputError(f"side is {side!r}; give 'train' or 'test' of a fold, or neither")
        self._path, self._file = Path(path), None
        with _open(self._path) as file:
            self._names = _names(file, names)
            labels, groups, clips = (_strings(file, name) for name in ("label", "group", "clip"))
            every = np.arange(len(clips))
            self._rows = every if side is None else np.flatnonzero(_sides(file, fold) == side)
        self.classes = tuple(sorted(set(labels.tolist())))
        self.labels, self.groups, self.clips = (
            column[self._rows] for column in (labels, groups, clips)
        )
        self._targets = np.searchsorted(self.classes, self.labels)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if self._file is None:
            self._file = _open(self._path)
        array = _of_clip(self._file, self._names, int(self._rows[index]), str(self.clips[index]))
        return torch.from_numpy(array), int(self._targets[index])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}  # an open file does not travel to a worker


def _open(path: Path) -> h5py.File:
    file = open_product(path)
    missing = {"clip", "label", "group", "split", "fold", "side"} - set(file)
    if missing:
        file.close()
        raise InputError(f"{path} is not a file of `cinefeat pack`: it has no {min(missing)!r}")
    return file


def _strings(file: h5py.File, name: str) -> Strings:
    return np.asarray(dataset(file, name).asstr()[...], np.str_)


def _names(file: h5py.File, names: Sequence[str]) -> tuple[str, ...]:
    """Return the arrays to read: those asked for, or all vectors."""
    if "features" in file:
        found = array_names(file["features"])
    else:
        clips = _strings(file, "clip")
        found = array_names(file[f"clips/{clips[0]}"])
        if len(names) != 1:
            raise InputError(f"{file.filename} holds bags: name one of {', '.join(found)}")
    for name in names:
        if name not in found:
            raise InputError(f"{file.filename} has no {name!r}; it has {', '.join(found)}")
    return tuple(names or found)


def _features(file: h5py.File, clips: Strings, names: Sequence[str]) -> Any:
    chosen = _names(file, names)
    if "features" in file:
        columns = [dataset(file, f"features/{name}")[...] for name in chosen]
        return np.concatenate(columns, axis=1)
    return [_of_clip(file, chosen, i, str(clip)) for i, clip in enumerate(clips)]


def _of_clip(file: h5py.File, names: Sequence[str], row: int, clip: str) -> np.ndarray:
    if "features" in file:
        return np.concatenate([dataset(file, f"features/{name}")[row] for name in names])
    return np.asarray(dataset(file, f"clips/{clip}/{names[0]}")[...])


def _sides(file: h5py.File, fold: str | None) -> Strings:
    names = _strings(file, "fold").tolist()
    if fold is None and len(names) == 1:
        (fold,) = names
    if fold not in names:
        told = ", ".join(names) or "none; pack with --protocol"
        raise InputError(f"{file.filename} has no fold {fold!r}; its folds: {told}")
    return np.asarray(dataset(file, "side").asstr()[names.index(fold)], np.str_)


def _rows(data: Packed, rows: NDArray[np.int64]) -> Packed:
    features = data.features
    chosen = features[rows] if isinstance(features, np.ndarray) else [features[i] for i in rows]
    return Packed(chosen, *(column[rows] for column in data[1:]))
