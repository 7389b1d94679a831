"""The flow of `farneback` in torch: the same levels and steps, resident on a device.

Sums run in another order than on the CPU and polynomials in float64, so that flows agree to about
1e-4 px, except where a pixel's system is near singular.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cinefeat.extractors import farneback
from cinefeat.extractors.resize import linear_axis
from cinefeat.extractors.trajectories import SCALE_STEP, Level

TensorPlanes = tuple[Tensor, Tensor]  # the x and y components of a flow field


def _row_kernel(weights: Sequence[float], sign: int, like: Tensor) -> Tensor:
    """Mirror weights given for offsets 0, 1, ...; `sign` is that of the negative offsets."""
    half = torch.tensor([float(w) for w in weights], dtype=like.dtype, device=like.device)
    return torch.cat([sign * half[1:].flip(0), half])


def _correlate(images: Tensor, kernels: Tensor, dim: int, border: str) -> Tensor:
    """Correlate images (C, h, w) with each kernel (K, n) down or across: (C, K, h, w)."""
    radius = kernels.shape[1] // 2
    padding = (0, 0, radius, radius) if dim == 1 else (radius, radius, 0, 0)
    shape = (len(kernels), 1, -1, 1) if dim == 1 else (len(kernels), 1, 1, -1)
    padded = functional.pad(images[:, None], padding, mode=border)
    return functional.conv2d(padded, kernels.reshape(shape))


def resize_linear(images: Tensor, width: int, height: int) -> Tensor:
    """Resize images (C, h, w) as `farneback.resize_linear` does."""
    for dim, size in ((2, width), (1, height)):
        first, weight = linear_axis(images.shape[dim], size)
        index = torch.as_tensor(first, device=images.device)
        shape = (-1, 1) if dim == 1 else (-1,)
        w = torch.as_tensor(weight, device=images.device).reshape(shape)
        lower, upper = images.index_select(dim, index), images.index_select(dim, index + 1)
        images = lower * (1 - w) + upper * w
    return images


def expand_polynomials(image: Tensor) -> Tensor:
    """Fit a quadratic around every pixel of (h, w) float32: (5, h, w), as on the CPU."""
    image = image.double()[None]
    g, xxg = (_row_kernel(w, 1, image) for w in (farneback.G, farneback.XXG))
    kernels = torch.stack([g, _row_kernel(farneback.XG, -1, image), xxg])
    down = _correlate(image, kernels, 1, "replicate")[0]
    across = _correlate(down, kernels, 2, "replicate")  # (down kernel, across kernel, h, w)
    y = across[1, 0] * farneback.IG11
    x = across[0, 1] * farneback.IG11
    yy = across[0, 0] * farneback.IG03 + across[2, 0] * farneback.IG33
    xx = across[0, 0] * farneback.IG03 + across[0, 2] * farneback.IG33
    xy = across[1, 1] * farneback.IG55
    return torch.stack([y, x, yy, xx, xy]).float()


def polynomial_pyramid(gray: np.ndarray, levels: Sequence[Level], device: str) -> list[Tensor]:
    """Expand a grey frame (H, W) at each level on a device (see `farneback`)."""
    image = torch.as_tensor(gray, device=device).float()[None]
    pyramid = []
    for level in levels:
        size, sigma = farneback.blur_of_level(level)
        kernel = cv2.getGaussianKernel(size, sigma, cv2.CV_32F).ravel()
        weights = torch.as_tensor(kernel, device=device)[None]
        smooth = _correlate(_correlate(image, weights, 1, "reflect")[0], weights, 2, "reflect")[0]
        pyramid.append(expand_polynomials(resize_linear(smooth, level.width, level.height)[0]))
    return pyramid


def _fetch(first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
    """Interpolate the second frame's polynomials where the flow (2, h, w) points to."""
    height, width = flow.shape[1:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device, dtype=torch.float32),
        torch.arange(width, device=flow.device, dtype=torch.float32),
        indexing="ij",
    )
    to_x, to_y = x + flow[0], y + flow[1]
    left, top = to_x.floor(), to_y.floor()
    inside = (left >= 0) & (left < width - 1) & (top >= 0) & (top < height - 1)
    across, down = to_x - left, to_y - top
    corner = top.clamp(0, height - 2).long() * width + left.clamp(0, width - 2).long()
    planes = second.flatten(1)
    fetched = sum(
        weight * planes[:, (corner + shift).flatten()].reshape(5, height, width)
        for weight, shift in (
            ((1 - across) * (1 - down), 0),
            (across * (1 - down), 1),
            ((1 - across) * down, width),
            (across * down, width + 1),
        )
    )
    outside = torch.cat([torch.zeros_like(first[:2]), first[2:]])
    return torch.where(inside, fetched, outside)


def _improve(first: Tensor, second: Tensor, flow: Tensor, weights: Tensor) -> Tensor:
    """Solve the systems that a flow (2, h, w) gives, averaged around each pixel."""
    fetched = _fetch(first, second, flow)
    r4, r5 = (first[2:4] + fetched[2:4]) * 0.5
    r6 = (first[4] + fetched[4]) * 0.25
    r2 = (first[0] - fetched[0]) * 0.5 + (r4 * flow[1] + r6 * flow[0])
    r3 = (first[1] - fetched[1]) * 0.5 + (r6 * flow[1] + r5 * flow[0])
    r2, r3, r4, r5, r6 = (r * weights for r in (r2, r3, r4, r5, r6))
    system = torch.stack(
        [r4 * r4 + r6 * r6, (r4 + r5) * r6, r5 * r5 + r6 * r6, r4 * r2 + r6 * r3, r6 * r2 + r5 * r3]
    )
    kernel = _row_kernel(farneback.BLUR, 1, system)[None]
    system = _correlate(system, kernel, 1, "replicate")[:, 0]
    m11, m12, m22, h1, h2 = _correlate(system, kernel, 2, "replicate")[:, 0].double()
    inverse = 1 / (m11 * m22 - m12 * m12 + farneback.REGULARISER)
    return torch.stack([(m11 * h2 - m12 * h1) * inverse, (m22 * h1 - m12 * h2) * inverse]).float()


def _median(flow: Tensor) -> Tensor:
    size = farneback.MEDIAN_SIZE
    padded = functional.pad(flow[:, None], (size // 2,) * 4, mode="replicate")
    windows = functional.unfold(padded, size)  # (2, size^2, h w)
    return windows.median(dim=1).values.reshape(flow.shape)


def flow_between(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[TensorPlanes]:
    """Estimate the flow at every level from two polynomial pyramids (see `farneback`)."""
    flows: list[Tensor] = []
    for r0, r1 in zip(reversed(first), reversed(second), strict=True):
        height, width = r0.shape[1:]
        if flows:
            flow = resize_linear(flows[-1], width, height) * float(SCALE_STEP)
        else:
            flow = torch.zeros((2, height, width), device=r0.device)
        rows, columns = (
            torch.as_tensor(farneback.border_weights(size), device=r0.device)
            for size in (height, width)
        )
        for _ in range(farneback.ITERATIONS):
            flow = _improve(r0, r1, flow, rows[:, None] * columns)
        flows.append(_median(flow))
    return [(flow[0], flow[1]) for flow in reversed(flows)]
