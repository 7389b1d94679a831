"""Densely connected networks: every layer takes the outputs of all layers before it in its block.

Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, in torchvision's form. The
blocks take two or three axes; `t3d` stacks them in three.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cinefeat.extractors.layers import (
    ConvUnit,
    MaxPool,
    Mean,
    NormUnit,
    Size,
    classifier,
    named_chain,
    scaled,
)

NORM_EPS = 1e-5
BOTTLENECK = 4  # channels of a layer's first convolution, in growths

# depth: channels of the stem, growth, layers of the blocks
DEPTHS: dict[int, tuple[int, int, Size]] = {
    121: (64, 32, (6, 12, 24, 16)),
    161: (96, 48, (6, 12, 36, 24)),
    169: (64, 32, (6, 12, 32, 32)),
    201: (64, 32, (6, 12, 48, 32)),
}


class DenseLayer(nn.Module):
    """BN-ReLU-1x1 convolution, BN-ReLU-3x3 convolution, and the input beside the result.

    Parameters
    ----------
    n_in, growth : int
        Channels of the input, and those that are added to it.
    n_axes : 2 or 3
    dropout : float
        Share of the added channels' values that training sets to 0.
    """

    def __init__(self, n_in: int, growth: int, n_axes: int, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = BOTTLENECK * growth
        self.norm1 = NormUnit(n_in, n_axes)
        # the second norm follows the first convolution, and so belongs to its unit
        self.conv1 = ConvUnit(n_in, hidden, (1,) * n_axes, has_bias=False, norm_eps=NORM_EPS)
        self.conv2 = plain_convolution(hidden, growth, (3,) * n_axes)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, n_in + growth, ...) of (N, n_in, ...)."""
        y = self.conv2(self.conv1(self.norm1(x)))
        return torch.cat([x, F.dropout(y, self.dropout, self.training)], dim=1)


def plain_convolution(n_in: int, n_out: int, kernel: Size) -> ConvUnit:
    """Return a convolution of stride 1 without bias, norm or rectification, padded to its input."""
    return ConvUnit(n_in, n_out, kernel, has_bias=False, activation="none")


def dense_block(
    n_in: int, n_layers: int, growth: int, n_axes: int, dropout: float = 0.0
) -> nn.Sequential:
    """Join `n_layers` dense layers; the output has ``n_in + n_layers * growth`` channels."""
    return nn.Sequential(
        OrderedDict(
            (f"denselayer{k + 1}", DenseLayer(n_in + k * growth, growth, n_axes, dropout))
            for k in range(n_layers)
        )
    )


def transition(n_in: int, n_axes: int) -> nn.Sequential:
    """Halve the channels by BN-ReLU-1x1 convolution, and every axis by an average pool."""
    pool = nn.AvgPool2d(2) if n_axes == 2 else nn.AvgPool3d(2)
    return named_chain(
        {
            "norm": NormUnit(n_in, n_axes),
            "conv": plain_convolution(n_in, n_in // 2, (1,) * n_axes),
            "pool": pool,
        }
    )


def sizes_of(depth: int, width: float) -> tuple[int, int, Size]:
    """Return channels of the stem, growth and layers of each block.

    Raises
    ------
    ValueError
        If `depth` is not in `DEPTHS`, or `width` is not positive.
    """
    if depth not in DEPTHS:
        raise ValueError(f"depth is {depth}; choose one of {', '.join(map(str, DEPTHS))}")
    n_stem, growth, counts = DEPTHS[depth]
    # an even stem, so that transitions halve whole numbers of channels
    return 2 * scaled(n_stem // 2, width), 2 * scaled(growth // 2, width), counts


def densenet(
    depth: int = 121, n_channels: int = 3, n_classes: int | None = 1000, width: float = 1.0
) -> nn.Sequential:
    """Build a densely connected image network with random weights.

    Parameters
    ----------
    depth : 121, 161, 169 or 201
    n_channels : int
    n_classes : int or None
        Length of the scores `logits`; None ends the network in `features`.
    width : float
        Factor of the channels of the stem and of the growth; 1 is the paper's.

    Returns
    -------
    nn.Sequential
        Maps (N, n_channels, H, W), 224 published, to scores (N, n_classes); `features` has 1024
        components with 121 layers. 7 978 856 parameters with 121 layers, 3 channels and 1000
        classes.

    Raises
    ------
    ValueError
        If `depth` is another, or `width` not positive.
    """
    n_in, growth, counts = sizes_of(depth, width)
    layers: dict[str, nn.Module | None] = {
        "conv0": ConvUnit(
            n_channels, n_in, (7, 7), (2, 2), (3, 3), has_bias=False, norm_eps=NORM_EPS
        ),
        "pool0": MaxPool((3, 3), (2, 2), (1, 1)),
    }
    for block, n_layers in enumerate(counts, start=1):
        layers[f"denseblock{block}"] = dense_block(n_in, n_layers, growth, 2)
        n_in += n_layers * growth
        if block < len(counts):
            layers[f"transition{block}"] = transition(n_in, 2)
            n_in //= 2
    layers["norm5"] = NormUnit(n_in, 2)
    layers["features"] = Mean()
    layers["logits"] = classifier(n_in, n_classes)
    return named_chain(layers)
