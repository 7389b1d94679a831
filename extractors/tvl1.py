"""TV-L1 optical flow of one pair of grey images on the CPU.

The pyramid, the warps and the order of the steps are here; the loops over pixels are numba, in
`tvl1_kernels` and `weighted_median`. `flow` documents the energy, `tvl1_settings` the settings;
`tvl1_torch` is the same definition for a device.
"""

import math
from collections.abc import Callable
from concurrent.futures import Executor

import cv2
import numpy as np
from numpy.typing import NDArray

from cinefeat.extractors.resample import gaussian_table, linear_table, resample
from cinefeat.extractors.tvl1_kernels import edge_weights, iterate, linearise_rows, pad_edge
from cinefeat.extractors.tvl1_settings import FlowSettings
from cinefeat.extractors.weighted_median import (
    RADIUS,
    mark_rows,
    near_boundaries,
    padded_shape,
    space_weights,
    weighted_median_rows,
)

Float32 = NDArray[np.float32]
Size = tuple[int, int]
# calls a function on bands of rows top <= y < end that cover an image
OverRows = Callable[[int, Callable[[int, int], None]], None]

MIN_SIDE = 16  # px: no level, and no image, is smaller
BLOCK = 5  # iterations between two tests of convergence
_MIN_BAND = 64  # rows: thinner bands would repeat too much of each other's work
_ANTIALIAS = 0.6  # px of blur per level at zoom z: 0.6 sqrt(1 / z^2 - 1), as in IPOL 2013


def flow_of_pair(
    prev: Float32, next: Float32, settings: FlowSettings, over_rows: OverRows | None = None
) -> Float32:
    """Estimate the flow of one pair of images (H, W), float32: (H, W, 2), a view of float32.

    `over_rows` shares the rows among threads (`rows_in_threads`); it changes no bit.
    """
    share = over_rows or _all_rows
    sizes = level_sizes(prev.shape, settings)
    firsts, seconds = (build_pyramid(image, sizes, settings) for image in (prev, next))
    u, p = _empty_solution(sizes[-1])
    for first, second in zip(reversed(firsts), reversed(seconds), strict=True):
        if len(u) != len(first):
            u, p = _enlarge(u, p, first.shape)
        n_warps = settings.n_warps if first.shape == prev.shape else settings.n_coarse_warps
        _solve_level(first, second, u, p, n_warps, settings, share)
    return np.moveaxis(u[:, :2, :-1], 1, 2)


