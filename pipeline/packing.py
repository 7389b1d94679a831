"""One HDF5 file for other projects: a group per clip, readable with plain h5py."""

import os
from pathlib import Path

import h5py

from cinefeat.pipeline.plan import Node
from cinefeat.pipeline.store import SCHEMA, array_names, dataset, open_product, temporary_name


def pack_products(node: Node, output: Path) -> int:
    """Copy the products of a stage per clip into one file, atomically; return how many there were.

    The group of a clip is named by its id; slashes in ids make nested groups. A group that holds
    arrays has the attribute `clip`.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(output)
    n_packed = 0
    try:
        with h5py.File(temporary, "w") as packed:
            packed.attrs.update({"schema": SCHEMA, "stage": node.stage.name, "digest": node.digest})
            packed.attrs["identity"] = node.identity
            for clip in node.clips:
                path = node.product(clip.id)
                if not path.exists():
                    continue
                group = packed.create_group(clip.id)
                with open_product(path) as file:
                    for name in array_names(file):
                        file.copy(dataset(file, name), group, name=name)
                    group.attrs.update(file.attrs)
                group.attrs.update(label=clip.label, group=clip.group, split=clip.split)
                n_packed += 1
            packed.attrs["n_clips"] = n_packed
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return n_packed
