"""One HDF5 file for other projects: features, labels, groups and splits, read by any HDF5 library.

=====================  ============================================================================
``clip``               (n,) strings: clip ids, in the manifest's order
``label``              (n,) strings
``group``, ``split``   (n,) strings as in the manifest; empty where it has none
``fold``               (F,) strings: names of the protocol's folds
``side``               (F, n) strings: "train", "test" or "" for each fold and clip
``features/NAME``      (n, D): of stages with one vector per clip; a slash in a name is a point here,
                       ``hog.2x2x1``
``mirrored/NAME``      (n, D): the encodings of the mirror images, where there are any
``scores``             (n, C): with --scores, NaN for a clip without; -inf where a fold lacked a class
``classes``            (C,) strings: the columns of `scores`
``clips/ID/NAME``      the arrays of a clip, for all other stages; slashes in ids make nested groups
=====================  ============================================================================
"""

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from cinefeat.pipeline.disk import DiskFile, explained
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.plan import Node
from cinefeat.pipeline.protocol import Fold
from cinefeat.pipeline.score_files import Table
from cinefeat.pipeline.stages.encode import MIRRORED
from cinefeat.pipeline.store import (
    SCHEMA,
    array_names,
    dataset,
    open_product,
    read_arrays,
    temporary_name,
)

ONE_VECTOR = ("encode", "pool")
"""Stages whose products hold one vector per clip and array."""
_SIDE = h5py.string_dtype("ascii", 5)


def pack_products(
    node: Node, folds: Sequence[Fold], output: Path, scores: Table | None = None
) -> int:
    """Join the products of a stage per clip into one file, atomically; return how many there were.

    Parameters
    ----------
    node : Node
        Of a stage per clip. Clips without a product are left out.
    folds : sequence of Fold
        Whose sides are told; may be empty.
    output : Path
        The file, laid out as above. Groups of clips have the attributes of the clips' own files.
    scores : Table or None
        Scores of clips, to go with them; of some of the clips at least.

    Raises
    ------
    InputError
        If no clip has a product, vectors of one name differ in length, or no clip has scores.
    """
    clips = [clip for clip in node.clips if node.product(clip.id).exists()]
    if not clips:
        raise InputError(f"stage {node.stage.name} has no products yet; cinefeat run makes them")
    temporary = temporary_name(output)
    with explained(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        disk = DiskFile(temporary, output)
    try:
        with h5py.File(disk, "w") as packed:
            packed.attrs.update({"schema": SCHEMA, "stage": node.stage.name, "digest": node.digest})
            packed.attrs.update({"identity": node.identity, "n_clips": len(clips)})
            _write_table(packed, clips, folds)
            if scores is not None:
                _write_scores(packed, clips, scores)
            write = _write_vector if node.stage.name in ONE_VECTOR else _write_group
            for row, clip in enumerate(clips):
                write(packed, node, clip, row, len(clips))
                disk.check()
        disk.close()
        disk.check()
        with explained(output):
            os.replace(temporary, output)
    finally:
        disk.close()
        temporary.unlink(missing_ok=True)
    return len(clips)


def _write_table(packed: h5py.File, clips: Sequence[Clip], folds: Sequence[Fold]) -> None:
    columns = {
        "clip": [clip.id for clip in clips],
        "label": [clip.label for clip in clips],
        "group": [clip.group for clip in clips],
        "split": [clip.split for clip in clips],
        "fold": [fold.name for fold in folds],
    }
    for name, values in columns.items():
        packed.create_dataset(name, data=values, shape=(len(values),), dtype=h5py.string_dtype())
    sides = np.zeros((len(folds), len(clips)), "S5")
    for row, fold in zip(sides, folds, strict=True):
        for side in ("train", "test"):
            ids = set(getattr(fold, side))
            row[[clip.id in ids for clip in clips]] = side
    packed.create_dataset("side", data=sides, dtype=_SIDE)


def _write_scores(packed: h5py.File, clips: Sequence[Clip], table: Table) -> None:
    if table.clips is None or table.classes is None:
        raise InputError("--scores does not tell the clips and classes of its scores")
    row_of = dict(zip(table.clips.tolist(), table.scores, strict=True))
    if not any(clip.id in row_of for clip in clips):
        raise InputError(f"--scores has none of the clips, such as {clips[0].id!r}")
    nothing = np.full(len(table.classes), np.nan)
    packed["scores"] = np.stack([row_of.get(clip.id, nothing) for clip in clips])
    names = table.classes.astype(np.str_).tolist()
    packed.create_dataset("classes", data=names, dtype=h5py.string_dtype())


def _write_vector(packed: h5py.File, node: Node, clip: Clip, row: int, n_clips: int) -> None:
    for name, vector in read_arrays(node.product(clip.id)).items():
        key = vector_name(name)
        if row == 0:
            packed.create_dataset(key, (n_clips, *vector.shape), vector.dtype)
        if key not in packed or packed[key].shape[1:] != vector.shape:
            raise InputError(f"clip {clip.id}: {name} is not as that of the first clip")
        packed[key][row] = vector


def vector_name(name: str) -> str:
    """Return the name in a packed file of an array with one vector per clip.

    Examples
    --------
    >>> vector_name("hog/2x2x1"), vector_name("mirrored/hog")
    ('features/hog.2x2x1', 'mirrored/hog')
    """
    folder = "mirrored" if name.startswith(MIRRORED) else "features"
    return f"{folder}/{name.removeprefix(MIRRORED).replace('/', '.')}"


def _write_group(packed: h5py.File, node: Node, clip: Clip, row: int, n_clips: int) -> None:
    group = packed.require_group("clips").create_group(clip.id)
    with open_product(node.product(clip.id)) as file:
        for name in array_names(file):
            file.copy(dataset(file, name), group, name=name)
        group.attrs.update(file.attrs)
    group.attrs.update(label=clip.label, group=clip.group, split=clip.split)
