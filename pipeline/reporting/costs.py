"""What the products of a run cost, read from the products themselves.

A run's evaluate products are those that hold its very scores; the identities stored in them lead to
everything that they were made from. So the times stay right when a run was stopped, sharded or
resumed, and when the program has changed since.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.plan import DIGEST_LETTERS
from cinefeat.pipeline.progress import track
from cinefeat.pipeline.report import Evaluation
from cinefeat.pipeline.stages import STAGES
from cinefeat.pipeline.store import read_arrays, read_attrs

_ORDER = {stage.name: i for i, stage in enumerate(STAGES)}
_CORPUS = {stage.name for stage in STAGES if stage.per == "corpus"}


class Product(NamedTuple):
    """A product and its attributes."""

    path: Path
    attrs: dict[str, Any]


@dataclass
class Trace:
    """All products that a run rests on, as far as a store still has them.

    Parameters
    ----------
    products : dict of str to list of Product
        By stage, in data-flow order.
    n_found : int
        Test clips whose scores are in the store.
    """

    products: dict[str, list[Product]] = field(default_factory=dict)
    n_found: int = 0

    def clips(self) -> dict[str, Clip]:
        """Return what the products say of their videos: path, digest and number of frames."""
        return {attrs["clip"]: _clip(attrs) for _, attrs in self.every() if "clip" in attrs}

    def every(self) -> list[Product]:
        """Return the products of all stages."""
        return [product for products in self.products.values() for product in products]


def _clip(attrs: Mapping[str, Any]) -> Clip:
    frames = attrs["frames_decoded"]
    return Clip(
        attrs["clip"],
        Path(attrs["source"]),
        label="",
        sha256=attrs["source_sha256"],
        frames_decoded=frames if frames >= 0 else None,
    )


def trace(store: Path, evaluation: Evaluation) -> Trace:
    """Find the products of a run in a store, and read their attributes.

    Raises
    ------
    InputError
        If a file of the store cannot be read.
    """
    last = _evaluated(store, evaluation)
    folders = sorted(_folders_behind(store, last), key=_place)
    used = _clips_used(folders)
    products = [path for folder in folders for path in _products(folder, used)]
    found: dict[str, list[Product]] = {}
    for path in track(products, len(products), "report"):
        attrs = read_attrs(path)
        found.setdefault(str(attrs["stage"]), []).append(Product(path, attrs))
    tested = sum(len(json.loads(read_attrs(path)["clips"])) for path in last)
    return Trace(found, tested)


def _evaluated(store: Path, evaluation: Evaluation) -> list[Path]:
    """Return products of the evaluate stage that hold exactly a run's scores, each clip once."""
    row_of = {name: i for i, name in enumerate(evaluation.clips.tolist())}
    chosen, covered = [], set[str]()
    for path in sorted((store / "evaluate").glob("*/scores.h5")):
        arrays = read_arrays(path, ("clip", "classes", "scores"))
        clips = arrays["clip"].astype(str).tolist()
        if covered.isdisjoint(clips) and _holds(arrays, clips, evaluation, row_of):
            chosen.append(path)
            covered.update(clips)
    return chosen


def _holds(
    arrays: Mapping[str, np.ndarray],
    clips: list[str],
    evaluation: Evaluation,
    row_of: Mapping[str, int],
) -> bool:
    classes = arrays["classes"].astype(str)
    if not set(clips) <= row_of.keys() or not np.isin(classes, evaluation.classes).all():
        return False
    rows = [row_of[name] for name in clips]
    columns = np.searchsorted(evaluation.classes, classes)
    return np.array_equal(evaluation.scores[rows][:, columns], arrays["scores"])


def _folders_behind(store: Path, products: Iterable[Path]) -> set[Path]:
    """Return the folders of some products and of everything that they were made from."""
    found: set[Path] = set()
    waiting = {product.parent for product in products}
    while waiting:
        folder = waiting.pop()
        found.add(folder)
        product = next(iter(sorted(folder.rglob("*.h5"))), None)
        if product is None:
            continue
        needs = json.loads(read_attrs(product)["identity"])["needs"]
        behind = {store / stage / digest[:DIGEST_LETTERS] for stage, digest in needs.items()}
        waiting |= behind - found
    return found


def _place(folder: Path) -> tuple[int, str]:
    return _ORDER.get(folder.parent.name, len(_ORDER)), str(folder)


def _clips_used(folders: Iterable[Path]) -> set[str]:
    """Return the clips that were learned from or tested, by the products that name them all."""
    used: set[str] = set()
    for folder in folders:
        for path in folder.glob("*.h5") if folder.parent.name in _CORPUS else ():
            used.update(json.loads(read_attrs(path)["clips"]))
    return used


def _products(folder: Path, used: set[str]) -> list[Path]:
    """Return the products of a folder that belong to the run: those of its clips, or all it has."""
    paths = {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.h5")
    }
    of_clips = [path for name, path in sorted(paths.items()) if name in used]
    return of_clips or [path for _, path in sorted(paths.items())]


def stage_figures(found: Trace, clips: Mapping[str, Clip]) -> list[dict[str, Any]]:
    """Return a row per stage: products, CPU seconds, and for stages per clip what a second did.

    `frames_per_second` divides the frames of the videos by the CPU seconds; `speed` does the same
    with their durations, None where one is not known.
    """
    return [
        _stage_row(stage, [attrs for _, attrs in products], clips)
        for stage, products in found.products.items()
    ]


def _stage_row(
    stage: str, products: list[dict[str, Any]], clips: Mapping[str, Clip]
) -> dict[str, Any]:
    seconds = float(sum(attrs["cpu_seconds"] for attrs in products))
    names = [attrs["clip"] for attrs in products if "clip" in attrs]
    frames = [attrs.get("frames_decoded", -1) for attrs in products]
    durations = [clips[name].duration if name in clips else None for name in names]
    known = [duration for duration in durations if duration is not None]
    is_counted = bool(names) and min(frames) >= 0 and seconds > 0
    is_timed = bool(names) and len(known) == len(names) and seconds > 0
    return {
        "stage": stage,
        "products": len(products),
        "nodes": len({attrs["digest"] for attrs in products}),
        "device": ", ".join(sorted({str(attrs["device"]) for attrs in products})),
        "cpu_seconds": seconds,
        "frames": int(sum(frames)) if is_counted else None,
        "frames_per_second": sum(frames) / seconds if is_counted else None,
        "speed": sum(known) / seconds if is_timed else None,
    }


def provenance(found: Trace) -> dict[str, Any]:
    """Return the versions that made the products, and each stage's version and digests."""
    versions: dict[str, set[str]] = {}
    for text in {attrs["versions"] for _, attrs in found.every()}:
        for name, version in json.loads(text).items():
            versions.setdefault(name, set()).add(version)
    stages = [
        {
            "stage": stage,
            "version": json.loads(products[0].attrs["identity"])["version"],
            "digests": sorted({attrs["digest"][:DIGEST_LETTERS] for _, attrs in products}),
        }
        for stage, products in found.products.items()
    ]
    return {
        "versions": {name: sorted(texts) for name, texts in sorted(versions.items())},
        "stages": stages,
    }
