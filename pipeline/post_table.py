"""The post's table of accuracies: what was published, and what this program measured.

A measured number comes from `cinefeat.pipeline.measurements`, and from nowhere else: where there is
none, the table says what is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cinefeat.extractors.weights import KNOWN_WEIGHTS
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.measurements import Measurement
from cinefeat.pipeline.plan import weight_digests
from cinefeat.pipeline.recipe import load_recipe
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


def missing_for(row: Row) -> str:
    """Return what a row's published system lacks here: recipe, weights; else the data.

    Weights that `cinefeat weights fetch` brings are not missing.
    """
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
    if entry.weights in KNOWN_WEIGHTS:
        return True
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


def rows_beside(measurements: Sequence[Measurement]) -> list[tuple[str, str]]:
    """Return recipe and measurements, as texts, of every recipe that no row of the post has."""
    of_rows = {name for row in ROWS for name in (row.recipe, *row.others)}
    names = sorted({one.recipe for one in measurements} - of_rows)
    return [(name, "; ".join(str(m) for m in measurements if m.recipe == name)) for name in names]


HEADER = ("system", "variant", "published, UCF101 (%)", "measured here (%)", "missing")
HEADER_BESIDE = ("other recipe", "measured here (%)")


def as_markdown(rows: Sequence[tuple[str, ...]], beside: Sequence[tuple[str, str]] = ()) -> str:
    """Return rows, and those beside the post's, as tables of Markdown."""
    table = _markdown(HEADER, rows)
    return f"{table}\n{_markdown(HEADER_BESIDE, beside)}" if beside else table


def _markdown(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines) + "\n"


def as_text(rows: Sequence[tuple[str, ...]], beside: Sequence[tuple[str, str]] = ()) -> str:
    """Return rows as a block for each, measurements and what is missing indented below."""
    lines = []
    for system, variant, published, measured, missing in rows:
        lines.append(f"{system}: {variant}: published {published or 'no score'}")
        lines += _measured_lines(measured)
        lines += [f"    not measured on UCF101; missing: {missing}"] if missing else []
    for name, measured in beside:
        lines += [f"{name}: not in the post", *_measured_lines(measured)]
    return "\n".join(lines) + "\n"


def _measured_lines(measured: str) -> list[str]:
    return [f"    measured {one}" for one in measured.split("; ") if one]
