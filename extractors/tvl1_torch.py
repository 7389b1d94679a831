"""TV-L1 optical flow in torch: the definition of `tvl1`, batched and resident on a device.

Every step works on a batch of pairs (N, ...); nothing is copied to the host between the images
and the flow except, once a block of iterations, whether any pair still moves, and once a level
which pixels the weighted median visits. A pair that has converged is left alone, so that its flow
does not depend on what else is in the batch. Each operation and each sum is in the order of the
numba kernels, in single precision: where a device rounds as IEEE 754 says, the flow is the same
to the bit, even in occluded places where the last bit decides.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cinefeat.extractors import weighted_median as wm
from cinefeat.extractors.resample import AxisTable, gaussian_table, linear_table
from cinefeat.extractors.tvl1 import BLOCK, antialias_sigma, level_sizes
from cinefeat.extractors.tvl1_settings import FlowSettings

Float32 = NDArray[np.float32]
_FLAT, _TINY, _LEAST_WEIGHT = 1e-6, 1e-12, 0.05  # as in tvl1_kernels
_TWELFTH = 1 / 12
_WINDOW_PIXELS = 1 << 18  # marked pixels whose windows are held at once: 85 MB an array


def flow_of_batch(
    prev: Float32, next: Float32, settings: FlowSettings, device: str | torch.device
) -> Float32:
    """Estimate the flow of N pairs of images (N, H, W), float32: (N, H, W, 2), float32."""
    target = _checked(device)
    with torch.inference_mode():
        first, second = (torch.from_numpy(image).to(target) for image in (prev, next))
        u = _solve(first, second, settings)
        return u[:, :2].permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _checked(device: str | torch.device) -> torch.device:
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}; give 'cpu' or 'cuda'") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, and torch sees no such device; use 'cpu'")
    return target


def _solve(first: Tensor, second: Tensor, settings: FlowSettings) -> Tensor:
    sizes = level_sizes((first.shape[1], first.shape[2]), settings)
    firsts = _build_pyramid(first, sizes, settings)
    seconds = _build_pyramid(second, sizes, settings)
    n_fields = 3 if settings.gamma > 0 else 2
    u = first.new_zeros(len(first), n_fields, *sizes[-1])
    p = first.new_zeros(len(first), n_fields, 2, *sizes[-1])
    for level in range(len(sizes) - 1, -1, -1):
        if u.shape[-2:] != firsts[level].shape[-2:]:
            u, p = _enlarge(u, p, sizes[level])
        n_warps = settings.n_coarse_warps if level else settings.n_warps
        u, p = _solve_level(firsts[level], seconds[level], u, p, n_warps, settings)
    return u


def _build_pyramid(
    image: Tensor, sizes: list[tuple[int, int]], settings: FlowSettings
) -> list[Tensor]:
    if settings.presmoothing > 0:
        image = _blur_to(image, sizes[0], settings.presmoothing)
    levels = [image]
    for size in sizes[1:]:
        levels.append(_blur_to(levels[-1], size, antialias_sigma(settings)))
    return levels


def _blur_to(image: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    height, width = image.shape[-2:]
    rows, columns = gaussian_table(height, size[0], sigma), gaussian_table(width, size[1], sigma)
    return _resample(image, rows, columns)


def _resample(image: Tensor, rows: AxisTable, columns: AxisTable) -> Tensor:
    """Apply the tables tap by tap, so that no sum depends on the shape of a batch."""
    for axis, (starts, weights) in ((-2, rows), (-1, columns)):
        start = torch.from_numpy(starts.astype(np.int64)).to(image.device)
        weight = torch.from_numpy(weights).to(image.device)
        shape = (-1, 1) if axis == -2 else (-1,)
        total: Tensor | None = None
        for k in range(len(weight)):
            part = image.index_select(axis, start + k) * weight[k].reshape(shape)
            total = part if total is None else total + part
        assert total is not None  # a table has a tap
        image = total
    return image


def _enlarge(u: Tensor, p: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    height, width = u.shape[-2:]
    rows, columns = linear_table(height, size[0]), linear_table(width, size[1])
    fine = _resample(u, rows, columns)
    fine[:, 0] *= size[1] / width
    fine[:, 1] *= size[0] / height
    return fine, _resample(p, rows, columns)


def _solve_level(
    first: Tensor, second: Tensor, u: Tensor, p: Tensor, n_warps: int, settings: FlowSettings
) -> tuple[Tensor, Tensor]:
    weight = _edge_weights(first, settings.edge_decay)[:, None]
    data = (first,) * 4
    for _ in range(n_warps):
        if settings.median_filter > 1:
            u = _filter_median(u, settings.median_filter)
        data = _linearise(first, second, u, settings)
        u, p = _iterate_until_still(u, p, data, weight, settings)
    if settings.weighted_median:
        u = _filter_weighted_median(first, u, data, settings.gamma)
    return u, p


def _edge_weights(image: Tensor, decay: float) -> Tensor:
    if decay == 0:
        return torch.ones_like(image)
    gx, gy = _differentiate(image)
    t = 1 + decay / 4 * (gx * gx + gy * gy).double().sqrt().float()
    return (1 / t.square().square()).clamp(min=_LEAST_WEIGHT)


def _differentiate(image: Tensor) -> tuple[Tensor, Tensor]:
    """Differentiate by (1, -8, 0, 8, -1) / 12 along x and y; the border repeats."""
    height, width = image.shape[1:]
    padded = torch.nn.functional.pad(image[:, None], (2, 2, 2, 2), mode="replicate")[:, 0]
    x = [padded[:, 2:-2, k : k + width] for k in (0, 1, 3, 4)]
    y = [padded[:, k : k + height, 2:-2] for k in (0, 1, 3, 4)]
    return _five_taps(*x), _five_taps(*y)


def _five_taps(before2: Tensor, before: Tensor, after: Tensor, after2: Tensor) -> Tensor:
    return (8 * (after - before) - (after2 - before2)) * _TWELFTH


def _linearise(
    first: Tensor, second: Tensor, u: Tensor, settings: FlowSettings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return gx, gy, the inverse of the squared slope and the constant, each (N, H, W)."""
    warped, inside = _warp(second, u)
    gx, gy = _differentiate(0.5 * (first + warped))
    gx, gy = gx * inside, gy * inside
    stiffness = 1 + settings.theta / settings.tau
    gamma = np.float32(settings.gamma)
    slope = gx * gx + gy * gy + float(gamma * gamma)
    inverse = inside / (stiffness * slope + _FLAT)
    constant = (warped - first) * inside - gx * u[:, 0] - gy * u[:, 1]
    return gx, gy, inverse, constant


