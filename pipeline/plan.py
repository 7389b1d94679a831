"""What a recipe means for given clips: nodes, their digests, and what is there already.

A node is a stage with its settings, for one fold where the fold matters. Its digest says everything
that its products depend on, so products of other settings lie in other folders, and a changed
setting redoes only what depends on it.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.protocol import Fold
from cinefeat.pipeline.recipe import canonical
from cinefeat.pipeline.settings import Recipe
from cinefeat.pipeline.stages import STAGES, Job, Stage, product_path
from cinefeat.pipeline.store import write_text
from cinefeat.pipeline.table import WeightFile

DIGEST_LETTERS = 12
_FAILED = ".failed.json"
_PRODUCT = ".h5"


@dataclass(frozen=True)
class Node:
    """A stage of a recipe at one fold.

    Parameters
    ----------
    stage : Stage
    settings : pydantic model
    identity : str
        Canonical JSON of all that the products depend on.
    folder : Path
        ``<store>/<stage>/<digest[:12]>``.
    needs : tuple of Node
    clips : tuple of Clip
        The clips to make products of, or to learn from.
    """

    stage: Stage
    settings: Any
    identity: str
    folder: Path
    needs: tuple["Node", ...]
    clips: tuple[Clip, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the identity, in hexadecimal."""
        return _sha256(self.identity)

    def product(self, name: str) -> Path:
        """Return the path of one product."""
        return product_path(self.folder, name)

    def parts(self) -> tuple[str, ...]:
        """Return the names of all products, done or not."""
        if self.stage.per == "clip":
            return tuple(clip.id for clip in self.clips)
        if self.stage.parts:
            return tuple(getattr(self.settings, self.stage.parts))
        return (self.stage.product,)


@dataclass(frozen=True)
class Progress:
    """The state of a node: names of products by what became of them; reasons of failures."""

    done: frozenset[str]
    failed: dict[str, str]
    missing: tuple[str, ...]


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """Return the stages that a recipe uses, in data-flow order."""
    used = (stage for stage in STAGES if getattr(recipe, stage.name) is not None)
    return tuple(stage for stage in used if stage.name != "evaluate" or classifies(recipe))


def classifies(recipe: Recipe) -> bool:
    """Say whether a recipe learns to give scores of classes."""
    network = recipe.network
    return recipe.train is not None or (network is not None and network.classifies)


def plan(
    recipe: Recipe,
    store: Path,
    clips: Sequence[Clip],
    fold: Fold,
    learned: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Node]:
    """Return the node of every stage of a recipe, for one fold.

    The clips that a stage per corpus learns from are those of its side whose inputs have not
    failed; they are part of its identity. So a node of such a stage is final only when the
    stages before it are done.

    `learned` gives the identities of stages whose products are there already, learned from other
    clips (`cinefeat.pipeline.models`).
    """
    nodes: dict[str, Node] = {}
    for stage in stages_of(recipe):
        needs = tuple(nodes[name] for name in stage.needs if name in nodes)
        if stage.name in learned:
            nodes[stage.name] = _learned_node(stage, recipe, needs, learned[stage.name], store)
            continue
        ready = [available(node) for node in needs if node.stage.per == "clip"]
        side = _side(stage, fold)
        chosen = (clip for clip in clips if side is None or clip.id in side)
        nodes[stage.name] = _node(
            stage,
            getattr(recipe, stage.name),
            needs,
            tuple(clip for clip in chosen if all(clip.id in ids for ids in ready)),
            store,
        )
    return nodes


def _side(stage: Stage, fold: Fold) -> frozenset[str] | None:
    sides = {"": None, "train": fold.train, "test": fold.test}
    ids = sides[stage.reads]
    return None if ids is None else frozenset(ids)


def available(node: Node) -> set[str]:
    """Return the ids of the clips that a stage per clip has, or can be expected to give."""
    return {clip.id for clip in node.clips} - failures(node).keys()


def _node(
    stage: Stage, settings: Any, needs: tuple[Node, ...], clips: tuple[Clip, ...], store: Path
) -> Node:
    identity = {
        "stage": stage.name,
        "version": stage.version,
        "settings": json.loads(canonical(settings)),
        "needs": {node.stage.name: node.digest for node in needs},
    }
    if files := getattr(settings, "weight_files", ()):
        identity["weights"] = weight_digests(files)
    if stage.per == "corpus":
        rows = sorted(_row(clip, settings.reads_groups) for clip in clips)
        identity["clips"] = _sha256(canonical(rows))
    text = canonical(identity)
    return Node(stage, settings, text, folder_of(store, stage, text), needs, clips)


def _row(clip: Clip, with_group: bool) -> list[str]:
    return [clip.id, clip.sha256, clip.label, *([clip.group] if with_group else [])]


