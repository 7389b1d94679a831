"""EfficientNet-Lite0: inverted bottlenecks without squeeze-and-excitation, with ReLU6.

Tan and Le, "EfficientNet", ICML 2019; the Lite variant is Google's for mobile hardware. Padding
is TensorFlow's SAME, batch norm adds 1e-3 to the variance.
"""

from torch import nn

from cinefeat.extractors.layers import (
    Activation,
    ConvUnit,
    Mean,
    Residual,
    chain,
    classifier,
    named_chain,
)

FEATURE_SIZE = 1280

# (units, kernel, stride of the first, expansion, output channels)
_STAGES: tuple[tuple[int, int, int, int, int], ...] = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet_lite0(n_classes: int | None = 1000) -> nn.Sequential:
    """Build EfficientNet-Lite0 with random weights.

    Parameters
    ----------
    n_classes : int or None
        Length of the scores `logits`; None ends the network in `features`.

    Returns
    -------
    nn.Sequential
        Maps (N, 3, H, W), 224 published, to scores (N, n_classes); `features` has 1280
        components. 4 652 008 parameters with 1000 classes.
    """
    layers: dict[str, nn.Module | None] = {"stem": _unit(3, 32, 3, 2)}
    n_in, index = 32, 0
    for count, side, stride, expansion, n_out in _STAGES:
        for position in range(count):
            step = stride if position == 0 else 1
            layers[f"block{index}"] = _block(n_in, n_out, side, step, expansion)
            n_in, index = n_out, index + 1
    layers["head"] = _unit(n_in, FEATURE_SIZE, 1)
    layers["features"] = Mean()
    layers["dropout"] = nn.Dropout(0.2)
    layers["logits"] = classifier(FEATURE_SIZE, n_classes)
    return named_chain(layers)


def _unit(
    n_in: int,
    n_out: int,
    side: int,
    stride: int = 1,
    groups: int = 1,
    activation: Activation = "relu6",
) -> ConvUnit:
    return ConvUnit(
        n_in,
        n_out,
        (side,) * 2,
        (stride,) * 2,
        groups=groups,
        has_bias=False,
        norm_eps=1e-3,
        activation=activation,
    )


def _block(n_in: int, n_out: int, side: int, stride: int, expansion: int) -> nn.Module:
    width = n_in * expansion
    body = chain(
        *([_unit(n_in, width, 1)] if expansion > 1 else []),
        _unit(width, width, side, stride, groups=width),
        _unit(width, n_out, 1, activation="none"),
    )
    is_residual = stride == 1 and n_in == n_out
    return Residual(body, None, is_rectified=False) if is_residual else body
