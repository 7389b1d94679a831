"""Products as the files of other programs: a folder or file per clip, complete if it is there.

An export is a folder that tells, in a hidden file, what it holds, so that files of two recipes or
options never mix. A clip is written again only when its product is newer than its files.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cinefeat.extractors import encode_tsn
from cinefeat.pipeline.errors import ClipError, InputError
from cinefeat.pipeline.flow_files import FlowLayout, write_flow_folder
from cinefeat.pipeline.idt_files import WIDTHS, write_idt_file
from cinefeat.pipeline.recipe import canonical
from cinefeat.pipeline.stages.flow import ZERO, ZERO_OF_IMAGES, coding_of, read_fields
from cinefeat.pipeline.store import iter_rows, write_text

_IDENTITY = ".cinefeat-export.json"  # hidden: other programs list what lies in the folder


@dataclass(frozen=True)
class FlowExport:
    """The flow of one clip to write.

    Parameters
    ----------
    product, target : Path
        The flow stage's product and the folder of the clip's files.
    which : {"flow", "warped_flow"}
    bound : float
        Pixels that the ends of the images' 8-bit range stand for.
    layout : FlowLayout
    """

    product: Path
    target: Path
    which: str
    bound: float
    layout: FlowLayout


@dataclass(frozen=True)
class TrajectoryExport:
    """The trajectories of one clip to write: the describe stage's product, and the text file."""

    product: Path
    target: Path


def claim_folder(folder: Path, identity: dict[str, Any]) -> None:
    """Write what an export holds into its folder, or check that it holds just that already.

    Raises
    ------
    InputError
        If the folder holds another export, or anything else.
    """
    found = export_in(folder)
    if found not in (None, identity):
        raise InputError(
            f"{folder} holds an export of another recipe or with other options: give another folder"
        )
    if found is None and folder.exists() and not _is_empty(folder):
        raise InputError(f"{folder} holds something else: give a folder that is new or empty")
    write_text(folder / _IDENTITY, canonical(identity))


def export_in(folder: Path) -> dict[str, Any] | None:
    """Return what `claim_folder` wrote into a folder, or None."""
    path = folder / _IDENTITY
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and all(entry.name.startswith(".") for entry in folder.iterdir())


def is_written(target: Path, product: Path) -> bool:
    """Return whether a clip's files are there, and no older than its product."""
    return target.exists() and target.stat().st_mtime_ns >= product.stat().st_mtime_ns


def export_flow(export: FlowExport) -> None:
    """Write the flow of one clip; called in a worker process."""
    try:
        if export.layout.format == "flo":
            fields = read_fields(export.product, export.which)
        else:
            fields = image_codes(export.product, export.which, export.bound)
        write_flow_folder(export.target, fields, export.layout)
    except InputError as error:  # a damaged product is this clip's misfortune alone
        raise ClipError(str(error)) from error


def export_trajectories(export: TrajectoryExport) -> None:
    """Write the trajectories of one clip; called in a worker process."""
    try:
        columns = (iter_rows(export.product, name, block=1024) for name in WIDTHS)
        rows = (dict(zip(WIDTHS, row, strict=True)) for row in zip(*columns, strict=True))
        write_idt_file(export.target, rows)
    except InputError as error:  # a damaged product is this clip's misfortune alone
        raise ClipError(str(error)) from error


def image_codes(product: Path, name: str, bound: float) -> Iterator[np.ndarray]:
    """Yield the codes (H, W, 2) uint8 of flow images, ``round(255 (v + bound) / (2 bound))``.

    Codes that were imported with the same bound pass as they are. Every code of ours with the same
    bound is a tie of that formula: it goes away from no motion, so that different motions keep
    different codes and a mirrored field has the mirrored codes; no motion is 128.

    Parameters
    ----------
    product : Path
        Of the flow stage.
    name : {"flow", "warped_flow"}
    bound : float
        Pixels; what is beyond is clipped.
    """
    coding = coding_of(product, name)
    if coding == (ZERO_OF_IMAGES, bound):
        yield from iter_rows(product, name)
    elif coding == (ZERO, bound):
        yield from (_away_from_zero(codes) for codes in iter_rows(product, name))
    else:
        yield from (encode_tsn(field, bound) for field in read_fields(product, name))


def _away_from_zero(codes: np.ndarray) -> np.ndarray:
    return codes - ((codes > 0) & (codes < ZERO)).astype(np.uint8)
