"""One HDF5 file for other projects: a group per clip, readable with plain h5py."""

import os
from pathlib import Path

import h5py

from cinefeat.pipeline.disk import DiskFile, explained
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.plan import Node
from cinefeat.pipeline.store import SCHEMA, array_names, dataset, open_product, temporary_name


def pack_products(node: Node, output: Path) -> int:
    """Copy the products of a stage per clip into one file, atomically; return how many there were.

    The group of a clip is named by its id; slashes in ids make nested groups. A group that holds
    arrays has the attribute `clip`.
    """
    temporary = temporary_name(output)
    with explained(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        disk = DiskFile(temporary, output)
    try:
        with h5py.File(disk, "w") as packed:
            packed.attrs.update({"schema": SCHEMA, "stage": node.stage.name, "digest": node.digest})
            packed.attrs["identity"] = node.identity
            there = [clip for clip in node.clips if node.product(clip.id).exists()]
            for clip in there:
                _copy(node, clip, packed.create_group(clip.id))
                disk.check()
            packed.attrs["n_clips"] = len(there)
        disk.close()
        disk.check()
        with explained(output):
            os.replace(temporary, output)
    finally:
        disk.close()
        temporary.unlink(missing_ok=True)
    return len(there)


def _copy(node: Node, clip: Clip, group: h5py.Group) -> None:
    with open_product(node.product(clip.id)) as file:
        for name in array_names(file):
            file.copy(dataset(file, name), group, name=name)
        group.attrs.update(file.attrs)
    group.attrs.update(label=clip.label, group=clip.group, split=clip.split)
