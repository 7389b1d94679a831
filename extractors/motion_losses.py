"""What MotionNet learns from: a frame must look like the next one warped back by the flow.

Zhu, Lan, Newsam, Hauptmann, "Hidden Two-Stream Convolutional Networks for Action Recognition",
2017, section 3.1: a reconstruction error, its structural dissimilarity, and the roughness of the
flow, at five scales. No labels, no true flow. Frames are (N, 3, H, W) in units of 255 grey levels,
less their mean; flow is (N, 2, H, W), x and y, in pixels of its own level.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON: Final = 0.001  # of the Charbonnier penalty
GREY_LEVELS: Final = 255.0
BORDER: Final = 0.1  # of the shorter side, not judged: what moved out of sight has no match
SSIM_WINDOW: Final = 8
_C1, _C2 = 1e-4, 1e-3
_NORM_WINDOW, _NORM_BETA = 9, 0.7


@dataclass(frozen=True)
class MotionWeights:
    """How the terms add up, coarse to fine: levels 6, 5, 4, 3, 2.

    Attributes
    ----------
    photometric, smoothness, ssim : tuple of 5 float
        Weight of each term at each level. The published ones by default; the paper divides those of
        `ssim` by 10 when the whole hidden two-stream network is trained.
    photometric_power, smoothness_power : float
        Exponent alpha of the penalty ``(x ** 2 + 1e-6) ** alpha``.
    """

    photometric: tuple[float, ...] = (1.0,) * 5
    smoothness: tuple[float, ...] = (1.0,) * 5
    ssim: tuple[float, ...] = (0.16, 0.08, 0.04, 0.02, 0.01)
    photometric_power: float = 0.4
    smoothness_power: float = 0.3


PUBLISHED_WEIGHTS: Final = MotionWeights()
JOINT_WEIGHTS: Final = MotionWeights(ssim=(0.016, 0.008, 0.004, 0.002, 0.001))


def charbonnier(x: Tensor, power: float) -> Tensor:
    """Return the generalised Charbonnier penalty ``(x ** 2 + 1e-6) ** power`` of every value.

    Examples
    --------
    >>> charbonnier(torch.tensor([-2.0, 3.0]), 0.5)
    tensor([2.0000, 3.0000])
    """
    return (x * x + EPSILON**2) ** power


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample `image` at every pixel displaced by `flow`, differentiably.

    Parameters
    ----------
    image : Tensor of shape (N, C, H, W)
    flow : Tensor of shape (N, 2, H, W)
        Displacements (x, y) in pixels.

    Returns
    -------
    Tensor of shape (N, C, H, W)
        ``image[y + flow_y, x + flow_x]``, bilinear between pixel centres; outside the image its
        border is repeated.

    Examples
    --------
    >>> row = torch.tensor([[[[0.0, 1.0, 2.0, 3.0]]]])
    >>> step = torch.tensor([0.5, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 1, 4)
    >>> warp(row, step).tolist()
    [[[[0.5, 1.5, 2.5, 3.0]]]]
    """
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device, dtype=flow.dtype),
        torch.arange(width, device=flow.device, dtype=flow.dtype),
        indexing="ij",
    )
    # grid_sample counts from -1 to 1 between the outer edges of the outer pixels
    place_x = (2 * (x + flow[:, 0]) + 1) / width - 1
    place_y = (2 * (y + flow[:, 1]) + 1) / height - 1
    grid = torch.stack([place_x, place_y], dim=-1)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def photometric_loss(first: Tensor, warped: Tensor, power: float) -> Tensor:
    """Return the mean penalty of what a frame differs by from the next one, warped back.

    The outer tenth of the frame is not judged.
    """
    return _inside(charbonnier(GREY_LEVELS * (first - warped), power)).mean()


def smoothness_loss(flow: Tensor, power: float) -> Tensor:
    """Return the mean penalty of the differences between neighbouring displacements.

    Of a flow of one row or one column only the differences along it count.
    """
    along_x = charbonnier(flow[..., 1:] - flow[..., :-1], power)
    along_y = charbonnier(flow[..., 1:, :] - flow[..., :-1, :], power)
    n_differences = along_x.numel() + along_y.numel()
    return (along_x.sum() + along_y.sum()) / max(n_differences, 1)