def _warp(image: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Read an image at ``(x + u, y + v)`` by Catmull-Rom interpolation; and where that is inside."""
    n, height, width = image.shape
    x = torch.arange(width, device=image.device, dtype=torch.float32) + u[:, 0]
    y = torch.arange(height, device=image.device, dtype=torch.float32)[:, None] + u[:, 1]
    inside = ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).float()
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    column, row = x.long(), y.long()
    across, down = _cubic_weights(x - column), _cubic_weights(y - row)
    flat = image.reshape(n, -1)
    value = torch.zeros_like(image)
    for j in range(4):
        line = (row + (j - 1)).clamp(0, height - 1) * width
        part = torch.zeros_like(image)
        for i in range(4):
            index = line + (column + (i - 1)).clamp(0, width - 1)
            part += across[i] * flat.gather(1, index.reshape(n, -1)).reshape(image.shape)
        value += down[j] * part
    return value, inside


def _cubic_weights(a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    c = 1 - a
    return (
        -0.5 * a * c * c,
        c * (1 + a * (1 - 1.5 * a)),
        a * (1 + c * (1 - 1.5 * c)),
        -0.5 * c * a * a,
    )


def _iterate_until_still(
    u: Tensor, p: Tensor, data: tuple[Tensor, ...], weight: Tensor, settings: FlowSettings
) -> tuple[Tensor, Tensor]:
    limit = settings.epsilon**2 * weight[0].numel()
    moves = torch.ones(len(u), dtype=torch.bool, device=u.device)
    for done in range(0, settings.max_iterations, BLOCK):
        new_u, new_p = u, p
        for _ in range(min(BLOCK, settings.max_iterations - done)):
            old_u = new_u
            new_u, new_p = _iterate(new_u, new_p, data, weight, settings)
        change = (new_u[:, :2] - old_u[:, :2]).square()
        # one sum a pair: a joint one could round differently with the size of the batch
        still = torch.stack([pair.double().sum() for pair in change]) < limit
        u = torch.where(moves[:, None, None, None], new_u, u)
        p = torch.where(moves[:, None, None, None, None], new_p, p)
        moves = moves & ~still
        if not moves.any():
            break
    return u, p


def _iterate(
    u: Tensor, p: Tensor, data: tuple[Tensor, ...], weight: Tensor, settings: FlowSettings
) -> tuple[Tensor, Tensor]:
    """Run one primal-dual iteration."""
    gx, gy, inverse, constant = data
    tau, gamma = settings.tau, settings.gamma
    moved = u + tau * _divergence(p)
    residual = constant + gx * moved[:, 0] + gy * moved[:, 1]
    if u.shape[1] == 3:
        residual = residual + gamma * moved[:, 2]
    bound = float(np.float32(tau) * np.float32(settings.lambda_))
    step = (-residual * inverse).clamp(-bound, bound)
    slopes = [gx, gy, torch.full_like(gx, gamma)][: u.shape[1]]
    moved = moved + step[:, None] * torch.stack(slopes, dim=1)
    bar = 2 * moved - u
    q = p + (1 / (6 * tau)) * _gradient(bar)
    squared = q[:, :, 0].square() + q[:, :, 1].square() + _TINY
    return moved, q * (weight * _inverse_root(squared)).clamp(max=1)[:, :, None]


def _inverse_root(x: Tensor) -> Tensor:
    """Return ``1 / sqrt(x)``, both rounded as IEEE 754 says.

    On the CPU torch's root is off by a bit at times and its inverse root is not; on CUDA it is
    the other way round.
    """
    return torch.rsqrt(x) if x.device.type == "cpu" else 1 / torch.sqrt(x)


def _gradient(u: Tensor) -> Tensor:
    """Take forward differences (N, C, 2, H, W), 0 at the last column and row."""
    out = u.new_zeros(u.shape[0], u.shape[1], 2, *u.shape[2:])
    out[:, :, 0, :, :-1] = u[..., 1:] - u[..., :-1]
    out[:, :, 1, :-1] = u[..., 1:, :] - u[..., :-1, :]
    return out


def _divergence(p: Tensor) -> Tensor:
    out = p[:, :, 0].clone()
    out[..., 1:] -= p[:, :, 0, :, :-1]
    out += p[:, :, 1]
    out[..., 1:, :] -= p[:, :, 1, :-1]
    return out


def _filter_median(u: Tensor, side: int) -> Tensor:
    height, width = u.shape[-2:]
    reach = side // 2
    padded = torch.nn.functional.pad(u[:, :2], (reach,) * 4, mode="replicate")
    shifted = [
        padded[..., dy : dy + height, dx : dx + width] for dy in range(side) for dx in range(side)
    ]
    return torch.cat([torch.stack(shifted).median(dim=0).values, u[:, 2:]], dim=1)


def _filter_weighted_median(
    first: Tensor, u: Tensor, data: tuple[Tensor, ...], gamma: float
) -> Tensor:
    """Replace the flow near motion boundaries by its edge-aware median (`weighted_median`)."""
    reach, side = wm.RADIUS, 2 * wm.RADIUS + 1
    pair, row, column = _near_boundaries(u).nonzero(as_tuple=True)
    image = torch.nn.functional.pad(first[:, None], (reach,) * 4, mode="replicate")
    flow = torch.nn.functional.pad(u[:, :2], (reach,) * 4, mode="replicate")
    trust = torch.nn.functional.pad(_reliability(u, data, gamma)[:, None], (reach,) * 4)
    space = torch.from_numpy(wm.space_weights()).to(u.device)
    offset = torch.arange(side, device=u.device)
    dy, dx = offset.repeat_interleave(side), offset.repeat(side)
    out = u.clone()
    for start in range(0, len(pair), _WINDOW_PIXELS):
        n, y, x = (index[start : start + _WINDOW_PIXELS] for index in (pair, row, column))
        window = (n[:, None], slice(None), y[:, None] + dy, x[:, None] + dx)
        difference = image[window][..., 0] - first[n, y, x][:, None]
        t = 1 + float(wm.BRIGHTNESS_SCALE) * difference * difference
        weights = space * trust[window][..., 0] / t.square().square()
        out[n, :2, y, x] = _weighted_median(flow[window].movedim(-1, 1), weights[:, None])
    return out


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Bisect for the weighted median over the last axis, a window of 81 pixels."""
    half = _add_rows(torch.zeros_like(weights[..., 0]), weights, 0.5)
    low, high = values.amin(dim=-1), values.amax(dim=-1)
    for _ in range(wm.N_BISECTIONS):
        middle = 0.5 * (low + high)
        is_below = _add_rows(-half, weights * (values <= middle[..., None]), 1.0) >= 0
        low, high = torch.where(is_below, low, middle), torch.where(is_below, middle, high)
    return 0.5 * (low + high)


def _add_rows(total: Tensor, window: Tensor, factor: float) -> Tensor:
    """Add the sums of a window's rows one after the other, as the numba kernels do."""
    side = 2 * wm.RADIUS + 1
    square = window.unflatten(-1, (side, side))
    rows = torch.zeros_like(square[..., 0])
    for dx in range(side):
        rows = rows + square[..., dx]
    for dy in range(side):
        total = total + factor * rows[..., dy]
    return total


def _near_boundaries(u: Tensor) -> Tensor:
    squared = _gradient(u[:, :2]).square().flatten(1, 2)
    changes = squared[:, 0] + squared[:, 1] + squared[:, 2] + squared[:, 3] > float(wm.EDGE2)
    changes[..., -1] = False  # the last column is not tested, as in weighted_median
    side = 2 * wm.MARGIN + 1
    return torch.nn.functional.max_pool2d(changes[:, None].float(), side, 1, wm.MARGIN)[:, 0] > 0


def _reliability(u: Tensor, data: tuple[Tensor, ...], gamma: float) -> Tensor:
    gx, gy, inverse, constant = data
    residual = constant + gx * u[:, 0] + gy * u[:, 1]
    if u.shape[1] == 3:
        residual = residual + gamma * u[:, 2]
    padded = torch.nn.functional.pad(u[:, :2], (1, 1, 1, 1), mode="replicate")
    across = padded[:, 0, 1:-1, 2:] - padded[:, 0, 1:-1, :-2]
    spread = across + padded[:, 1, 2:, 1:-1] - padded[:, 1, :-2, 1:-1]
    divergence = (0.5 * spread).clamp(max=0)
    t = 1 + float(wm.DIVERGENCE_SCALE) * divergence * divergence
    t = t + float(wm.RESIDUAL_SCALE) * residual * residual
    trust = float(wm.FLOOR) + (inverse > 0).float() / t.square().square()
    trust[..., 0], trust[..., -1] = trust[..., 1].clone(), trust[..., -2].clone()
    return trust
