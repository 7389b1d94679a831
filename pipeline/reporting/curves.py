"""Learning curves of the networks that a run trained, where it trained any."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cinefeat.pipeline.reporting.costs import Product
from cinefeat.pipeline.reporting.heat import svg
from cinefeat.pipeline.store import array_names, dataset, open_product

_CURVES = "curves/"
# part -> colour with a contrast of 3 to both a white and a near-black page
_COLOURS = {"train": "#4a86c8", "validation": "#cf5f1f"}


def curve_figures(products: Sequence[Product]) -> list[dict[str, Any]]:
    """Return the curves of every trained network: a row per stream, with one entry per fold.

    Products are those with the attribute `best_epoch` (the epoch, from 0, whose weights were kept)
    and arrays ``curves/<part>/<measure>`` of shape (n_epochs,).
    """
    streams: dict[str, list[dict[str, Any]]] = {}
    for path, attrs in products:
        if "best_epoch" in attrs:
            curves = _read(path)
            title = f"{attrs.get('model', attrs['stage'])}, {attrs.get('stream', path.stem)}"
            streams.setdefault(title, []).append(_fold(curves, int(attrs["best_epoch"])))
    return [{"stream": title, "folds": folds} for title, folds in streams.items()]


def _read(path: Any) -> dict[str, list[float]]:
    with open_product(path) as file:
        names = [name for name in array_names(file) if name.startswith(_CURVES)]
        return {name.removeprefix(_CURVES): dataset(file, name)[...].tolist() for name in names}


def _fold(curves: dict[str, list[float]], best: int) -> dict[str, Any]:
    return {
        "n_epochs": max((len(values) for values in curves.values()), default=0),
        "kept_epoch": best + 1,
        "at_best": {name: values[best] for name, values in curves.items() if best < len(values)},
        "curves": curves,
    }


def draw_curves(streams: Sequence[dict[str, Any]]) -> list[str]:
    """Return one SVG picture per stream: a panel per measure, a thin line per fold and part."""
    return [_draw(stream) for stream in streams]


def _draw(stream: dict[str, Any]) -> str:
    from matplotlib.figure import Figure

    folds = [fold["curves"] for fold in stream["folds"]]
    measures = sorted(
        {n.partition("/")[2] for c in folds for n in c}, key=lambda n: (n != "loss", n)
    )
    drawing = Figure(figsize=(4.6, 2.5 * max(1, len(measures))), layout="constrained")
    panels = drawing.subplots(max(1, len(measures)), 1, squeeze=False)[:, 0]
    for axes, measure in zip(panels, measures, strict=False):
        for part, colour in _COLOURS.items():
            lines = [c[f"{part}/{measure}"] for c in folds if f"{part}/{measure}" in c]
            for i, values in enumerate(lines):
                style = "-" if part == "train" else "--"
                label = part if i == 0 else None
                epochs = np.arange(1, len(values) + 1)
                axes.plot(epochs, values, style, color=colour, label=label, linewidth=1)
        axes.set(xlabel="epoch", ylabel=measure)
        axes.legend(frameon=False, labelcolor="linecolor")
    return svg(drawing, f"Learning curves of {stream['stream']}: {', '.join(measures)} by epoch")
