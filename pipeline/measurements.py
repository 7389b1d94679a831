"""What runs of shipped recipes measured: read from the reports of a store, or from small kept files.

A result counts if its recipe is the shipped one of that name with every setting as it ships; title and
source are text. A kept result is one JSON file of a recipe and protocol: the figures of the report,
and the settings that they were measured with.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.recipe import load_recipe, parse_recipe
from cinefeat.pipeline.settings import Recipe
from cinefeat.pipeline.store import write_bytes

FIGURES = (
    "recipe",
    "protocol",
    "accuracy",
    "accuracy_interval",
    "mean_class_accuracy",
    "mean_average_precision",
    "n_clips",
    "n_test",
    "per_class",
)
_TEXTS = {"title", "source"}


@dataclass(frozen=True)
class Measurement:
    """What a report says of a shipped recipe on some data.

    Parameters
    ----------
    data : str
        Name of the data.
    figures : mapping
        Those of `FIGURES` that the report has; `recipe`, `protocol`, `accuracy` and `n_test` at least.
    """

    data: str
    figures: Mapping[str, Any]

    @property
    def recipe(self) -> str:
        """Name of the shipped recipe."""
        return str(self.figures["recipe"])

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return str(self.figures["protocol"])

    @property
    def accuracy(self) -> float:
        """Share of the test clips that were labelled rightly."""
        return float(self.figures["accuracy"])

    def __str__(self) -> str:
        return (
            f"{100 * self.accuracy:.1f} ({self.recipe}: {self.data}, {self.protocol}, "
            f"{self.figures['n_test']} clips)"
        )


def read_measurements(sources: Mapping[str, Path]) -> list[Measurement]:
    """Read the newest result of every shipped recipe, data set and protocol.

    Parameters
    ----------
    sources : mapping of str to Path
        Name of the data to the store of its runs, or to a folder of kept results.

    Raises
    ------
    InputError
        If a folder has neither reports nor kept results, or a file is damaged.
    """
    found = {}
    for data, folder in sources.items():
        for figures in _results(folder):
            one = Measurement(data, figures)
            found[one.recipe, data, one.protocol] = one
    return list(found.values())


def keep_measurements(measurements: Iterable[Measurement], folder: Path) -> list[Path]:
    """Write each measurement into a file RECIPE-PROTOCOL.json of a folder, and return the files.

    `read_measurements` reads the folder in place of the store. No path of the machine is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for one in measurements:
        path = folder / f"{one.recipe}-{one.protocol.replace(':', '-')}.json"
        kept = {**one.figures, "settings": _settings(load_recipe(one.recipe))}
        write_bytes(path, (json.dumps(kept, indent=1) + "\n").encode())
        written.append(path)
    return written


def _results(folder: Path) -> Iterable[dict[str, Any]]:
    reports = folder / "reports"
    if reports.is_dir():
        paths = sorted(reports.glob("*/result.json"), key=lambda path: path.stat().st_mtime_ns)
        is_as_shipped: Callable[[Path, Mapping[str, Any]], bool] = _report_is_as_shipped
    else:
        paths = sorted(folder.glob("*.json"))
        is_as_shipped = _kept_is_as_shipped
    if not paths:
        raise InputError(
            f"{folder} has no reports: give the store of `cinefeat run`, or a folder that "
            "`cinefeat table --keep` wrote"
        )
    for path in paths:
        found = _read(path)
        # a report of another command, as a fusion's, has no recipe
        if {"recipe", "protocol", "accuracy", "n_test"} <= found.keys() and is_as_shipped(
            path, found
        ):
            yield {key: found[key] for key in FIGURES if key in found}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    return found if isinstance(found, dict) else {}


def _report_is_as_shipped(path: Path, figures: Mapping[str, Any]) -> bool:
    recipe = path.with_name("recipe.toml")
    try:
        used = parse_recipe(recipe.read_text(encoding="utf-8"), str(recipe))
        return _settings(used) == _settings(load_recipe(figures["recipe"]))
    except (InputError, OSError):
        return False  # a recipe of the user's own, or of another version


def _kept_is_as_shipped(_: Path, figures: Mapping[str, Any]) -> bool:
    try:
        shipped = load_recipe(figures["recipe"])
        used = {"title": shipped.title, "source": shipped.source, **figures["settings"]}
        # settings that are new since have their default value: what was measured
        return _settings(Recipe.model_validate_json(json.dumps(used))) == _settings(shipped)
    except (InputError, KeyError, TypeError, ValueError):
        return False


def _settings(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude_none=True, exclude=_TEXTS)
