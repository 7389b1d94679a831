"""The page of a run: the tree of figures, rendered as one HTML file that needs nothing else.

Every number of the page stands in a ``<data>`` element with its exact value and its place in the tree
(a JSON pointer, RFC 6901); the tree itself is carried in a data block of the page, so that a program
can read what a person sees. The page runs no script and asks nothing of the network: its content
security policy forbids both.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.reporting.comparison import compare_runs
from cinefeat.pipeline.reporting.costs import provenance, stage_figures, trace
from cinefeat.pipeline.reporting.curves import curve_figures, draw_curves
from cinefeat.pipeline.reporting.figures import Run, run_figures
from cinefeat.pipeline.reporting.film import Strip, film_strips, strip_figures
from cinefeat.pipeline.reporting.heat import draw_confusion, heat_css, level_of
from cinefeat.pipeline.store import write_text

MAX_CELLS = 30
"""Classes up to which the confusion matrix is a table; beyond, it is a picture."""


def write_page(
    path: Path,
    runs: Sequence[Run],
    clips: Mapping[str, Clip],
    store: Path,
    *,
    n_worst: int = 12,
    common: bool = False,
) -> dict[str, Any]:
    """Write the page of the first run, compared with the others, and return its tree of figures.

    Parameters
    ----------
    path : Path
        The HTML file.
    runs : sequence of Run
    clips : mapping of str to Clip
        What a manifest says of the clips; may be empty.
    store : Path
        Where the products of the first run are looked for.
    n_worst : int
        Clips that are shown with a film strip.
    common : bool
        As in `compare_runs`.

    Raises
    ------
    InputError
        If the runs tested other clips, or a file of the store cannot be read.
    """
    comparison = compare_runs(runs, common=common)
    found = trace(store, runs[0].evaluation)
    known = {**found.clips(), **clips}
    run = run_figures(runs[0], n_worst)
    strips = film_strips([row["clip"] for row in run["worst"]], known)
    for row, strip in zip(run["worst"], strip_figures(strips), strict=True):
        row["film"] = strip
    stages = stage_figures(found, known)
    tree = {
        "cinefeat": metadata.version("cinefeat"),
        "run": run,
        "comparison": comparison,
        "stages": stages,
        "cpu_seconds": sum(row["cpu_seconds"] for row in stages) if stages else None,
        "n_found": found.n_found,
        "curves": curve_figures(found.every()),
        "provenance": provenance(found),
    }
    write_text(path, render(tree, strips))
    return tree


def render(tree: dict[str, Any], strips: Sequence[Strip]) -> str:
    """Return the page of a tree of figures as HTML.

    `strips` are the images of the worst clips, in their order.
    """
    folder = resources.files("cinefeat.pipeline.reporting") / "templates"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["figure"] = lambda pointer, form: figure(tree, pointer, form)
    environment.globals["level_of"] = level_of
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    names = tree["run"]["class_names"]
    return template.render(
        tree=tree,
        strips=strips,
        css=Markup((folder / "page.css").read_text(encoding="utf-8")),
        heat_css=Markup(heat_css()),
        is_table=len(names) <= MAX_CELLS,
        picture=Markup(draw_confusion(tree["run"]) if len(names) > MAX_CELLS else ""),
        curves=[Markup(svg) for svg in draw_curves(tree["curves"])],
        json=Markup(_json_block(tree)),
    )


def figure(tree: Any, pointer: str, form: str) -> Markup:
    """Return the number at a place of the tree as a ``<data>`` element.

    Examples
    --------
    >>> figure({"accuracy": [0.97777]}, "/accuracy/0", "percent")
    Markup('<data value="0.97777" data-at="/accuracy/0">97.8%</data>')
    """
    value = lookup(tree, pointer)
    text = "–" if value is None else FORMS[form](value)
    return Markup('<data value="{}" data-at="{}">{}</data>').format(
        json.dumps(value), pointer, text
    )


def lookup(tree: Any, pointer: str) -> Any:
    """Return what lies at a JSON pointer.

    Examples
    --------
    >>> lookup({"a/b": [1, 2]}, "/a~1b/1")
    2
    """
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        tree = tree[int(key)] if isinstance(tree, list) else tree[key]
    return tree


def _json_block(tree: Any) -> str:
    """Return the tree as JSON that may stand in a page: no character of it can end the block."""
    text = json.dumps(tree, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _points(value: float) -> str:
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def _count(value: int) -> str:
    return f"{value:,}"


def _score(value: float) -> str:
    """Three digits, and no more than three of them decimals unless all three are zeros."""
    text = f"{value:.3f}" if 0.001 <= abs(value) < 1 else f"{value:#.3g}".rstrip(".")
    return text.replace("-", "−")


def _seconds(value: float) -> str:
    if value < 60:
        return f"{value:.1f} s" if value >= 0.1 else f"{1000 * value:.0f} ms"
    return f"{value / 60:.1f} min" if value < 3600 else f"{value / 3600:.1f} h"


def _time(value: float) -> str:
    return f"{value:.1f} s"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


FORMS = {
    "percent": _percent,
    "points": _points,
    "count": _count,
    "score": _score,
    "seconds": _seconds,
    "time": _time,
    "rate": _rate,
    "p": _p_value,
}
