"""Edge-aware weighted median of flow near motion boundaries (numba).

Sun, Roth and Black (CVPR 2010) showed that much of the accuracy of modern variational flow is
due to a median over a large window whose weights favour pixels that are near, alike in
brightness and not occluded. It is applied here where the flow changes, at the end of a level.
As in `tvl1_kernels`, every operation rounds as in `tvl1_torch`.
"""

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Uint8 = NDArray[np.uint8]

RADIUS = 4  # px: the window is 9 x 9
SIGMA_SPACE = 4.0  # px
SIGMA_BRIGHTNESS = 9.0  # grey levels
SIGMA_DIVERGENCE = 0.3  # as Sun et al. 2010
SIGMA_RESIDUAL = 20.0  # grey levels; the same
EDGE = 0.2  # px: flow that changes by more from pixel to pixel is near a boundary
MARGIN = 2  # px around such pixels
N_BISECTIONS = 8
FLOOR = np.float32(1e-3)  # weight of an occluded pixel
EDGE2 = np.float32(EDGE**2)
# t of (1 + t / 4) ** -4, which stands for exp(-t), with t = x^2 / (2 sigma^2), from the square of x
DIVERGENCE_SCALE = np.float32(0.125 / SIGMA_DIVERGENCE**2)
RESIDUAL_SCALE = np.float32(0.125 / SIGMA_RESIDUAL**2)
BRIGHTNESS_SCALE = np.float32(0.125 / SIGMA_BRIGHTNESS**2)
# unsigned, so that no index is tested for being negative and the loops vectorise
_SIDE = np.uint64(2 * RADIUS + 1)
_CHUNK = np.uint64(32)  # columns worked on at once: the weights of 81 neighbours stay in the cache

_kernel = njit(cache=True, nogil=True, error_model="numpy")
_ONE, _HALF = np.float32(1), np.float32(0.5)


def space_weights() -> Float32:
    """Weigh the window's pixels by their distance to its centre: shape (81,), float32."""
    offset = np.arange(-RADIUS, RADIUS + 1)
    squared = offset[:, None] ** 2 + offset[None, :] ** 2
    return np.exp(-squared / (2 * SIGMA_SPACE**2)).astype(np.float32).ravel()


def padded_shape(height: int, width: int) -> tuple[int, int]:
    """Add RADIUS on each side, and columns on the right to a whole number of chunks."""
    chunk = int(_CHUNK)
    return height + 2 * RADIUS, -(-width // chunk) * chunk + 2 * RADIUS


def near_boundaries(changes: Uint8) -> Uint8:
    """Widen the mask of changes by the margin."""
    return cv2.dilate(changes, np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8))


@_kernel
def _change_row(u: Float32, u_below: Float32, v: Float32, v_below: Float32, out: Uint8) -> None:
    for x in range(u.size - 1):
        a, b = u[x + 1] - u[x], u_below[x] - u[x]
        c, d = v[x + 1] - v[x], v_below[x] - v[x]
        out[x] = a * a + b * b + c * c + d * d > EDGE2
    out[u.size - 1] = 0


@_kernel
def _reliability_row(
    u: Float32,
    v_above: Float32,
    v_below: Float32,
    residual: Float32,
    inverse: Float32,
    out: Float32,
) -> None:
    """Weigh by the chance of being seen in both images: no convergence, a small residual.

    ``(1 + t / 4) ** -4`` stands for ``exp(-t)``; `out` has RADIUS more pixels on each side.
    """
    for x in range(1, u.size - 1):
        divergence = min(_HALF * (u[x + 1] - u[x - 1] + v_below[x] - v_above[x]), np.float32(0))
        t = _ONE + DIVERGENCE_SCALE * divergence * divergence
        t += RESIDUAL_SCALE * residual[x] * residual[x]
        t *= t
        out[x + RADIUS] = FLOOR + np.float32(inverse[x] > 0) / (t * t)
    out[RADIUS] = out[RADIUS + 1]
    out[RADIUS + u.size - 1] = out[RADIUS + u.size - 2]


@_kernel
def _residual_row(
    u: Float32,
    v: Float32,
    w: Float32,
    gx: Float32,
    gy: Float32,
    constant: Float32,
    gamma: np.float32,
    out: Float32,
) -> None:
    for x in range(u.size):
        out[x] = constant[x] + gx[x] * u[x] + gy[x] * v[x] + gamma * w[x]


