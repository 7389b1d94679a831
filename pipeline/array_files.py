"""Products as files of numpy: one .npz, or a folder of .npy, whole if it is there."""

import contextlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np

from cinefeat.pipeline.disk import explained
from cinefeat.pipeline.store import read_arrays, read_attrs, temporary_name, write_bytes

ATTRIBUTES = "attributes"


def export_product(product: Path, target: Path) -> None:
    """Write the arrays and the attributes of a product, atomically; an older export is replaced.

    Parameters
    ----------
    product : Path
    target : Path
        A name in ``.npz`` gives one file, with the attributes as a text of JSON under
        "attributes"; any other a folder with a ``.npy`` per array, in folders of their own where
        names have slashes, and ``attributes.json``.

    Raises
    ------
    InputError
        If the product is damaged, or the disk refuses.
    """
    arrays = {name: _plain(array) for name, array in read_arrays(product).items()}
    about = json.dumps(read_attrs(product), sort_keys=True, indent=1)
    if target.suffix == ".npz":
        packed = io.BytesIO()
        np.savez(packed, allow_pickle=False, **{**arrays, ATTRIBUTES: np.array(about)})
        write_bytes(target, packed.getvalue())
    else:
        _write_folder(target, arrays, about)


def _plain(array: np.ndarray) -> np.ndarray:
    """Return strings at a fixed length, which numpy writes without a pickle."""
    return array.astype(np.str_) if array.dtype.kind == "O" else array


def _write_folder(target: Path, arrays: dict[str, np.ndarray], about: str) -> None:
    temporary, old = temporary_name(target), temporary_name(target.with_name(f"{target.name}.old"))
    with explained(target):
        try:
            for name, array in arrays.items():
                path = temporary / f"{name}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, array, allow_pickle=False)
            (temporary / f"{ATTRIBUTES}.json").write_text(about + "\n", encoding="utf-8")
            with contextlib.suppress(FileNotFoundError):
                os.rename(target, old)
            os.rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
