"""Weights for other inputs: from RGB to other channels, from two dimensions to three.

Both start a network where an image network ended: cross-modality initialisation (Wang et al.,
temporal segment networks, ECCV 2016) and inflation (Carreira and Zisserman, CVPR 2017).
"""

from collections.abc import Mapping

import torch

Tensor = torch.Tensor


def cross_modality(weight: Tensor, n_channels: int) -> Tensor:
    """Make a first convolution for `n_channels` inputs from one for colours.

    The kernels are averaged over the input channels and repeated; they are not rescaled.

    Parameters
    ----------
    weight : Tensor of shape (n_out, 3, ...)
    n_channels : int
        For instance 20 for 10 flow fields; >= 1.

    Returns
    -------
    Tensor of shape (n_out, n_channels, ...)

    Examples
    --------
    >>> weight = torch.tensor([1.0, 2.0, 6.0]).reshape(1, 3, 1, 1)
    >>> cross_modality(weight, 2).flatten().tolist()
    [3.0, 3.0]
    """
    if n_channels < 1:
        raise ValueError(f"n_channels is {n_channels}; at least 1 is needed")
    mean = weight.mean(dim=1, keepdim=True)
    return mean.expand(-1, n_channels, *mean.shape[2:]).contiguous()


def inflate_kernel(weight: Tensor, length: int) -> Tensor:
    """Make a kernel of three dimensions from one of two.

    The kernel is repeated `length` times along time and divided by `length`, so that a video
    whose frames are all the same gives the response of its frame.

    Parameters
    ----------
    weight : Tensor of shape (n_out, n_in, H, W)
    length : int
        Extent in time, >= 1.

    Returns
    -------
    Tensor of shape (n_out, n_in, length, H, W)

    Examples
    --------
    >>> inflate_kernel(torch.ones(1, 1, 1, 1), 2).flatten().tolist()
    [0.5, 0.5]
    """
    if weight.ndim != 4 or length < 1:
        raise ValueError(
            f"a kernel of shape {tuple(weight.shape)} cannot be inflated to length {length}; "
            "(n_out, n_in, H, W) and a length of at least 1 are needed"
        )
    return weight.unsqueeze(2).expand(-1, -1, length, -1, -1).contiguous() / length


def inflate_tensors(
    images: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Fill the tensors of a video network from an image network of the same layers.

    Kernels (n_out, n_in, H, W) become (n_out, n_in, T, H, W) by `inflate_kernel`; a first
    convolution for other channels goes through `cross_modality` first; everything else is taken
    as it is.

    Parameters
    ----------
    images : mapping of str to Tensor
        The image network's tensors, under the video network's names.
    wanted : mapping of str to tuple of int
        Names and shapes of the video network's tensors.

    Returns
    -------
    dict of str to Tensor
        Those of `wanted` that `images` has.

    Raises
    ------
    ValueError
        If a tensor does not fit; it is named.
    """
    inflated: dict[str, Tensor] = {}
    for name, shape in wanted.items():
        if name not in images:
            continue
        tensor = images[name]
        if tensor.ndim >= 4 and len(shape) >= 4 and tensor.shape[1] == 3 != shape[1]:
            tensor = cross_modality(tensor, shape[1])
        if tensor.ndim == 4 and len(shape) == 5:
            tensor = inflate_kernel(tensor, shape[2])
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, and {shape} is needed")
        inflated[name] = tensor
    return inflated
