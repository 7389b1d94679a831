"""The post's table of accuracies: what was published, and what this program measured.

A measured number comes from the report of a run in a store, and from nowhere else: where there is no
report, the table says what is missing. A report counts for a row if its recipe is the shipped one of
that name, with every setting as it ships.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.plan import weight_digests
from cinefeat.pipeline.recipe import load_recipe, parse_recipe
from cinefeat.pipeline.settings import Recipe
from cinefeat.pipeline.table import WeightFile


@dataclass(frozen=True)
class Row:
    """A row of the post.

    Parameters
    ----------
    system, variant : str
        In the post's words.
    published : float or None
        Per cent on UCF101 as the post gives it; None where it gives none.
    recipe : str
        The shipped recipe of the published system.
    others : tuple of str
        Shipped recipes of the same system on other weights, for data sets that are at hand.
    """

    system: str
    variant: str
    published: float | None
    recipe: str
    others: tuple[str, ...] = ()


ROWS = (
    Row("LRCN", "Weighted score of flow and RGB inputs", 82.92, "lrcn-rgb-flow"),
    Row("LRCN", "Score with just RGB", 71.1, "lrcn-rgb", ("lrcn-i3d",)),
    Row("C3D", "C3D (1 net) + linear SVM", 82.3, "c3d-svm"),
    Row("C3D", "C3D (3 nets) + linear SVM", 85.2, "c3d-3nets-svm"),
    Row("C3D", "C3D (3 nets) + iDT + linear SVM", 90.4, "c3d-3nets-idt-svm"),
    Row(
        "Conv3D & Attention",
        "Network used for video description prediction",
        None,
        "attention",
        ("attention-i3d",),
    ),
    Row(
        "TwoStreamFusion",
        "TwoStreamfusion",
        92.5,
        "two-stream-fusion",
        ("two-stream-fusion-i3d",),
    ),
    Row("TwoStreamFusion", "TwoStreamfusion + iDT", 94.2, "two-stream-fusion-idt"),
    Row("TSN", "TSN (input RGB + Flow)", 94.0, "tsn-rgb-flow", ("tsn-rgb", "tsn-consensus-i3d")),
    Row("TSN", "TSN (input RGB + Flow + Warped flow)", 94.2, "tsn-rgb-flow-warped"),
    Row("ActionVLAD", "ActionVLAD", 92.7, "action-vlad", ("action-vlad-i3d",)),
    Row("ActionVLAD", "ActionVLAD + iDT", 93.6, "action-vlad-idt", ("action-vlad-i3d-idt",)),
    Row("HiddenTwoStream", "Hidden Two Stream", 89.8, "hidden-two-stream"),
    Row("HiddenTwoStream", "Hidden Two Stream + TSN", 92.5, "hidden-two-stream-tsn"),
    Row("I3D", "Two Stream I3D", 93.4, "i3d-two-stream", ("i3d-rgb-svm",)),
    Row("I3D", "Imagenet + Kinetics pre-training", 98.0, "i3d-fine-tuned"),
    Row("T3D", "T3D", 90.3, "t3d"),
    Row("T3D", "T3D + Transfer", 91.7, "t3d-transferred"),
    Row("T3D", "T3D + TSN", 93.2, "t3d-tsn"),
)


@dataclass(frozen=True)
class Measurement:
    """What a report says: the accuracy of a recipe on some data, and how it was tested."""

    recipe: str
    data: str
    protocol: str
    accuracy: float
    n_test: int

    def __str__(self) -> str:
        return (
            f"{100 * self.accuracy:.1f} ({self.recipe}: {self.data}, {self.protocol}, "
            f"{self.n_test} clips)"
        )


def read_measurements(stores: Mapping[str, Path]) -> list[Measurement]:
    """Read the newest report of every shipped recipe, data set and protocol.

    Parameters
    ----------
    stores : mapping of str to Path
        Name of the data to the store of its runs.

    Raises
    ------
    InputError
        If a store has no folder of reports, or a report is damaged.
    """
    found: dict[tuple[str, str, str], Measurement] = {}
    for data, store in stores.items():
        folder = store / "reports"
        if not folder.is_dir():
            raise InputError(f"{store} has no reports: give the store of `cinefeat run`")
        results = sorted(folder.glob("*/result.json"), key=lambda path: path.stat().st_mtime_ns)
        for path in results:
            one = _measurement(path, data)
            if one is not None:
                found[one.recipe, data, one.protocol] = one
    return list(found.values())


def _measurement(path: Path, data: str) -> Measurement | None:
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        values = (
            figures["recipe"],
            data,
            figures["protocol"],
            figures["accuracy"],
            figures["n_test"],
        )
    except (KeyError, TypeError):
        return None  # of another command, as a fusion's
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    return (
        Measurement(*values) if _is_as_shipped(path.with_name("recipe.toml"), values[0]) else None
    )


def _is_as_shipped(path: Path, name: str) -> bool:
    try:
        used = parse_recipe(path.read_text(encoding="utf-8"), str(path))
        return used == load_recipe(name)
    except (InputError, OSError):
        return False  # a recipe of the user's own, or of another version


def missing_for(row: Row) -> str:
    """Return what a row's published system lacks here: recipe, weights; else the data."""
    try:
        recipe = load_recipe(row.recipe)
    except InputError:
        return "recipe"
    lacking = [entry for entry in _weight_files(recipe) if not _is_there(entry)]
    names = ", ".join(entry.weights for entry in lacking)
    return f"UCF101; weights {names}" if names else "UCF101"


def _weight_files(recipe: Recipe) -> list[WeightFile]:
    tables = (recipe.flow, recipe.embed, recipe.network)
    return [entry for table in tables for entry in getattr(table, "weight_files", ())]


def _is_there(entry: WeightFile) -> bool:
    try:
        weight_digests([entry])
    except InputError:
        return False
    return True


def table_rows(measurements: Sequence[Measurement]) -> list[tuple[str, str, str, str, str]]:
    """Return system, variant, published, measured and missing, as texts, for every row.

    Measurements of the published system's recipe come first, then those of its other recipes.
    What is missing is told where the published recipe was not measured on UCF101.
    """
    rows = []
    for row in ROWS:
        own = [m for name in (row.recipe, *row.others) for m in measurements if m.recipe == name]
        is_comparable = any(m.recipe == row.recipe and "ucf101" in m.protocol for m in own)
        published = "" if row.published is None else f"{row.published:g}"
        measured = "; ".join(str(m) for m in own)
        missing = "" if is_comparable else missing_for(row)
        rows.append((row.system, row.variant, published, measured, missing))
    return rows


HEADER = ("system", "variant", "published, UCF101 (%)", "measured here (%)", "missing")


def as_markdown(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as a table of Markdown."""
    lines = [HEADER, tuple("---" for _ in HEADER), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines) + "\n"


def as_text(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as a block for each, measurements and what is missing indented below."""
    lines = []
    for system, variant, published, measured, missing in rows:
        lines.append(f"{system}: {variant}: published {published or 'no score'}")
        lines += [f"    measured {one}" for one in measured.split("; ") if one]
        lines += [f"    not measured on UCF101; missing: {missing}"] if missing else []
    return "\n".join(lines) + "\n"