def ssim_loss(first: Tensor, warped: Tensor) -> Tensor:
    """Return 1 less the mean structural similarity of 8x8 windows that do not overlap.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", 2004, equation 13, with plain means over a window; 0 for equal images, up to 2.
    Smaller images are one window.
    """
    side = min(SSIM_WINDOW, *first.shape[-2:])
    mean_a, mean_b = F.avg_pool2d(first, side), F.avg_pool2d(warped, side)
    variance_a = F.avg_pool2d(first * first, side) - mean_a**2
    variance_b = F.avg_pool2d(warped * warped, side) - mean_b**2
    covariance = F.avg_pool2d(first * warped, side) - mean_a * mean_b
    light = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_a + variance_b + _C2)
    return 1 - (light * structure).mean()


def motion_losses(
    flows: Sequence[Tensor], frames: Tensor, weights: MotionWeights = PUBLISHED_WEIGHTS
) -> dict[str, Tensor]:
    """Judge the flows of a stack of frames by the frames alone.

    Parameters
    ----------
    flows : sequence of 5 Tensors (N, 2 pairs, h, w)
        Of `MotionNet`: levels 6, 5, 4, 3, 2, in pixels of their level.
    frames : Tensor of shape (N, 3 (pairs + 1), H, W)
        What `MotionNet` was given: grey levels less their mean, divided by 255.
    weights : MotionWeights

    Returns
    -------
    dict of str to Tensor
        Scalars: "loss", the weighted sum over terms and levels, which is minimised; "photometric",
        "smoothness" and "ssim", the sums of each term over the levels, weighted.

    Notes
    -----
    A level's frames are averaged with weights that fall linearly from each of its pixels to the
    next (a box would leave steps that no interpolation can move by parts of a pixel), then locally
    normalised over the channels, ``x / (1 + s / 9) ** 0.7`` with s the sum of squares. The paper's
    figures for this normalisation are those of its released network.
    """
    terms: dict[str, list[Tensor]] = {"photometric": [], "smoothness": [], "ssim": []}
    for i, flow in enumerate(flows):
        first, next = _pairs(frames, flow.shape[-2:])
        steps = flow.reshape(-1, 2, *flow.shape[-2:])
        warped = warp(next, steps)
        photometric = photometric_loss(first, warped, weights.photometric_power)
        terms["photometric"].append(weights.photometric[i] * photometric)
        roughness = smoothness_loss(steps, weights.smoothness_power)
        terms["smoothness"].append(weights.smoothness[i] * roughness)
        terms["ssim"].append(weights.ssim[i] * ssim_loss(first, warped))
    sums = {name: torch.stack(values).sum() for name, values in terms.items()}
    return {"loss": torch.stack(list(sums.values())).sum(), **sums}


def photometric_change(
    flows: Sequence[Tensor], frames: Tensor, weights: MotionWeights = PUBLISHED_WEIGHTS
) -> Mapping[str, Tensor]:
    """Return the photometric loss of some flows, and of no motion at all on the same frames.

    Returns
    -------
    mapping of str to Tensor
        Scalars "photometric" and "still".
    """
    found = motion_losses(flows, frames, weights)["photometric"]
    still = motion_losses([torch.zeros_like(flow) for flow in flows], frames, weights)
    return {"photometric": found, "still": still["photometric"]}


def _pairs(frames: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """Return first and next frame of every pair, (N pairs, 3, h, w), at the size of a level."""
    n_samples = len(frames)
    every = frames.reshape(-1, 3, *frames.shape[-2:])
    small = F.interpolate(
        every, (size[0], size[1]), mode="bilinear", align_corners=False, antialias=True
    )
    squares = (small * small).sum(dim=1, keepdim=True)  # the window covers all three channels
    normed = small / (1 + squares / _NORM_WINDOW) ** _NORM_BETA
    stacks = normed.reshape(n_samples, -1, *normed.shape[1:])
    return stacks[:, :-1].flatten(0, 1), stacks[:, 1:].flatten(0, 1)


def _inside(values: Tensor) -> Tensor:
    height, width = values.shape[-2:]
    border = round(BORDER * min(height, width))
    return values[..., border : height - border, border : width - border]
