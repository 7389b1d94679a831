"""T3D: DenseNet in three dimensions with temporal transition layers.

Diba et al., "Temporal 3D ConvNets", 2017. Between dense blocks, parallel convolutions of several
temporal depths look at short and long spans of the same maps. Without them the network is
DenseNet3D, the form in which the authors released their code.
"""

from typing import Literal

from torch import nn

from cinefeat.extractors.densenet import (
    BOTTLENECK,
    NORM_EPS,
    dense_block,
    plain_convolution,
    sizes_of,
    transition,
)
from cinefeat.extractors.layers import (
    Branches,
    ConvUnit,
    MaxPool,
    Mean,
    NormUnit,
    Size,
    chain,
    classifier,
    named_chain,
)

# temporal depths of the branches after each block
_DEPTHS: tuple[Size, ...] = ((1, 3, 6), (1, 3, 4), (1, 3, 4))


def t3d(
    depth: int = 121,
    n_classes: int | None = 101,
    transitions: Literal["temporal", "plain"] = "temporal",
    *,
    halves_channels: bool = False,
    dropout: float = 0.0,
    width: float = 1.0,
) -> nn.Sequential:
    """Build T3D with random weights.

    Parameters
    ----------
    depth : 121, 161, 169 or 201
    n_classes : int or None
        Length of the scores `logits`; None ends the network in `features`.
    transitions : "temporal" or "plain"
        Temporal transition layers, the first pool leaving time alone (the paper's T3D); or
        DenseNet's transitions, the first pool halving time (DenseNet3D as released).
    halves_channels : bool
        Whether a 1x1x1 convolution halves the joined maps of a temporal transition layer;
        descriptions of the paper differ.
    dropout : float
        In the dense layers: 0, or 0.2.
    width : float
        Factor of the channels of the stem, of the growth and of the branches; 1 is the paper's.

    Returns
    -------
    nn.Sequential
        Maps (N, 3, T, H, W), 32 frames of 224 px published, to scores (N, n_classes). T is at
        least 15 ("plain": 29), H and W at least 29. 12.27 million parameters with 121 layers,
        plain transitions and 1000 classes.

    Raises
    ------
    ValueError
        If `depth` or `transitions` is another, or `width` is not positive.
    """
    if transitions not in ("temporal", "plain"):
        raise ValueError(f"transitions is {transitions!r}; choose 'temporal' or 'plain'")
    is_temporal = transitions == "temporal"
    n_in, growth, counts = sizes_of(depth, width)
    layers: dict[str, nn.Module | None] = {
        "conv0": ConvUnit(
            3, n_in, (3, 7, 7), (2, 2, 2), (1, 3, 3), has_bias=False, norm_eps=NORM_EPS
        ),
        "pool0": MaxPool((3, 3, 3), (1 if is_temporal else 2, 2, 2), (1, 1, 1)),
    }
    for block, n_layers in enumerate(counts):
        layers[f"denseblock{block + 1}"] = dense_block(n_in, n_layers, growth, 3, dropout)
        n_in += n_layers * growth
        if block + 1 < len(counts) and is_temporal:
            n_branch = BOTTLENECK * growth
            step = temporal_transition(n_in, n_branch, _DEPTHS[block], halves_channels)
            layers[f"transition{block + 1}"] = step
            n_in = 3 * n_branch // (2 if halves_channels else 1)
        elif block + 1 < len(counts):
            layers[f"transition{block + 1}"] = transition(n_in, 3)
            n_in //= 2
    layers["norm5"] = NormUnit(n_in, 3)
    layers["features"] = Mean()
    layers["logits"] = classifier(n_in, n_classes)
    return named_chain(layers)


def temporal_transition(
    n_in: int, n_branch: int, depths: Size, halves_channels: bool = False
) -> nn.Sequential:
    """Build a temporal transition layer.

    Parameters
    ----------
    n_in, n_branch : int
        Channels of the input, and of each branch.
    depths : tuple of int
        Temporal extents of the branches' kernels: 1 stands for 1x1x1, D for Dx3x3. An even
        extent is padded with one frame more behind than in front.
    halves_channels : bool
        Whether a 1x1x1 convolution halves the joined channels before the pool.
    """
    n_joined = len(depths) * n_branch
    return named_chain(
        {
            "branches": Branches({f"depth{d}": _branch(n_in, n_branch, d) for d in depths}),
            "norm": NormUnit(n_joined, 3) if halves_channels else None,
            "conv": plain_convolution(n_joined, n_joined // 2, (1, 1, 1))
            if halves_channels
            else None,
            "pool": nn.AvgPool3d(2),
        }
    )


def _branch(n_in: int, n_out: int, depth: int) -> nn.Sequential:
    side = 1 if depth == 1 else 3
    return chain(NormUnit(n_in, 3), plain_convolution(n_in, n_out, (depth, side, side)))
