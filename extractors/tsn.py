"""Temporal segment networks: BN-Inception on snippets, and the consensus over segments.

Wang et al., "Temporal Segment Networks", ECCV 2016; the network of Ioffe and Szegedy, "Batch
Normalization", ICML 2015, in the form of its Caffe model: convolutions have biases, pools round
up, unit 5b pools by maximum. Modalities differ in the channels of a snippet: RGB 3, flow and
warped flow 10 (5 fields), RGB difference 15 (6 frames).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cinefeat.extractors.layers import (
    Branches,
    ConvUnit,
    MaxPool,
    Mean,
    Size,
    chain,
    classifier,
    named_chain,
    scaled,
)

NORM_EPS = 1e-5

# unit: channels of 1x1 | reduced, 3x3 | reduced, 3x3, 3x3 | projected pool; 0: no such layer
_UNITS: dict[str, Size] = {
    "inception_3a": (64, 64, 64, 64, 96, 96, 32),
    "inception_3b": (64, 64, 96, 64, 96, 96, 64),
    "inception_3c": (0, 128, 160, 64, 96, 96, 0),
    "inception_4a": (224, 64, 96, 96, 128, 128, 128),
    "inception_4b": (192, 96, 128, 96, 128, 128, 128),
    "inception_4c": (160, 128, 160, 128, 160, 160, 128),
    "inception_4d": (96, 128, 192, 160, 192, 192, 128),
    "inception_4e": (0, 128, 192, 192, 256, 256, 0),
    "inception_5a": (352, 192, 320, 160, 224, 224, 128),
    "inception_5b": (352, 192, 320, 192, 224, 224, 128),
}


def bn_inception(
    n_channels: int = 3, n_classes: int | None = 101, dropout: float = 0.8, width: float = 1.0
) -> nn.Sequential:
    """Build BN-Inception with random weights.

    Parameters
    ----------
    n_channels : int
        3, 10 or 15, by modality.
    n_classes : int or None
        Length of the scores `logits`; None ends the network in `global_pool`.
    dropout : float
        Before the scores: 0.8 for RGB, 0.7 for flow.
    width : float
        Factor of all channels; 1 is the paper's.

    Returns
    -------
    nn.Sequential
        Maps (N, n_channels, 224, 224) to scores (N, n_classes); `global_pool` has 1024
        components. 11 295 240 parameters with 3 channels and 1000 classes.
    """
    n_stem, n_in = scaled(64, width), scaled(192, width)
    layers: dict[str, nn.Module | None] = {
        "conv1_7x7_s2": _unit(n_channels, n_stem, 7, 2),
        "pool1_3x3_s2": MaxPool((3, 3), (2, 2), "ceil"),
        "conv2_3x3_reduce": _unit(n_stem, n_stem, 1),
        "conv2_3x3": _unit(n_stem, n_in, 3),
        "pool2_3x3_s2": MaxPool((3, 3), (2, 2), "ceil"),
    }
    for name, published in _UNITS.items():
        sizes = tuple(scaled(n, width) if n else 0 for n in published)
        is_last = name == "inception_5b"
        layers[name] = _inception(n_in, sizes, is_last) if sizes[0] else _reduction(n_in, sizes)
        n_in = sizes[0] + sizes[2] + sizes[5] + (sizes[6] if sizes[0] else n_in)
    layers["global_pool"] = Mean()
    layers["dropout"] = nn.Dropout(dropout)
    layers["logits"] = classifier(n_in, n_classes)
    return named_chain(layers)


def segment_consensus(
    scores: NDArray[np.floating],
    rule: Literal["mean", "max", "weighted"] = "mean",
    weights: Sequence[float] | None = None,
) -> NDArray[np.floating]:
    """Join the scores of a video's segments, before any softmax.

    Parameters
    ----------
    scores : ndarray of shape (K, n_classes)
        One row a segment (TSN averages the rows of its ten crops first).
    rule : "mean", "max" or "weighted"
        Mean or maximum over the segments, or the mean weighted by `weights`.
    weights : sequence of K floats
        For "weighted": not negative; divided by their sum.

    Returns
    -------
    ndarray of shape (n_classes,)

    Raises
    ------
    ValueError
        If the rule is unknown, the weights do not fit, or there is no segment.

    Examples
    --------
    >>> scores = np.array([[1.0, 0.0], [3.0, 2.0]])
    >>> segment_consensus(scores), segment_consensus(scores, "weighted", [3, 1])
    (array([2., 1.]), array([1.5, 0.5]))
    """
    if scores.ndim != 2 or len(scores) == 0:
        raise ValueError(f"scores have shape {scores.shape}; one row for each segment is needed")
    if rule == "max":
        return scores.max(axis=0)
    if rule == "mean":
        return scores.mean(axis=0)
    if rule != "weighted":
        raise ValueError(f"rule is {rule!r}; choose 'mean', 'max' or 'weighted'")
    shares = np.asarray(weights if weights is not None else (), float)
    if shares.shape != (len(scores),) or (shares < 0).any() or shares.sum() <= 0:
        raise ValueError(
            f"weights are {weights}; {len(scores)} numbers >= 0, not all 0, are needed"
        )
    return (shares / shares.sum()) @ scores


def _unit(n_in: int, n_out: int, side: int, stride: int = 1) -> ConvUnit:
    padding = (side // 2,) * 2
    return ConvUnit(n_in, n_out, (side,) * 2, (stride,) * 2, padding, norm_eps=NORM_EPS)


def _inception(n_in: int, sizes: Size, is_last: bool) -> Branches:
    b1, b3r, b3, dr, d1, d2, proj = sizes
    average = nn.AvgPool2d(3, stride=1, padding=1, ceil_mode=True)
    pool = MaxPool((3, 3), (1, 1), (1, 1)) if is_last else average
    return Branches(
        {
            "1x1": chain(_unit(n_in, b1, 1)),
            "3x3": chain(_unit(n_in, b3r, 1), _unit(b3r, b3, 3)),
            "double_3x3": chain(_unit(n_in, dr, 1), _unit(dr, d1, 3), _unit(d1, d2, 3)),
            "pool": chain(pool, _unit(n_in, proj, 1)),
        }
    )


def _reduction(n_in: int, sizes: Size) -> Branches:
    _, b3r, b3, dr, d1, d2, _ = sizes
    return Branches(
        {
            "3x3": chain(_unit(n_in, b3r, 1), _unit(b3r, b3, 3, 2)),
            "double_3x3": chain(_unit(n_in, dr, 1), _unit(dr, d1, 3), _unit(d1, d2, 3, 2)),
            "pool": chain(MaxPool((3, 3), (2, 2), "ceil")),
        }
    )
