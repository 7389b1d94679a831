"""Recipes: every number that changes a result, validated, in one TOML file per method.

A recipe has one table per stage of `stages.STAGES`; a stage whose table is absent is not part of the
method. An unknown key, a wrong type or a value out of range is refused before any clip is touched,
all errors at once.
"""

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.network_settings import NetworkSettings
from cinefeat.pipeline.settings import (
    DescribeSettings,
    EmbedTable,
    EncodeSettings,
    FitSettings,
    FlowSettings,
    Recipe,
)
from cinefeat.pipeline.train_settings import TrainSettings


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
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error
    return parse_recipe(text, str(path))


def parse_recipe(text: str, origin: str) -> Recipe:
    """Read a recipe from TOML text; errors, as of `load_recipe`, name its origin."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{origin} is not valid TOML: {error}") from error
    try:
        # JSON's strict rules: nothing is turned into another type, and arrays become tuples
        return Recipe.model_validate_json(json.dumps(tables, default=str), strict=True)
    except ValidationError as error:
        reasons = "; ".join(_explain(problem) for problem in error.errors())
        raise InputError(f"recipe {origin}: {reasons}") from error


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
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # JSON's strings, numbers and booleans are TOML's as well, but for one character
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"] if part not in _UNION_TAGS)
    if problem["type"] == "union_tag_not_found":
        key = problem["ctx"]["discriminator"].strip("'")
        return f"key '{where}.{key}' is required"
    if problem["type"] == "union_tag_invalid":
        key, known = problem["ctx"]["discriminator"].strip("'"), problem["ctx"]["expected_tags"]
        return f"{where}.{key} = {problem['ctx']['tag']!r}: it is one of {known}"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where!r}; known keys are {', '.join(_known_keys(problem['loc']))}"
    if problem["type"] == "missing":
        return f"key {where!r} is required"
    if not where:
        return str(problem["msg"]).removeprefix("Value error, ")
    return f"{where} = {problem['input']!r}: {problem['msg']}"


_UNIONS: tuple[Any, ...] = (
    FlowSettings, DescribeSettings, EmbedTable, FitSettings, EncodeSettings, TrainSettings,
    NetworkSettings,
)  # fmt: skip


def _tags() -> dict[str, type[BaseModel]]:
    """Return the models of the tables that come in kinds, by the name of the kind."""
    found: dict[str, type[BaseModel]] = {}
    for union in _UNIONS:
        models, field = get_args(union)
        for kind in get_args(models):
            # a kind has its tag beside it, or as the one value of the key that tells kinds apart
            model, *tags = get_args(kind) or (kind,)
            if not tags:
                (name,) = get_args(model.model_fields[field.discriminator].annotation)
            found[tags[0].tag if tags else name] = model
    return found


_UNION_TAGS = _tags()


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