@_kernel
def mark_rows(
    u: Float32,
    data: Float32,
    gamma: np.float32,
    changes: Uint8,
    reliability: Float32,
    top: int,
    end: int,
) -> None:
    """Mark where the flow changes, and how far each pixel can be relied on.

    `u` and `data` are as in `tvl1_kernels.iterate`. `changes` (H, W) and the inside of
    `reliability` (`padded_shape`) are filled in the rows top <= y < end; the border of the
    second must be 0, so that no window reaches outside.
    """
    height, width = changes.shape
    residual = np.zeros(width, np.float32)
    for y in range(top, end):
        below, above = min(y + 1, height - 1), max(y - 1, 0)
        flow_x, flow_y = u[y, 0, :width], u[y, 1, :width]
        _change_row(flow_x, u[below, 0], flow_y, u[below, 1], changes[y])
        gx, gy, constant = data[y, 0], data[y, 1], data[y, 3]
        _residual_row(flow_x, flow_y, u[y, 2], gx, gy, constant, gamma, residual)
        out = reliability[y + RADIUS]
        _reliability_row(flow_x, u[above, 1], u[below, 1], residual, data[y, 2], out)


@_kernel
def _weigh_chunk(
    image: Float32,
    reliability: Float32,
    start: np.uint64,
    stride: np.uint64,
    space: Float32,
    weights: Float32,
    half: Float32,
) -> None:
    """Set the weights (81, _CHUNK) of the windows of _CHUNK pixels, and half their sums."""
    centre = start + np.uint64(RADIUS) * stride + np.uint64(RADIUS)
    for k in range(_CHUNK):
        half[k] = 0
    for dy in range(_SIDE):
        row, table = start + dy * stride, dy * _SIDE * _CHUNK
        for k in range(_CHUNK):
            total = np.float32(0)
            for dx in range(_SIDE):
                difference = image[row + k + dx] - image[centre + k]
                t = _ONE + BRIGHTNESS_SCALE * difference * difference
                t *= t
                weight = space[dy * _SIDE + dx] * reliability[row + k + dx] / (t * t)
                weights[table + dx * _CHUNK + k] = weight
                total += weight
            half[k] += _HALF * total


@_kernel
def _range_chunk(
    values: Float32, start: np.uint64, stride: np.uint64, low: Float32, high: Float32
) -> None:
    """Find the smallest and the largest value of each window."""
    for k in range(_CHUNK):
        low[k] = high[k] = values[start + k]
    for dy in range(_SIDE):
        row = start + dy * stride
        for k in range(_CHUNK):
            a, b = low[k], high[k]
            for dx in range(_SIDE):
                value = values[row + k + dx]
                a, b = min(a, value), max(b, value)
            low[k], high[k] = a, b


@_kernel
def _bisect_chunk(
    values: Float32,
    start: np.uint64,
    stride: np.uint64,
    weights: Float32,
    half: Float32,
    low: Float32,
    high: Float32,
    middle: Float32,
    excess: Float32,
) -> None:
    """Halve each interval: keep the part that holds the weighted median."""
    for k in range(_CHUNK):
        excess[k] = -half[k]
        middle[k] = _HALF * (low[k] + high[k])
    for dy in range(_SIDE):
        row, table = start + dy * stride, dy * _SIDE * _CHUNK
        for k in range(_CHUNK):
            limit, total = middle[k], np.float32(0)
            for dx in range(_SIDE):
                weight = weights[table + dx * _CHUNK + k]
                total += weight if values[row + k + dx] <= limit else np.float32(0)
            excess[k] += total
    for k in range(_CHUNK):
        limit = middle[k]
        is_below = excess[k] >= 0
        low[k] = low[k] if is_below else limit
        high[k] = limit if is_below else high[k]


@_kernel
def weighted_median_rows(
    padded_flow: Float32,
    padded_image: Float32,
    reliability: Float32,
    marked: Uint8,
    space: Float32,
    out: Float32,
    top: int,
    end: int,
) -> None:
    """Replace the flow of the marked pixels by its weighted median, rows top <= y < end.

    `padded_flow` (2, H + 8, W'), `padded_image` and `reliability` (H + 8, W') are as
    `padded_shape` says. The unmarked pixels of `out` (H, 3, W + 1) are left alone. The median is
    bisected to 1/512 of the range of its window.
    """
    width = marked.shape[1]
    stride = np.uint64(padded_image.shape[1])
    image, trust = padded_image.ravel(), reliability.ravel()
    flow = padded_flow.reshape((2, image.size))
    weights = np.empty(81 * int(_CHUNK), np.float32)
    half = np.empty(int(_CHUNK), np.float32)
    low, high = np.empty_like(half), np.empty_like(half)
    middle, excess = np.empty_like(half), np.empty_like(half)
    for y in range(top, end):
        for left in range(0, width, int(_CHUNK)):
            mask = marked[y, left : left + int(_CHUNK)]
            if not mask.any():
                continue
            start = np.uint64(y) * stride + np.uint64(left)
            _weigh_chunk(image, trust, start, stride, space, weights, half)
            for c in range(2):
                _range_chunk(flow[c], start, stride, low, high)
                for _ in range(N_BISECTIONS):
                    _bisect_chunk(flow[c], start, stride, weights, half, low, high, middle, excess)
                for x in range(mask.size):
                    if mask[x]:
                        out[y, c, left + x] = _HALF * (low[x] + high[x])
