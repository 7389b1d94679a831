"""Learning curves as a picture: loss, and what else was measured, over the epochs."""

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def curves_png(curves: Mapping[str, np.ndarray], best_epoch: int, title: str) -> bytes:
    """Draw ``train/NAME`` and ``validation/NAME`` curves, one panel for each name.

    Parameters
    ----------
    curves : mapping of str to ndarray of shape (n_epochs,)
    best_epoch : int
        Where a line marks the weights that were kept, from 0.
    title : str

    Returns
    -------
    bytes
        Of a PNG file.
    """
    names = sorted({name.partition("/")[2] for name in curves}, key=lambda n: (n != "loss", n))
    figure = Figure(figsize=(4.2 * len(names), 3.2), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for part in ("train", "validation"):
            values = curves.get(f"{part}/{name}")
            if values is not None:
                axes.plot(np.arange(1, len(values) + 1), values, label=part)
        axes.axvline(best_epoch + 1, color="0.6", linewidth=0.8)
        axes.set(xlabel="epoch", ylabel=name, title=title if name == names[0] else "")
        axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
