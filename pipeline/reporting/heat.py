"""Colours of the confusion matrix: ramps whose text is readable at every level, and a large matrix.

Black or white text has a contrast of at least 4.58 on any colour whatever, whichever is better (the
luminance where they are equal is 0.179); so every level passes WCAG 2.2, criterion 1.4.3 (4.5).
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

LEVELS = 10
"""Steps of a ramp, beside its empty level 0."""
INK = "#070809"
"""What stands for the colour of the page's text while a figure is drawn."""
# ramp -> (colour of its level 0, of its highest level), for light and dark pages
RAMPS = {
    "light": {"right": ("#eef4fb", "#124b8f"), "wrong": ("#fdf0e7", "#b23c0e")},
    "dark": {"right": ("#16202d", "#8fc1f7"), "wrong": ("#2b1c14", "#ffa77f")},
}


def level_of(count: int, total: int) -> int:
    """Return the level of a cell: 0 for none, else 1 to `LEVELS` by its share of the row.

    Examples
    --------
    >>> [level_of(count, 20) for count in (0, 1, 10, 20)]
    [0, 1, 5, 10]
    """
    return -(-LEVELS * count // total) if count else 0


def heat_css() -> str:
    """Return the style rules of the classes ``right-k`` and ``wrong-k``, k from 1 to `LEVELS`."""
    dark = "".join(_rules("dark"))
    return "".join(_rules("light")) + "@media screen and (prefers-color-scheme:dark){" + dark + "}"


def _rules(theme: str) -> list[str]:
    return [
        f".{ramp}-{k}{{background:{colour};color:{text_on(colour)}}}"
        for ramp, ends in RAMPS[theme].items()
        for k, colour in enumerate(_ramp(*ends))
        if k
    ]


def _ramp(low: str, high: str) -> list[str]:
    first, last = (np.array(_channels(colour)) for colour in (low, high))
    steps = [first + (last - first) * k / LEVELS for k in range(LEVELS + 1)]
    return ["#" + "".join(f"{round(255 * channel):02x}" for channel in step) for step in steps]


def text_on(colour: str) -> str:
    """Return black or white, whichever has more contrast on a colour ``#rrggbb``."""
    return max(("#000000", "#ffffff"), key=lambda text: contrast(text, colour))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2.2, "contrast ratio").

    Examples
    --------
    >>> contrast("#ffffff", "#000000")
    21.0
    """
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(colour)
    ]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def _channels(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def draw_confusion(run: dict[str, Any]) -> str:
    """Return the confusion matrix of many classes as SVG, each row by its share of the class."""
    from matplotlib.figure import Figure

    counts, names = np.array(run["confusion"]), run["class_names"]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    drawing = Figure(figsize=(6.4, 6.4), layout="constrained")
    axes = drawing.add_subplot()
    axes.imshow(shares, vmin=0, vmax=1, cmap="cividis", interpolation="none")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    size = float(np.clip(330 / len(names), 2.5, 8))
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    return svg(drawing, f"Confusion matrix of {len(names)} classes, rows true, columns predicted")


def svg(drawing: Any, label: str) -> str:
    """Return a figure as an inline SVG element that takes the colour of the page's text.

    Text stays text. `label` is what a screen reader says.
    """
    import matplotlib

    drawing.patch.set_alpha(0)
    for axes in drawing.axes:
        _ink(axes)
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cinefeat"}):
        drawing.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    body = text.getvalue()[text.getvalue().index("<svg") :]
    named = f'<svg role="img" aria-label="{_escaped(label)}"'
    return body.replace("<svg", named, 1).replace(INK, "currentColor")


def _ink(axes: Any) -> None:
    axes.patch.set_alpha(0)
    axes.tick_params(colors=INK, which="both")
    texts: Sequence[Any] = (axes.title, axes.xaxis.label, axes.yaxis.label)
    for text in texts:
        text.set_color(INK)
    for spine in axes.spines.values():
        spine.set_color(INK)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
