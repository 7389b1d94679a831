"""Recipes: every number that changes a result, validated, in one TOML file per method.

A recipe has one table per stage of `stages.STAGES`; a stage whose table is absent is not part of the
method. Settings are frozen pydantic records: an unknown key, a wrong type or a value out of range is
refused before any clip is touched, all errors at once.
"""

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cinefeat.pipeline.errors import InputError

CHANNELS = ("trajectory", "hog", "hof", "mbhx", "mbhy")


class Settings(BaseModel):
    """A table of a recipe: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FlowSettings(Settings):
    """Optical flow between successive frames, stored for the stages that need it."""

    method: Literal["tvl1"] = Field(default="tvl1", description="TV-L1 (Zach, Pock, Bischof 2007)")
    preset: Literal["accurate", "opencv", "fast"] = Field(
        default="accurate", description="solver settings of cinefeat.extractors.optical_flow_tvl1"
    )
    bound: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=20.0, description="pixels that the ends of the 8-bit range stand for"
    )


class DescribeSettings(Settings):
    """Local descriptors of a clip: one bag of rows per channel."""

    extractor: Literal["dense-trajectories"] = "dense-trajectories"
    flow: Literal["stored"] = Field(default="stored", description="the flow stage's product")


class FitSettings(Settings):
    """Codebooks, one per channel, learned from a sample of the training descriptors."""

    codebook: Literal["k-means"] = "k-means"
    channels: tuple[Literal["trajectory", "hog", "hof", "mbhx", "mbhy"], ...] = Field(
        default=CHANNELS, min_length=1, description="descriptors that get a codebook"
    )
    n_words: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=4000, description="codewords per channel (4000 in the DT papers)"
    )
    n_samples: Annotated[int, Field(ge=1)] = Field(
        default=100_000, description="training descriptors drawn (100,000 in the DT papers)"
    )
    n_starts: Annotated[int, Field(ge=1)] = Field(
        default=8, description="k-means starts, of which the best is kept (8 in the DT papers)"
    )
    max_iterations: Annotated[int, Field(ge=1)] = 100
    mirror: bool = Field(default=False, description="sample from the clips' mirror images as well")
    seed: Annotated[int, Field(ge=0)] = 0


Grid = tuple[
    Annotated[int, Field(ge=1, le=16)],
    Annotated[int, Field(ge=1, le=16)],
    Annotated[int, Field(ge=1, le=16)],
]


class EncodeSettings(Settings):
    """One vector per clip and channel."""

    method: Literal["bag-of-words"] = "bag-of-words"
    grids: tuple[Grid, ...] = Field(
        default=((1, 1, 1),),
        min_length=1,
        description="cells along x, y and time; one histogram per grid (IJCV 2013, section 5.1)",
    )
    mirror: bool = Field(
        default=False,
        description="encode mirror images too: train on both, and add the scores of both",
    )


class ChiSquareSettings(Settings):
    """Multi-channel chi-square SVM, exp(-sum_c D_c / A_c)."""

    classifier: Literal["chi-square-svm"]
    C: Annotated[float, Field(gt=0)] = 100.0


class LinearSettings(Settings):
    """Linear SVM, one against rest, on the concatenated channels."""

    classifier: Literal["linear-svm"]
    C: Annotated[float, Field(gt=0)] = 1.0


class ForestSettings(Settings):
    """Random forest on the concatenated channels."""

    classifier: Literal["random-forest"]
    n_trees: Annotated[int, Field(ge=1, le=100_000)] = 500
    seed: Annotated[int, Field(ge=0)] = 0


TrainSettings = Annotated[
    ChiSquareSettings | LinearSettings | ForestSettings, Field(discriminator="classifier")
]


class EvaluateSettings(Settings):
    """Scores of the test clips; there is nothing to set."""


# table -> the table without which it means nothing
REQUIRED_TABLES = {"describe": "flow", "fit": "describe", "encode": "fit", "train": "encode"}


class Recipe(Settings):
    """A method: its name, its source, and the settings of each stage that it uses."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    source: str = Field(description="paper, and what departs from it")
    flow: FlowSettings | None = None
    describe: DescribeSettings | None = None
    fit: FitSettings | None = None
    encode: EncodeSettings | None = None
    train: TrainSettings | None = None
    evaluate: EvaluateSettings = EvaluateSettings()

    @model_validator(mode="after")
    def _tables_are_complete(self) -> Self:
        for table, needed in REQUIRED_TABLES.items():
            if getattr(self, table) is not None and getattr(self, needed) is None:
                raise ValueError(f"table [{table}] needs table [{needed}]")
        return self


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with the program: name to file."""
    folder = resources.files("cinefeat.pipeline") / "recipes"
    files = sorted(Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {file.stem: file for file in files}


def load_recipe(name: str) -> Recipe:
    """Read a recipe by the name of a shipped one or the path of a TOML file.

    Raises
    ------
    InputError
        If there is no such recipe, the file is not TOML, or a key or value breaks a rule: the
        sentence names each key, what is wrong with it and, for an unknown key, the known ones.
    """
    shipped = shipped_recipes()
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise InputError(
            f"there is no recipe {name!r}: give a TOML file or one of {', '.join(shipped)}"
        )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error
    try:
        # JSON's strict rules: nothing is turned into another type, and arrays become tuples
        return Recipe.model_validate_json(json.dumps(tables, default=str), strict=True)
    except ValidationError as error:
        reasons = "; ".join(_explain(problem) for problem in error.errors())
        raise InputError(f"recipe {path}: {reasons}") from error


def canonical(value: Any) -> str:
    """Return the one JSON text of settings, the form that digests are taken of."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def to_toml(recipe: Recipe) -> str:
    """Return a recipe as TOML with every default filled in; `load_recipe` reads it back."""
    tables = recipe.model_dump(mode="json", exclude_none=True)
    lines = [f"{key} = {_toml(value)}" for key, value in tables.items() if type(value) is not dict]
    for name, table in tables.items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    # JSON's strings, numbers, booleans and nested arrays are TOML's as well, but for one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"] if part not in _UNION_TAGS)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where!r}; known keys are {', '.join(_known_keys(problem['loc']))}"
    if problem["type"] == "missing":
        return f"key {where!r} is required"
    if not where:
        return str(problem["msg"]).removeprefix("Value error, ")
    return f"{where} = {problem['input']!r}: {problem['msg']}"


_UNION_TAGS = {"chi-square-svm": ChiSquareSettings, "linear-svm": LinearSettings,
               "random-forest": ForestSettings}  # fmt: skip


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in location[:-1]:
        if part in _UNION_TAGS:
            model = _UNION_TAGS[part]
        elif part in model.model_fields:
            model = _table_model(model.model_fields[str(part)].annotation) or model
    return sorted(model.model_fields)


def _table_model(annotation: Any) -> type[BaseModel] | None:
    options = [annotation, *getattr(annotation, "__args__", ())]
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
