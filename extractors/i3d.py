"""I3D: Inception-v1 inflated to three dimensions.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017. Layer names are those of the
published network. Padding is TensorFlow's SAME everywhere but in the average pool, batch norm
adds 1e-3 to the variance. Inflating 2-D weights is in `inflate`.
"""

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

# unit: channels of 1x1 | reduced, 3x3 | reduced, 3x3 | projected pool
MIXED: dict[str, Size] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# the pool that stands in front of a unit
_POOLS: dict[str, tuple[str, Size, Size]] = {
    "Mixed_3b": ("MaxPool3d_3a_3x3", (1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ("MaxPool3d_4a_3x3", (3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ("MaxPool3d_5a_2x2", (2, 2, 2), (2, 2, 2)),
}


def i3d(
    n_channels: int = 3,
    n_classes: int | None = 400,
    norm_eps: float = 1e-3,
    has_average_pool: bool = True,
    width: float = 1.0,
) -> nn.Sequential:
    """Build I3D with random weights.

    Parameters
    ----------
    n_channels : int
        3 for RGB, 2 for flow.
    n_classes : int or None
        Length of the scores `logits`; None ends the network in its features.
    norm_eps : float
        What batch norm adds to the variance; a port uses 1e-5.
    has_average_pool : bool
        Whether `features` is the mean of the published 2x7x7 average pool, or, as in that port,
        of the last unit's map.
    width : float
        Factor of all channels; 1 is the paper's.

    Returns
    -------
    nn.Sequential
        Maps (N, n_channels, T, H, W), T >= 9, H and W >= 193 (224 published), to scores
        (N, n_classes). Layer `features` (N, 1024) is the mean over time, and over positions
        where the picture is larger, of the published average pool.

    Notes
    -----
    The published network averages scores over time; here the average pool's output is averaged
    and scored once, which is the same sum. 12 697 264 parameters with 3 channels and 400 classes,
    counting a batch-norm scale that the published network does not have (it is 1).
    """
    n_stem, n_in = scaled(64, width), scaled(192, width)
    layers: dict[str, nn.Module | None] = {
        "Conv3d_1a_7x7": _unit(n_channels, n_stem, 7, 2, norm_eps),
        "MaxPool3d_2a_3x3": MaxPool((1, 3, 3), (1, 2, 2), "same"),
        "Conv3d_2b_1x1": _unit(n_stem, n_stem, 1, 1, norm_eps),
        "Conv3d_2c_3x3": _unit(n_stem, n_in, 3, 1, norm_eps),
    }
    for name, published in MIXED.items():
        channels = tuple(scaled(n, width) for n in published)
        if name in _POOLS:
            pool, kernel, stride = _POOLS[name]
            layers[pool] = MaxPool(kernel, stride, "same")
        layers[name] = _mixed(n_in, channels, norm_eps)
        n_in = channels[0] + channels[2] + channels[4] + channels[5]
    layers["AvgPool3d"] = nn.AvgPool3d((2, 7, 7), stride=1) if has_average_pool else None
    layers["features"] = Mean()
    layers["dropout"] = nn.Dropout(0.5)
    layers["logits"] = classifier(n_in, n_classes)
    return named_chain(layers)


def _unit(n_in: int, n_out: int, side: int, stride: int, norm_eps: float) -> ConvUnit:
    return ConvUnit(n_in, n_out, (side,) * 3, (stride,) * 3, has_bias=False, norm_eps=norm_eps)


def _mixed(n_in: int, channels: Size, eps: float) -> Branches:
    b0, b1a, b1b, b2a, b2b, b3b = channels
    return Branches(
        {
            "b0": chain(_unit(n_in, b0, 1, 1, eps)),
            "b1": chain(_unit(n_in, b1a, 1, 1, eps), _unit(b1a, b1b, 3, 1, eps)),
            "b2": chain(_unit(n_in, b2a, 1, 1, eps), _unit(b2a, b2b, 3, 1, eps)),
            "b3": chain(MaxPool((3, 3, 3), (1, 1, 1), "same"), _unit(n_in, b3b, 1, 1, eps)),
        }
    )
