"""What is in a product, in words, and whether it is what it claims to be."""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.plan import DIGEST_LETTERS
from cinefeat.pipeline.store import array_names, dataset, open_product

# array name -> what it holds; the glossary of the file contract
MEANINGS = {
    "flow": "displacement x, y to the next frame, as codes: pixels = (code - zero) * bound / 127.5",
    "frame": "index of the frame that the row belongs to",
    "seconds": "time of that frame in the video",
    "start_frame": "index of the first frame of the row",
    "end_frame": "index of the last frame of the row",
    "start_seconds": "time of the first frame of the row",
    "end_seconds": "time of the last frame of the row",
    "info": "end frame, mean x, y, std x, y, length (pixels), scale, then x, y, t in 0..1",
    "points": "tracked points x, y in pixels of the frame",
    "trajectory": "displacements divided by the length of the track",
    "hog": "histograms of oriented gradients along the track",
    "hof": "histograms of optical flow along the track",
    "mbhx": "histograms of the gradient of the flow's x component",
    "mbhy": "histograms of the gradient of the flow's y component",
    "scores": "margin of each clip (row) for each class (column)",
    "classes": "labels, in the order of the columns of scores",
    "clip": "clip ids, in the order of the rows of scores",
    "label": "true labels of the rows",
    "predicted": "labels of greatest score",
    "codewords": "centres of the k-means clusters",
}


def describe_file(path: Path) -> str:
    """Return the attributes and arrays of an HDF5 file as text."""
    with open_product(path) as file:
        lines = [str(path), ""]
        lines += [f"  {key}: {_words(value)}" for key, value in file.attrs.items()]
        lines += ["", "arrays:"]
        for name in array_names(file):
            lines += _array_lines(name, dataset(file, name))
        return "\n".join(lines) + "\n"


def problem_of(path: Path, store: Path) -> str | None:
    """Return what is wrong with one product of a store, or None.

    A product is right if every array can be read to its end and is finite, and if the digest that it
    carries is that of its identity and of its folder.
    """
    try:
        with open_product(path) as file:
            for name in array_names(file):
                array = dataset(file, name)
                for start in range(0, len(array) if array.ndim else 0, 256):
                    rows = array[start : start + 256]
                    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
                        return f"array {name!r} holds NaN or infinity"
            attrs = dict(file.attrs)
    except (InputError, OSError) as error:
        return str(error)
    return _identity_problem(attrs, path.relative_to(store).parts)


def _identity_problem(attrs: dict[str, Any], parts: tuple[str, ...]) -> str | None:
    if not {"identity", "digest", "stage"} <= attrs.keys():
        return "has no identity: it is not a product of this program"
    if hashlib.sha256(attrs["identity"].encode()).hexdigest() != attrs["digest"]:
        return "its digest is not that of its identity"
    if parts[:2] != (attrs["stage"], attrs["digest"][:DIGEST_LETTERS]):
        return f"it lies in {'/'.join(parts[:2])} but its digest is {attrs['digest']}"
    clip = attrs.get("clip")
    if clip is not None and "/".join(parts[2:]) != f"{clip}.h5":
        return f"it is the product of clip {clip!r}"
    return None


def _array_lines(name: str, array: h5py.Dataset) -> list[str]:
    meaning = MEANINGS.get(name.split("/")[-1].rstrip("_")) or MEANINGS.get(name.split("/")[0], "")
    notes = ", ".join(f"{key} {_words(value)}" for key, value in array.attrs.items())
    shape = "x".join(map(str, array.shape)) or "scalar"
    lines = [f"  {name}  {shape} {array.dtype}{_range(array)}"]
    return lines + [f"      {text}" for text in (meaning, notes) if text]


def _range(array: h5py.Dataset) -> str:
    if array.dtype.kind not in "iuf" or array.size == 0:
        return ""
    head = (
        array[: max(1, 4_000_000 // max(1, int(np.prod(array.shape[1:]))))]
        if array.ndim
        else array[()]
    )
    more = " in the first rows" if array.ndim and len(head) < len(array) else ""
    return f", {np.min(head):g} to {np.max(head):g}{more}"


def _words(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("{"):
        return str(value)
    return ", ".join(f"{key} {item}" for key, item in json.loads(value).items())
