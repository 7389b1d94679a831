"""Residual networks of bottleneck units: 50, 101 and 152 layers.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, in torchvision's form: the
3x3 convolution of a unit carries its stride.
"""

from torch import nn

from cinefeat.extractors.layers import (
    ConvUnit,
    MaxPool,
    Mean,
    Residual,
    chain,
    classifier,
    named_chain,
)

FEATURE_SIZE = 2048
_DEPTHS: dict[int, tuple[int, int, int, int]] = {
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def resnet(depth: int = 50, n_channels: int = 3, n_classes: int | None = 1000) -> nn.Sequential:
    """Build a residual network with random weights.

    Parameters
    ----------
    depth : 50, 101 or 152
    n_channels : int
        3 for images, 20 for 10 flow fields.
    n_classes : int or None
        Length of the scores `logits`; None ends the network in `features`.

    Returns
    -------
    nn.Sequential
        Maps (N, n_channels, H, W), 224 published, to scores (N, n_classes); `features` has 2048
        components. 25 557 032 parameters with 50 layers, 3 channels and 1000 classes.

    Raises
    ------
    ValueError
        If `depth` is another.
    """
    if depth not in _DEPTHS:
        raise ValueError(f"depth is {depth}; choose one of {', '.join(map(str, _DEPTHS))}")
    layers: dict[str, nn.Module | None] = {
        "conv1": _unit(n_channels, 64, 7, 2),
        "pool1": MaxPool((3, 3), (2, 2), (1, 1)),
    }
    n_in = 64
    for stage, count in enumerate(_DEPTHS[depth]):
        n_out, stride = 256 << stage, 1 if stage == 0 else 2
        units = [_bottleneck(n_in, n_out, stride)]
        units += [_bottleneck(n_out, n_out, 1) for _ in range(count - 1)]
        layers[f"layer{stage + 1}"] = nn.Sequential(*units)
        n_in = n_out
    layers["features"] = Mean()
    layers["logits"] = classifier(FEATURE_SIZE, n_classes)
    return named_chain(layers)


def _unit(n_in: int, n_out: int, side: int, stride: int = 1, is_rectified: bool = True) -> ConvUnit:
    return ConvUnit(
        n_in,
        n_out,
        (side,) * 2,
        (stride,) * 2,
        (side // 2,) * 2,
        has_bias=False,
        norm_eps=1e-5,
        activation="relu" if is_rectified else "none",
    )


def _bottleneck(n_in: int, n_out: int, stride: int) -> Residual:
    width = n_out // 4
    body = chain(
        _unit(n_in, width, 1),
        _unit(width, width, 3, stride),
        _unit(width, n_out, 1, is_rectified=False),
    )
    shortcut = None if n_in == n_out else _unit(n_in, n_out, 1, stride, is_rectified=False)
    return Residual(body, shortcut, is_rectified=True)