def rows_in_threads(pool: Executor, n_threads: int) -> OverRows:
    """Share the rows of an image among `n_threads` workers of a pool, in bands of 64 or more."""

    def over_rows(height: int, work: Callable[[int, int], None]) -> None:
        n_bands = max(1, min(n_threads, height // _MIN_BAND))
        edges = [height * k // n_bands for k in range(n_bands + 1)]
        list(pool.map(work, edges[:-1], edges[1:]))

    return over_rows


def _all_rows(height: int, work: Callable[[int, int], None]) -> None:
    work(0, height)


def level_sizes(shape: Size, settings: FlowSettings) -> list[Size]:
    """List the sizes (H, W) of the pyramid's levels, finest first; sides are 16 px or more."""
    sizes = [shape]
    while len(sizes) < settings.n_scales:
        scale = settings.zoom ** len(sizes)
        height, width = (int(side * scale + 0.5) for side in shape)
        if min(height, width) < MIN_SIDE:
            break
        sizes.append((height, width))
    return sizes


def build_pyramid(image: Float32, sizes: list[Size], settings: FlowSettings) -> list[Float32]:
    """Smooth an image and reduce it step by step to the given sizes."""
    if settings.presmoothing > 0:
        image = _blur_to(image, image.shape, settings.presmoothing)
    levels = [image]
    for size in sizes[1:]:
        levels.append(_blur_to(levels[-1], size, antialias_sigma(settings)))
    return levels


def antialias_sigma(settings: FlowSettings) -> float:
    """Return the blur in pixels before a reduction by the zoom."""
    return _ANTIALIAS * math.sqrt(settings.zoom**-2 - 1)


def _blur_to(image: Float32, size: Size, sigma: float) -> Float32:
    rows, columns = (gaussian_table(a, b, sigma) for a, b in zip(image.shape, size, strict=True))
    return resample(image, rows, columns)


def _empty_solution(size: Size) -> tuple[Float32, Float32]:
    """Return zero flow and duals in the layout of `tvl1_kernels.iterate`."""
    height, width = size
    u = np.zeros((height, 3, width + 1), np.float32)
    return u, np.zeros((1 + height, 2, 3, width + 1), np.float32)


def _enlarge(u: Float32, p: Float32, size: Size) -> tuple[Float32, Float32]:
    """Carry the solution of a level to the next finer one; displacements grow with the size."""
    height, width = u.shape[0], u.shape[2] - 1
    rows, columns = linear_table(height, size[0]), linear_table(width, size[1])
    fine_u, fine_p = _empty_solution(size)
    resample(u, rows, columns, fine_u)
    resample(p[1:], rows, columns, fine_p[1:])
    fine_u[:, 0] *= np.float32(size[1] / width)
    fine_u[:, 1] *= np.float32(size[0] / height)
    return fine_u, fine_p


def _solve_level(
    first: Float32,
    second: Float32,
    u: Float32,
    p: Float32,
    n_warps: int,
    settings: FlowSettings,
    over_rows: OverRows,
) -> None:
    """Improve u and p in place by a number of warps and the iterations after each."""
    height, width = first.shape
    data = np.empty((height, 4, width), np.float32)
    padded = pad_edge(second[:, None], 0, width, 1, 2, 2)
    weight = edge_weights(first, np.float32(settings.edge_decay / 4))
    stiffness = np.float32(1 + settings.theta / settings.tau)
    gamma = np.float32(settings.gamma)
    for _ in range(n_warps):
        if settings.median_filter > 1:
            _filter_median(u, settings.median_filter, over_rows)
        over_rows(
            height,
            lambda top, end: linearise_rows(first, padded, u, data, stiffness, gamma, top, end),
        )
        _iterate_until_still(u, p, data, weight, settings, over_rows)
    if settings.weighted_median:
        _filter_weighted_median(first, u, data, gamma, over_rows)


def _iterate_until_still(
    u: Float32,
    p: Float32,
    data: Float32,
    weight: Float32,
    settings: FlowSettings,
    over_rows: OverRows,
) -> None:
    """Iterate in blocks until the flow changes by less than epsilon (root mean square)."""
    change = np.empty(len(weight), np.float32)
    tau, sigma = np.float32(settings.tau), np.float32(1 / (6 * settings.tau))
    steps = (tau, sigma, np.float32(settings.lambda_), np.float32(settings.gamma))
    limit = settings.epsilon**2 * data[:, 0].size
    for done in range(0, settings.max_iterations, BLOCK):
        n = min(BLOCK, settings.max_iterations - done)
        _iterate_block(u, p, data, weight, steps, n, change, over_rows)
        if change.sum(dtype=np.float64) < limit:
            break


def _iterate_block(
    u: Float32,
    p: Float32,
    data: Float32,
    weight: Float32,
    steps: tuple[np.float32, ...],
    n: int,
    change: Float32,
    over_rows: OverRows,
) -> None:
    """Run n iterations; a band of rows starts from n more on each side, where errors stay."""
    height = len(weight)
    if over_rows is _all_rows:
        iterate(u, p, data, weight, *steps, n, change)
        return
    old_u, old_p = u.copy(), p.copy()

    def work(top: int, end: int) -> None:
        low, high = max(top - n, 0), min(end + n, height)
        part_u, part_p = old_u[low:high].copy(), old_p[low : high + 1].copy()
        part_change = np.empty(high - low, np.float32)
        iterate(part_u, part_p, data[low:high], weight[low:high], *steps, n, part_change)
        u[top:end] = part_u[top - low : end - low]
        p[top + 1 : end + 1] = part_p[top - low + 1 : end - low + 1]
        change[top:end] = part_change[top - low : end - low]

    over_rows(height, work)


def _filter_median(u: Float32, side: int, over_rows: OverRows) -> None:
    """Replace each component of the flow by its median over side x side pixels, in place."""
    old, reach, height = u[:, :2, :-1].copy(), side // 2, len(u)

    def work(top: int, end: int) -> None:
        low, high = max(top - reach, 0), min(end + reach, height)
        for c in range(2):
            filtered = cv2.medianBlur(old[low:high, c], side)
            u[top:end, c, :-1] = filtered[top - low : end - low]

    over_rows(height, work)


def _filter_weighted_median(
    first: Float32, u: Float32, data: Float32, gamma: np.float32, over_rows: OverRows
) -> None:
    """Replace the flow near motion boundaries by its edge-aware median, in place."""
    height, width = first.shape
    padded_height, padded_width = padded_shape(height, width)
    changes = np.empty(first.shape, np.uint8)
    reliability = np.zeros((padded_height, padded_width), np.float32)
    over_rows(height, lambda top, end: mark_rows(u, data, gamma, changes, reliability, top, end))
    marked, space = near_boundaries(changes), space_weights()
    right = padded_width - width - RADIUS
    image = pad_edge(first[:, None], 0, width, RADIUS, RADIUS, right)
    flow = np.stack([pad_edge(u, c, width, RADIUS, RADIUS, right) for c in range(2)])
    over_rows(
        height,
        lambda top, end: weighted_median_rows(flow, image, reliability, marked, space, u, top, end),
    )