def _learned_node(
    stage: Stage, recipe: Recipe, needs: tuple[Node, ...], identity: str, store: Path
) -> Node:
    """Return a node that learned elsewhere, if it learned from what the nodes here would give."""
    if json.loads(identity)["needs"] != {node.stage.name: node.digest for node in needs}:
        raise InputError(
            f"the model's stage {stage.name} learned from other values than this version or these "
            "weights give: make the model again"
        )
    folder = folder_of(store, stage, identity)
    return Node(stage, getattr(recipe, stage.name), identity, folder, needs, ())


def folder_of(store: Path, stage: Stage, identity: str) -> Path:
    """Return the folder of the products that have this identity."""
    return store / stage.name / _sha256(identity)[:DIGEST_LETTERS]


def weight_digests(wanted: Iterable[WeightFile]) -> list[str]:
    """Return the SHA-256 of each weight file that a table of a recipe names.

    Raises
    ------
    InputError
        If weights are not there; the sentence says how to get them.
    """
    from cinefeat.extractors import find_weights

    files = []
    for entry in wanted:
        try:
            files.append(find_weights(entry.weights))
        except ValueError as error:
            origin = f"; they come from {entry.origin}" if entry.origin else ""
            raise InputError(f"{entry.group}: {error}{origin}") from error
    return [_sha256_of_file(file, file.stat().st_mtime_ns) for file in files]


@functools.cache
def _sha256_of_file(path: Path, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def failures(node: Node) -> dict[str, str]:
    """Return the reasons of the clips that failed at a node and have no product since."""
    reasons = {}
    for name in _names(node.folder, _FAILED):
        if not node.product(name).exists():
            record = json.loads((node.folder / f"{name}{_FAILED}").read_text(encoding="utf-8"))
            reasons[name] = record["reason"]
    return reasons


def record_failure(node: Node, clip: Clip, reason: str) -> None:
    """Write the ledger's record of a clip that a stage could not process."""
    record = {
        "clip": clip.id,
        "stage": node.stage.name,
        "reason": reason,
        "source": str(clip.path),
        "source_sha256": clip.sha256,
    }
    write_text(node.folder / f"{clip.id}{_FAILED}", json.dumps(record, indent=1) + "\n")


def progress(node: Node) -> Progress:
    """Return what is done, failed and missing at a node, by the files that are there."""
    done = _names(node.folder, _PRODUCT)
    failed = failures(node)
    wanted = node.parts()
    missing = tuple(name for name in wanted if name not in done and name not in failed)
    return Progress(
        frozenset(name for name in wanted if name in done),
        {name: failed[name] for name in wanted if name in failed},
        missing,
    )


def jobs(node: Node, parts: Iterable[str], device: str) -> list[Job]:
    """Return the calls that make the named products of a node."""
    by_id = {clip.id: clip for clip in node.clips}
    inputs = {need.stage.name: need.folder for need in _all_needs(node)}
    result = []
    for part in parts:
        clips = (by_id[part],) if node.stage.per == "clip" else node.clips
        attrs = _attributes(node, clips, device)
        target = node.product(part)
        result.append(
            Job(node.stage.name, target, node.settings, clips, inputs, attrs, part, device)
        )
    return result


def shard_of(clip_id: str, count: int) -> int:
    """Return which of `count` shards has a clip: a fixed function of id and count.

    Examples
    --------
    >>> shard_of("walk/daria", 4)
    2
    """
    return int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8]) % count


def _attributes(node: Node, clips: tuple[Clip, ...], device: str) -> dict[str, Any]:
    attrs: dict[str, Any] = {
        "stage": node.stage.name,
        "digest": node.digest,
        "identity": node.identity,
        "settings": canonical(node.settings),
        "versions": versions(),
        "device": device,
    }
    if node.stage.per == "clip":
        (clip,) = clips
        attrs |= {
            "clip": clip.id,
            "source": str(clip.path),
            "source_sha256": clip.sha256,
            "frames_declared": _count(clip.frames_declared),
            "frames_decoded": _count(clip.frames_decoded),
        }
    else:
        attrs["clips"] = [clip.id for clip in clips]
    return attrs


def _count(frames: int | None) -> int:
    return -1 if frames is None else frames


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions that decide output values: name to version."""
    from cinefeat.pipeline.video import backend_versions

    names = ("cinefeat", "numpy", "torch", "numba", "scikit-learn", "h5py")
    found = {name: metadata.version(name) for name in names}
    return {**found, **backend_versions()}


def _all_needs(node: Node) -> Iterable[Node]:
    for need in node.needs:
        yield need
        yield from _all_needs(need)


def _names(folder: Path, suffix: str) -> set[str]:
    """Return the names, without `suffix`, of the files below a folder; slashes kept."""
    found: set[str] = set()
    stack = [(str(folder), "")]
    while stack:
        place, prefix = stack.pop()
        try:
            entries = os.scandir(place)
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                if entry.name.endswith(suffix) and not entry.name.startswith("."):
                    found.add(prefix + entry.name.removesuffix(suffix))
                elif entry.is_dir(follow_symlinks=False):
                    stack.append((entry.path, f"{prefix}{entry.name}/"))
    return found


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
