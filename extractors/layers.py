"""Building blocks of the networks, in their plain form: one layer each for padding, norm, ReLU.

A network is an `nn.Sequential` whose children carry the layer names of its paper, so that any of
them can be asked for by name. Blocks take two- or three-dimensional kernels: (H, W) or (T, H, W).
The form in which networks run fast is made from these blocks by `fold`.
"""

from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, ...]
Pads = list[tuple[int, int]]  # (in front, behind) of every axis
Activation = Literal["relu", "relu6", "none"]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how much TensorFlow's SAME padding adds in front of and behind an axis.

    The output has ``ceil(size / stride)`` positions; of an odd total the larger half lies behind.

    Examples
    --------
    >>> same_padding(224, 7, 2), same_padding(7, 3, 1), same_padding(7, 2, 2)
    ((2, 3), (1, 1), (0, 1))
    """
    total = max(kernel - (size % stride or stride), 0)
    return total // 2, total - total // 2


def ceil_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding by which Caffe's pools, which round their output size up, reach the end.

    Examples
    --------
    >>> ceil_padding(112, 3, 2), ceil_padding(7, 2, 2), ceil_padding(8, 2, 2)
    ((0, 1), (0, 1), (0, 0))
    """
    n_steps = -(-(size - kernel) // stride)
    return 0, max(n_steps * stride + kernel - size, 0)


def paddings(
    shape: Sequence[int], kernel: Size, stride: Size, padding: Size | Literal["same", "ceil"]
) -> Pads:
    """Return the padding of every axis of `shape`, by rule or as given.

    Examples
    --------
    >>> paddings((16, 56), (1, 3), (1, 2), "same"), paddings((16, 56), (1, 3), (1, 2), (0, 1))
    ([(0, 0), (0, 1)], [(0, 0), (1, 1)])
    """
    if padding == "same":
        return [same_padding(*axis) for axis in zip(shape, kernel, stride, strict=True)]
    if padding == "ceil":
        return [ceil_padding(*axis) for axis in zip(shape, kernel, stride, strict=True)]
    return [(int(p), int(p)) for p in padding]


def pad(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """Pad the last axes of `x`; without anything to add, `x` itself is returned."""
    if not any(front or behind for front, behind in pads):
        return x
    return F.pad(x, [amount for axis in reversed(pads) for amount in axis], value=value)


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Rectify `x` in place: ``max(0, x)``, for "relu6" also ``min(6, x)``."""
    if activation == "relu":
        return F.relu_(x)
    return F.relu6(x, inplace=True) if activation == "relu6" else x


class ConvUnit(nn.Module):
    """Convolution, batch norm where asked for, and rectification.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    kernel, stride : tuple of int
        Two or three axes.
    padding : tuple of int or "same"
        Zeros on both sides of each axis, or TensorFlow's rule.
    groups : int
        As in `torch.nn.Conv2d`; `n_in` makes the convolution depthwise.
    has_bias : bool
        Whether the convolution adds a bias.
    norm_eps : float or None
        The constant added to the running variance; None leaves batch norm out.
    activation : "relu", "relu6" or "none"
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: Size,
        stride: Size | None = None,
        padding: Size | Literal["same"] = "same",
        *,
        groups: int = 1,
        has_bias: bool = True,
        norm_eps: float | None = None,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        is_image = len(kernel) == 2
        self.kernel, self.stride, self.padding = kernel, stride or (1,) * len(kernel), padding
        self.activation: Activation = activation
        size: Any = kernel  # torch's annotations ask for two or three axes, not either
        steps: Any = self.stride
        convolution = nn.Conv2d if is_image else nn.Conv3d
        self.conv: nn.Conv2d | nn.Conv3d = convolution(
            n_in, n_out, size, steps, groups=groups, bias=has_bias
        )
        norm = nn.BatchNorm2d if is_image else nn.BatchNorm3d
        self.norm = None if norm_eps is None else norm(n_out, eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return the (N, n_out, ...) map of `x` (N, n_in, ...)."""
        pads = paddings(x.shape[2:], self.kernel, self.stride, self.padding)
        y = self.conv(pad(x, pads))
        return activate(y if self.norm is None else self.norm(y), self.activation)


class NormUnit(nn.Module):
    """Batch norm and ReLU before a convolution, as in densely connected networks.

    Parameters
    ----------
    n_channels : int
    n_axes : 2 or 3
        Axes of a map: (H, W) or (T, H, W).
    """

    def __init__(self, n_channels: int, n_axes: int) -> None:
        super().__init__()
        self.norm = (nn.BatchNorm2d if n_axes == 2 else nn.BatchNorm3d)(n_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised, rectified map, of the shape of `x`."""
        return F.relu_(self.norm(x))


class LinearUnit(nn.Module):
    """Fully connected layer and ReLU."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, n_out) of (N, n_in)."""
        return F.relu_(self.linear(x))


class MaxPool(nn.Module):
    """Maximum over windows; padding never wins, whatever the sign of the input.

    Parameters
    ----------
    kernel, stride : tuple of int
        Two or three axes.
    padding : tuple of int, "same" or "ceil"
        On both sides of each axis, by TensorFlow's rule, or by Caffe's.
    """

    def __init__(
        self,
        kernel: Size,
        stride: Size,
        padding: Size | Literal["same", "ceil"] | None = None,
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.padding = (0,) * len(kernel) if padding is None else padding

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima of `x` (N, C, ...)."""
        pads = paddings(x.shape[2:], self.kernel, self.stride, self.padding)
        pool = F.max_pool2d if len(self.kernel) == 2 else F.max_pool3d
        return pool(pad(x, pads, -torch.inf), self.kernel, self.stride)


class Branches(nn.ModuleDict):
    """Several chains of layers on one input, their outputs joined along the channels, in order."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the joined maps (N, C_1 + C_2 + ..., ...)."""
        return torch.cat([branch(x) for branch in self.values()], dim=1)


class Residual(nn.Module):
    """A chain of layers whose input, as it is or projected, is added to its output.

    Parameters
    ----------
    body : nn.Sequential
    shortcut : nn.Module or None
        Projection of the input; None adds the input itself.
    is_rectified : bool
        Whether a ReLU follows the sum.
    """

    def __init__(self, body: nn.Sequential, shortcut: nn.Module | None, is_rectified: bool) -> None:
        super().__init__()
        self.body, self.shortcut, self.is_rectified = body, shortcut, is_rectified

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, of the body's shape."""
        y = self.body(x) + (x if self.shortcut is None else self.shortcut(x))
        return F.relu_(y) if self.is_rectified else y


class Mean(nn.Module):
    """Mean over every axis after the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C) of (N, C, ...)."""
        return x.flatten(2).mean(2)


def chain(*parts: nn.Module) -> nn.Sequential:
    """Join layers that follow one another and carry no names of their own."""
    return nn.Sequential(*parts)


def named_chain(layers: dict[str, nn.Module | None]) -> nn.Sequential:
    """Join layers under their names; None stands for a layer that this network lacks."""
    network = nn.Sequential()
    for name, layer in layers.items():
        if layer is not None:
            network.add_module(name, layer)
    return network


def classifier(n_in: int, n_classes: int | None) -> nn.Linear | None:
    """Return the layer of class scores, or None where a network ends in its features."""
    return None if n_classes is None else nn.Linear(n_in, n_classes)


def scaled(n_channels: int, width: float) -> int:
    """Return a number of channels times the width factor of a network, at least 1.

    Examples
    --------
    >>> scaled(64, 0.25), scaled(64, 0.001)
    (16, 1)
    """
    if width <= 0:
        raise ValueError(f"width is {width}; a positive factor is needed (1: as published)")
    return max(1, round(n_channels * width))


def draw_he_weights(network: nn.Module) -> nn.Module:
    """Draw the weights of a network so that rectified maps keep their scale; return the network.

    Convolutions and full layers get normal weights of variance ``2 / fan_in`` (He et al.,
    "Delving Deep into Rectifiers", ICCV 2015) and biases of 0; norms become the identity. Deep
    networks without norms do not learn from torch's own first weights, whose maps fade out.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            layer.reset_parameters()
    return network


def run_layers(network: nn.Sequential, x: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
    """Run a network as far as needed and return the outputs of the wanted layers by name."""
    found: dict[str, Tensor] = {}
    for name, layer in network.named_children():
        x = layer(x)
        if name in wanted:
            found[name] = x
        if len(found) == len(wanted):
            break
    return found
