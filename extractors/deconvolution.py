"""What a unit of a convolutional network looks for, projected back to the frames of a clip.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 2.1,
as Tran et al. use it for C3D (ICCV 2015, section 3.3): of one map of a layer all but the strongest
activation is set to 0; then every layer below is undone in turn. A maximum goes back to where it was
found, the rectification is applied once more, and a convolution is replaced by its transpose with
the same weights. The outcome, of the input's shape, shows which pattern raised the activation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cinefeat.extractors.layers import ConvUnit, MaxPool, Pads, activate, pad, paddings

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Pooled:
    """What a maximum over windows left behind.

    Attributes
    ----------
    values : Tensor of shape (N, C, ...)
        The maxima.
    positions : Tensor of the same shape, int64
        Where each was found, an index into a flattened map of the padded input.
    padded : tuple of int
        Shape of a map of the padded input.
    pads : list of (int, int)
        How much of it was added in front of and behind each axis.
    """

    values: Tensor
    positions: Tensor
    padded: tuple[int, ...]
    pads: Pads


@dataclass(frozen=True)
class Projection:
    """One activation projected back.

    Attributes
    ----------
    channel : int
        The map.
    position : tuple of int
        Where it has its strongest activation, (T, H, W) or (H, W).
    activation : float
    pattern : ndarray of shape (C, T, H, W) or (C, H, W), float32
        The projection, of the input's shape; 0 outside the receptive field.
    """

    channel: int
    position: tuple[int, ...]
    activation: float
    pattern: Float32


def pool(x: Tensor, layer: MaxPool) -> Pooled:
    """Take the maxima of `x` (N, C, ...) as `layer` does, and remember where they were."""
    pads = paddings(x.shape[2:], layer.kernel, layer.stride, layer.padding)
    whole = pad(x, pads, -torch.inf)
    function = F.max_pool2d if x.ndim == 4 else F.max_pool3d
    values, positions = function(whole, layer.kernel, layer.stride, return_indices=True)
    return Pooled(values, positions, tuple(whole.shape[2:]), pads)


def unpool(y: Tensor, pooled: Pooled) -> Tensor:
    """Put values (N, C, ...) of the size of some maxima back to where the maxima were found.

    Where windows overlap and share a maximum, its values are added. All else is 0.

    Examples
    --------
    >>> x = torch.tensor([[[[1.0, 4.0], [3.0, 2.0]]]])
    >>> unpool(torch.tensor([[[[7.0]]]]), pool(x, MaxPool((2, 2), (2, 2))))
    tensor([[[[0., 7.],
              [0., 0.]]]])
    """
    flat = y.new_zeros(*y.shape[:2], int(np.prod(pooled.padded)))
    flat.scatter_add_(2, pooled.positions.flatten(2), y.flatten(2))
    return _cropped(flat.reshape(*y.shape[:2], *pooled.padded), pooled.pads)


def transposed_convolution(y: Tensor, unit: ConvUnit, shape: Sequence[int]) -> Tensor:
    """Apply the transpose of a unit's convolution, without its bias.

    Parameters
    ----------
    y : Tensor of shape (N, n_out, ...)
    unit : ConvUnit
    shape : sequence of int
        Axes after the channels of what the unit was given.

    Returns
    -------
    Tensor of shape (N, n_in, *shape)
        The x for which ``<x, z> = <y, convolution(z)>`` for every z.
    """
    pads = paddings(shape, unit.kernel, unit.stride, unit.padding)
    padded = [n + front + behind for n, (front, behind) in zip(shape, pads, strict=True)]
    # what the strides left over at the end of an axis had no part in any output
    axes = zip(padded, unit.kernel, unit.stride, strict=True)
    left_over = [(size - kernel) % stride for size, kernel, stride in axes]
    transpose = F.conv_transpose2d if y.ndim == 4 else F.conv_transpose3d
    x = transpose(
        y,
        unit.conv.weight,
        stride=unit.stride,
        output_padding=left_over,
        groups=unit.conv.groups,
    )
    return _cropped(x, pads)


def strongest_activations(network: nn.Sequential, window: Tensor, layer: str) -> Float32:
    """Return the strongest activation (n_maps,) of each map of a layer.

    Parameters and errors are those of `project_back`.
    """
    with torch.inference_mode():
        for _, part in _path(network, layer):
            window = part(window)
        return window[0].flatten(1).amax(1).numpy()


def project_back(
    network: nn.Sequential,
    window: Tensor,
    layer: str,
    channels: Sequence[int] | None = None,
    *,
    n_strongest: int = 4,
) -> list[Projection]:
    """Project the strongest activations of a layer's maps back to the input.

    Parameters
    ----------
    network : nn.Sequential
        Up to `layer` a chain of `ConvUnit` without batch norm and `MaxPool`, in the form in which it
        is trained: C3D, LTC, VGG-16.
    window : Tensor of shape (1, C, T, H, W) or (1, C, H, W)
        One normalised window.
    layer : str
        Name of a convolution or a pool.
    channels : sequence of int or None
        The maps; None takes the `n_strongest` whose strongest activations are the greatest.
    n_strongest : int

    Returns
    -------
    list of Projection
        In the order of `channels`, or strongest first.

    Raises
    ------
    ValueError
        If there is no such layer or map, or a layer on the way is none that can be undone.
    """
    with torch.inference_mode():
        path = _path(network, layer)
        shapes, pools, top = [], {}, window
        for name, part in path:
            shapes.append(tuple(top.shape[2:]))
            if isinstance(part, MaxPool):
                pools[name] = pool(top, part)
                top = pools[name].values
            else:
                top = part(top)
        chosen = _chosen(top, channels, n_strongest)
        return [_project(path, shapes, pools, top, channel) for channel in chosen]


def as_pictures(
    pattern: Float32, channel_order: Literal["rgb", "bgr"] = "rgb"
) -> NDArray[np.uint8]:
    """Return a projection as RGB pictures: grey is 0, the strongest value black or white.

    Parameters
    ----------
    pattern : ndarray of shape (3, T, H, W), float32
    channel_order : "rgb" or "bgr"
        Of `pattern`.

    Returns
    -------
    ndarray of shape (T, H, W, 3), uint8
    """
    peak = float(np.abs(pattern).max()) or 1.0
    frames = np.rint(127.5 + 127.5 / peak * pattern.transpose(1, 2, 3, 0)).astype(np.uint8)
    return frames[..., ::-1] if channel_order == "bgr" else frames


def _path(network: nn.Sequential, layer: str) -> list[tuple[str, ConvUnit | MaxPool]]:
    """Return the layers up to the wanted one."""
    names = [name for name, _ in network.named_children()]
    path: list[tuple[str, ConvUnit | MaxPool]] = []
    for name, part in network.named_children():
        if not isinstance(part, ConvUnit | MaxPool) or getattr(part, "norm", None) is not None:
            break
        path.append((name, part))
        if name == layer:
            return path
    reachable = ", ".join(name for name, _ in path) or "none"
    what = f"layer {layer!r} cannot be undone" if layer in names else f"no layer {layer!r}"
    raise ValueError(f"{what}; layers that can be projected back are {reachable}")


def _chosen(top: Tensor, channels: Sequence[int] | None, n_strongest: int) -> list[int]:
    n_channels = top.shape[1]
    if channels is None:
        peaks = top[0].flatten(1).amax(1)
        return [int(i) for i in torch.argsort(peaks, descending=True, stable=True)[:n_strongest]]
    if wrong := [channel for channel in channels if not 0 <= channel < n_channels]:
        raise ValueError(f"no map {wrong[0]}; the layer has maps 0 to {n_channels - 1}")
    return list(channels)


def _project(
    path: Sequence[tuple[str, ConvUnit | MaxPool]],
    shapes: Sequence[tuple[int, ...]],
    pools: dict[str, Pooled],
    top: Tensor,
    channel: int,
) -> Projection:
    one_map = top[0, channel]
    index = int(one_map.argmax())
    x = torch.zeros_like(top)
    x[0, channel].view(-1)[index] = one_map.flatten()[index]
    for (name, part), shape in zip(reversed(path), reversed(shapes), strict=True):
        if isinstance(part, MaxPool):
            x = unpool(x, pools[name])
        else:
            x = transposed_convolution(activate(x, part.activation), part, shape)
    position = tuple(int(i) for i in np.unravel_index(index, one_map.shape))
    return Projection(channel, position, float(one_map.flatten()[index]), x[0].numpy())


def _cropped(x: Tensor, pads: Pads) -> Tensor:
    for axis, (front, behind) in enumerate(pads, start=2):
        x = x.narrow(axis, front, x.shape[axis] - front - behind)
    return x
