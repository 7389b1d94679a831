"""The pipeline on one screen: every stage in data-flow order, and what it needs.

A stage is part of a recipe when the recipe has its table. Stages per clip make one product for each
clip, stages per corpus learn from (or judge) all clips of one side of a fold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cinefeat.pipeline.manifest import Clip


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline.

    Parameters
    ----------
    name : str
        Also the name of its table in a recipe and of its folder in a store.
    per : {"clip", "corpus"}
        What one product stands for.
    needs : tuple of str
        Earlier stages whose products it reads, as far as the recipe has them.
    version : int
        Raised whenever output values change for the same settings; part of the digest.
    run : str
        ``module:function`` that makes one product: it takes a `Job` and a `ProductWriter`.
    reads : {"", "train", "test"}
        The side of the fold that a stage per corpus sees.
    product : str
        Name of the one product of a stage per corpus.
    parts : str
        Or the setting that names its products, where it has several.
    """

    name: str
    per: Literal["clip", "corpus"]
    needs: tuple[str, ...]
    version: int
    run: str
    reads: Literal["", "train", "test"] = ""
    product: str = ""
    parts: str = ""


@dataclass(frozen=True)
class Job:
    """What one call of a stage is given; it can be sent to another process.

    Parameters
    ----------
    stage : str
        Name of the stage.
    target : Path
        The product to make.
    settings : pydantic model
        The stage's table of the recipe.
    clips : tuple of Clip
        The clip, or all clips of the side that a stage per corpus reads.
    inputs : mapping of str to Path
        The folder of each needed stage.
    attrs : mapping
        Attributes of the product.
    part : str
        Which product of the stage: a clip id, or the name of the part.
    device : str
        Where to compute: "cpu", "cuda" or "cuda:k".
    engine : str
        Where to spread what is learned: "local" or "dask://HOST:PORT".
    sources : mapping of str to Path
        Folders of files to import, by what they hold; empty but for the import commands.
    """

    stage: str
    target: Path
    settings: Any
    clips: tuple[Clip, ...]
    inputs: Mapping[str, Path]
    attrs: Mapping[str, Any]
    part: str
    device: str = "cpu"
    engine: str = "local"
    sources: Mapping[str, Path] = field(default_factory=dict)

    @property
    def clip(self) -> Clip:
        """The one clip of a job per clip."""
        (clip,) = self.clips
        return clip

    def input(self, stage: str, name: str | None = None) -> Path:
        """Return the product `name` (by default the clip's) of a needed stage."""
        return product_path(self.inputs[stage], self.clip.id if name is None else name)


def product_path(folder: Path, name: str) -> Path:
    """Return where the product `name` lies in the folder of a stage."""
    return folder / f"{name}.h5"


CHECKPOINT = ".checkpoint.safetensors"
"""Ending of the file beside a product that a stopped training goes on from."""

_HERE = "cinefeat.pipeline.stages"

STAGES = (
    Stage("flow", "clip", (), 1, f"{_HERE}.flow:run"),
    Stage("describe", "clip", ("flow",), 2, f"{_HERE}.describe:run"),
    Stage("embed", "clip", ("flow",), 1, f"{_HERE}.embed:run"),
    Stage("fit", "corpus", ("describe",), 1, f"{_HERE}.fit:run", "train", parts="channels"),
    Stage("encode", "clip", ("describe", "fit"), 1, f"{_HERE}.encode:run"),
    Stage("pool", "clip", ("embed",), 1, f"{_HERE}.pool:run"),
    Stage("train", "corpus", ("encode", "pool"), 1, f"{_HERE}.train:run", "train", "model"),
    Stage(
        "network",
        "corpus",
        ("flow", "embed"),
        1,
        f"{_HERE}.network:run",
        "train",
        parts="stream_names",
    ),
    Stage(
        "evaluate",
        "corpus",
        ("flow", "embed", "encode", "pool", "train", "network"),
        1,
        f"{_HERE}.evaluate:run",
        "test",
        "scores",
    ),
)


def depends_on_fold(stage: Stage) -> bool:
    """Say whether a stage learns, or reads what a stage has learned."""
    return stage.per == "corpus" or any(depends_on_fold(stage_named(n)) for n in stage.needs)


def stage_named(name: str) -> Stage:
    """Return the stage of that name."""
    return next(stage for stage in STAGES if stage.name == name)
