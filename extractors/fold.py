"""The form in which networks run fast: same outputs, fewer and better passes over the memory.

Of the plain form made by `layers`:

* batch norm is folded into the convolution before it;
* a padding that is the same in front and behind moves into the convolution;
* convolutions of one input with 1x1 kernels that stand at the head of parallel branches become one;
* maps lie channels-last in memory;
* on the CPU a maximum over a window is taken axis by axis, and a 3x3x3 convolution by Winograd's
  minimal filtering along time, which needs 4 convolutions of 3x3 for 2 frames instead of 6
  (Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, CVPR 2016).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cinefeat.extractors.layers import (
    Activation,
    Branches,
    ConvUnit,
    MaxPool,
    Size,
    activate,
    pad,
    paddings,
)


def inference_form(network: nn.Sequential) -> nn.Sequential:
    """Return a network for inference from one in the form in which it is trained.

    Parameters
    ----------
    network : nn.Sequential
        In evaluation mode, its weights on the device where it will run. It is used up: its
        layers and tensors become the result's.

    Returns
    -------
    nn.Sequential
        Layers of the same names, whose outputs differ from the given network's by rounding alone.
    """
    folded = _converted(network, _is_on_cpu(network))
    assert isinstance(folded, nn.Sequential)
    return folded.eval().requires_grad_(False)


class FoldedConv(nn.Module):
    """A convolution with batch norm in its weights, and rectification in place."""

    def __init__(self, weight: Tensor, bias: Tensor | None, like: ConvUnit) -> None:
        super().__init__()
        form = torch.channels_last if weight.ndim == 4 else torch.channels_last_3d
        self.weight = nn.Parameter(weight.contiguous(memory_format=form))
        self.bias = None if bias is None else nn.Parameter(bias)
        self.kernel, self.stride, self.padding = like.kernel, like.stride, like.padding
        self.groups = like.conv.groups
        self.activation: Activation = like.activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the (N, n_out, ...) map of `x` (N, n_in, ...)."""
        pads = paddings(x.shape[2:], self.kernel, self.stride, self.padding)
        inside = tuple(front if front == behind else 0 for front, behind in pads)
        outside = [(0, 0) if front == behind else (front, behind) for front, behind in pads]
        y = _convolve(pad(x, outside), self.weight, self.bias, self.stride, inside, self.groups)
        return activate(y, self.activation)


class TemporalWinogradConv(nn.Module):
    """A 3x3x3 convolution of stride 1, two output frames at a time.

    With the temporal taps a, b, c of a kernel and four successive frames d0..d3, the two outputs
    ``a d0 + b d1 + c d2`` and ``a d1 + b d2 + c d3`` (products are 3x3 convolutions) are
    ``m0 + m1 + m2`` and ``m1 - m2 - m3`` with::

        m0 = a (d0 - d2)                m1 = (a + b + c) / 2 (d1 + d2)
        m3 = c (d1 - d3)                m2 = (a - b + c) / 2 (d2 - d1)
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, like: ConvUnit) -> None:
        super().__init__()
        a, b, c = weight.unbind(2)
        kernels = torch.stack([a, (a + b + c) / 2, (a - b + c) / 2, c])
        self.kernels = nn.ParameterList(
            [kernel.contiguous(memory_format=torch.channels_last) for kernel in kernels]
        )
        self.bias = None if bias is None else nn.Parameter(bias)
        self.activation: Activation = like.activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the (N, n_out, T, H, W) map of `x` (N, n_in, T, H, W)."""
        n, n_in, n_frames, height, width = x.shape
        n_pairs = -(-n_frames // 2)
        frames = x.new_empty((n, 2 * n_pairs + 2, height, width, n_in))
        frames[:, 0] = 0
        frames[:, 1 : n_frames + 1] = x.permute(0, 2, 3, 4, 1)
        frames[:, n_frames + 1 :] = 0
        even, odd = frames[:, ::2], frames[:, 1::2]
        d0, d1, d2, d3 = even[:, :-1], odd[:, :-1], even[:, 1:], odd[:, 1:]
        m0 = self._filter(0, d0 - d2)
        m1 = self._filter(1, d1 + d2)
        m2 = self._filter(2, d2 - d1)
        m3 = self._filter(3, d1 - d3)
        y = torch.empty((n, n_pairs, 2, *m0.shape[1:]), dtype=x.dtype)
        sums = m0.add_(m1).add_(m2).unflatten(0, (n, n_pairs))
        y[:, :, 0] = sums
        y[:, :, 1] = m1.sub_(m2).sub_(m3).unflatten(0, (n, n_pairs))
        y = activate(y.flatten(1, 2)[:, :n_frames], self.activation)
        return y.permute(0, 4, 1, 2, 3)

    def _filter(self, k: int, frames: Tensor) -> Tensor:
        """Convolve frames (N, T, H, W, C) with kernel `k`; returns (N T, H, W, n_out)."""
        images = frames.flatten(0, 1).permute(0, 3, 1, 2)
        # the outputs take the bias from m1 with weights 1 and 1, and from the others none
        bias = self.bias if k == 1 else None
        y = _convolve(images, self.kernels[k], bias, (1, 1), (1, 1), 1)
        return y.permute(0, 2, 3, 1)


class AxisMaxPool(nn.Module):
    """Maximum over windows, one axis after the other; padding is left out, not filled."""

    def __init__(self, like: MaxPool) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = like.kernel, like.stride, like.padding

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima of `x` (N, C, ...)."""
        pads = paddings(x.shape[2:], self.kernel, self.stride, self.padding)
        for axis, (kernel, stride, (front, behind)) in enumerate(
            zip(self.kernel, self.stride, pads, strict=True), start=2
        ):
            if kernel > 1 or stride > 1:
                x = _max_along(x, axis, kernel, stride, front, behind)
        return x


class MergedBranches(nn.Module):
    """Branches whose leading 1x1 convolutions of the common input run as one.

    Parameters
    ----------
    head : FoldedConv
        The merged convolution.
    sizes : list of int
        How many of its channels each branch takes; 0 for a branch that takes the input itself.
    rests : list of nn.Module
        What follows in each branch.
    """

    def __init__(self, head: FoldedConv, sizes: list[int], rests: list[nn.Module]) -> None:
        super().__init__()
        self.head, self.sizes, self.rests = head, sizes, nn.ModuleList(rests)

    def forward(self, x: Tensor) -> Tensor:
        """Return the joined maps (N, C_1 + C_2 + ..., ...)."""
        parts = iter(self.head(x).split([size for size in self.sizes if size], dim=1))
        inputs = [next(parts) if size else x for size in self.sizes]
        return torch.cat([rest(y) for rest, y in zip(self.rests, inputs, strict=True)], dim=1)


def _is_on_cpu(network: nn.Module) -> bool:
    return all(weight.device.type == "cpu" for weight in network.parameters())


def _converted(layer: nn.Module, on_cpu: bool) -> nn.Module:
    if isinstance(layer, ConvUnit):
        return _folded_conv(layer, on_cpu)
    if isinstance(layer, MaxPool) and on_cpu:
        return AxisMaxPool(layer)
    if isinstance(layer, Branches) and any(_pointwise(_first(b)) for b in layer.values()):
        return _merged(layer, on_cpu)
    for name, child in list(layer.named_children()):
        layer.add_module(name, _converted(child, on_cpu))
    return layer


def _folded_conv(unit: ConvUnit, on_cpu: bool) -> nn.Module:
    weight, bias = _folded_weights(unit)
    is_cube = unit.kernel == (3, 3, 3) and unit.stride == (1, 1, 1)
    is_padded = unit.padding in ("same", (1, 1, 1))
    if on_cpu and is_cube and is_padded and unit.conv.groups == 1:
        return TemporalWinogradConv(weight, bias, unit)
    return FoldedConv(weight, bias, unit)


def _folded_weights(unit: ConvUnit) -> tuple[Tensor, Tensor | None]:
    weight, bias = unit.conv.weight, unit.conv.bias
    norm = unit.norm
    if norm is None:
        return weight, bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    start = norm.running_mean if bias is None else norm.running_mean - bias
    return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1)), norm.bias - start * scale


def _merged(branches: Branches, on_cpu: bool) -> nn.Module:
    chains = [list(branch.children()) for branch in branches.values()]
    heads = [_pointwise(chain[0]) for chain in chains]
    units = [head for head in heads if head is not None]
    rests: list[nn.Module] = [
        nn.Sequential(*(_converted(layer, on_cpu) for layer in chain[head is not None :]))
        for head, chain in zip(heads, chains, strict=True)
    ]
    folded = [_folded_weights(unit) for unit in units]
    weight = torch.cat([weight for weight, _ in folded])
    bias = torch.cat([w.new_zeros(len(w)) if b is None else b for w, b in folded])
    sizes = [0 if head is None else head.conv.out_channels for head in heads]
    return MergedBranches(FoldedConv(weight, bias, units[0]), sizes, rests)


def _first(branch: nn.Module) -> nn.Module:
    return next(branch.children())


def _pointwise(layer: nn.Module) -> ConvUnit | None:
    """Return the unit if it is a 1x1 convolution that others of its kind can be joined with."""
    if not isinstance(layer, ConvUnit) or layer.activation != "relu" or layer.conv.groups > 1:
        return None
    is_unpadded = layer.padding == "same" or not any(layer.padding)
    is_single = math.prod((*layer.kernel, *layer.stride)) == 1
    return layer if is_single and is_unpadded else None


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Size, padding: Size, groups: int
) -> Tensor:
    # torch chooses a slower algorithm for single small inputs, and another one for other batches
    if x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        ones = [1] * len(stride)
        return torch.mkldnn_convolution(x, weight, bias, padding, stride, ones, groups)
    convolution = F.conv2d if weight.ndim == 4 else F.conv3d
    return convolution(x, weight, bias, stride, padding, groups=groups)


def _max_along(x: Tensor, axis: int, kernel: int, stride: int, front: int, behind: int) -> Tensor:
    size = x.shape[axis]
    n_out = (size + front + behind - kernel) // stride + 1
    # of output o, tap k reads input o stride + k - front; first and last o for which that exists
    taps = [
        (k, max(-((k - front) // stride), 0), min((size - 1 + front - k) // stride, n_out - 1))
        for k in range(kernel)
    ]
    taps.sort(key=lambda tap: tap[1] - tap[2])
    if taps[0][2] - taps[0][1] + 1 < n_out:  # no tap reads something for every output
        widths = [(front, behind) if a == axis else (0, 0) for a in range(2, x.ndim)]
        return _max_along(pad(x, widths, -torch.inf), axis, kernel, stride, 0, 0)
    y = _tap(x, axis, stride, front, taps[0]).clone()
    for tap in taps[1:]:
        _, first, last = tap
        part = y.narrow(axis, first, last - first + 1)
        torch.maximum(part, _tap(x, axis, stride, front, tap), out=part)
    return y


def _tap(x: Tensor, axis: int, stride: int, front: int, tap: tuple[int, int, int]) -> Tensor:
    k, first, last = tap
    index: list[slice] = [slice(None)] * x.ndim
    start = first * stride + k - front
    index[axis] = slice(start, (last - first) * stride + start + 1, stride)
    return x[tuple(index)]
