"""Row kernels of TV-L1 flow: the linearised data term and the primal-dual iterations.

The functions named ``_row`` work on single rows, which is what lets the compiler use wide
instructions; those named ``_rows`` walk over the rows ``top <= y < end``, so that several threads
can share one image. Nothing depends on where such a split lies.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

# no fast arithmetic: every operation rounds as in tvl1_torch, which does them in the same order
_kernel = njit(cache=True, nogil=True, error_model="numpy")
_ONE, _HALF = np.float32(1), np.float32(0.5)
_THREE_HALVES, _EIGHT, _TWELFTH = np.float32(1.5), np.float32(8), np.float32(1 / 12)
_TINY = np.float32(1e-12)
_LEAST_WEIGHT = np.float32(0.05)
_UNIT = np.uint64(1)  # indices are unsigned, so that none is tested for being negative
_FLAT = np.float32(1e-6)  # squared gradient below which a pixel says nothing


@_kernel
def pad_edge(rows: Float32, field: int, width: int, before: int, below: int, right: int) -> Float32:
    """Copy the first `width` columns of a field of (H, F, S) and repeat its border.

    `before` px are added above and to the left, `below` and `right` px after.
    """
    height = rows.shape[0]
    out = np.empty((before + height + below, before + width + right), np.float32)
    for y in range(out.shape[0]):
        row = rows[min(max(y - before, 0), height - 1), field]
        out[y, :before] = row[0]
        out[y, before : before + width] = row[:width]
        out[y, before + width :] = row[width - 1]
    return out


@_kernel
def _cubic_weights(a: np.float32) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Weights of the pixels at -1, 0, 1 and 2 for Catmull-Rom interpolation at 0 <= a < 1."""
    c = _ONE - a
    w1 = c * (_ONE + a * (_ONE - _THREE_HALVES * a))
    w2 = a * (_ONE + c * (_ONE - _THREE_HALVES * c))
    return -_HALF * a * c * c, w1, w2, -_HALF * c * a * a


@_kernel
def _along_row(
    padded: Float32, i: np.uint64, w: tuple[np.float32, np.float32, np.float32, np.float32]
) -> np.float32:
    left = w[0] * padded[i] + w[1] * padded[i + _UNIT]
    return left + w[2] * padded[i + np.uint64(2)] + w[3] * padded[i + np.uint64(3)]


@_kernel
def _warp_row(
    padded: Float32,
    stride: np.uint32,
    y: np.float32,
    x_last: np.float32,
    y_last: np.float32,
    u: Float32,
    v: Float32,
    out: Float32,
    inside: Float32,
) -> None:
    """Read an image, padded by 1 px before and 2 after, at ``(x + u, y + v)``: Catmull-Rom."""
    for x in range(u.size):
        px = np.float32(x) + u[x]
        py = y + v[x]
        inside[x] = np.float32((px >= 0) & (px <= x_last) & (py >= 0) & (py <= y_last))
        px = min(max(px, np.float32(0)), x_last)
        py = min(max(py, np.float32(0)), y_last)
        ix, iy = np.uint32(px), np.uint32(py)
        a, b = px - np.float32(ix), py - np.float32(iy)
        weights, (h0, h1, h2, h3) = _cubic_weights(a), _cubic_weights(b)
        i, down = np.uint64(iy * stride + ix), np.uint64(stride)
        value = h0 * _along_row(padded, i, weights)
        value += h1 * _along_row(padded, i + down, weights)
        value += h2 * _along_row(padded, i + down + down, weights)
        value += h3 * _along_row(padded, i + down + down + down, weights)
        out[x] = value


@_kernel
def _average_row(first: Float32, warped: Float32, mean: Float32, difference: Float32) -> None:
    for x in range(first.size):
        mean[x] = _HALF * (first[x] + warped[x])
        difference[x] = warped[x] - first[x]


@_kernel
def _across_row(mean: Float32, gx: Float32) -> None:
    """Differentiate along a row by (1, -8, 0, 8, -1) / 12; the border repeats."""
    n = mean.size
    # slices, so that no index is tested for being negative
    left2, left, right, right2 = mean[:-4], mean[1:-3], mean[3:-1], mean[4:]
    inner = gx[2:-2]
    for x in range(inner.size):
        inner[x] = (_EIGHT * (right[x] - left[x]) - (right2[x] - left2[x])) * _TWELFTH
    for x in (0, 1, n - 2, n - 1):
        a, b = mean[max(x - 2, 0)], mean[max(x - 1, 0)]
        c, d = mean[min(x + 1, n - 1)], mean[min(x + 2, n - 1)]
        gx[x] = (_EIGHT * (c - b) - (d - a)) * _TWELFTH


@_kernel
def _down_row(
    above2: Float32, above: Float32, below: Float32, below2: Float32, gy: Float32
) -> None:
    for x in range(gy.size):
        gy[x] = (_EIGHT * (below[x] - above[x]) - (below2[x] - above2[x])) * _TWELFTH


@_kernel
def _data_row(
    difference: Float32,
    inside: Float32,
    u: Float32,
    v: Float32,
    gx: Float32,
    gy: Float32,
    inverse: Float32,
    constant: Float32,
    stiffness: np.float32,
    gamma2: np.float32,
) -> None:
    """Set the line ``constant + gx u + gy v`` and the inverse of its squared slope."""
    for x in range(gx.size):
        a, b = gx[x] * inside[x], gy[x] * inside[x]
        inverse[x] = inside[x] / (stiffness * (a * a + b * b + gamma2) + _FLAT)
        constant[x] = difference[x] * inside[x] - a * u[x] - b * v[x]
        gx[x], gy[x] = a, b


@_kernel
def linearise_rows(
    first: Float32,
    padded: Float32,
    u: Float32,
    data: Float32,
    stiffness: np.float32,
    gamma: np.float32,
    top: int,
    end: int,
) -> None:
    """Linearise the brightness difference about the flow in the rows top <= y < end.

    `first` (H, W) and `padded` (H + 3, W + 3) are the two images, the second with 1 px repeated
    before and 2 after; `u` (H, 3, W + 1) is the flow. ``data[y]`` is set to the rows gx, gy, inverse
    and constant (`iterate`). The gradient is that of the mean of the first image and the second
    warped, by five taps. Where the flow leads out of the image all four are 0: no data term.
    """
    height, width = first.shape
    flat, stride = padded.ravel(), np.uint32(width + 3)
    x_last, y_last = np.float32(width - 1), np.float32(height - 1)
    mean = np.empty((5, width), np.float32)  # row y lies at y % 5
    difference, inside = np.empty_like(mean), np.empty_like(mean)
    warped = np.empty(width, np.float32)
    ready = max(top - 2, 0)
    for y in range(top, end):
        for row in range(ready, min(y + 3, height)):
            k, r = row % 5, np.float32(row)
            flow_x, flow_y = u[row, 0, :width], u[row, 1, :width]
            _warp_row(flat, stride, r, x_last, y_last, flow_x, flow_y, warped, inside[k])
            _average_row(first[row], warped, mean[k], difference[k])
        ready = min(y + 3, height)
        k, (gx, gy, inverse, constant) = y % 5, (data[y, 0], data[y, 1], data[y, 2], data[y, 3])
        _across_row(mean[k], gx)
        above2, above = mean[max(y - 2, 0) % 5], mean[max(y - 1, 0) % 5]
        below, below2 = mean[min(y + 1, height - 1) % 5], mean[min(y + 2, height - 1) % 5]
        _down_row(above2, above, below, below2, gy)
        rows = (difference[k], inside[k], u[y, 0], u[y, 1], gx, gy, inverse, constant)
        _data_row(*rows, stiffness, gamma * gamma)


@_kernel
def _edge_row(gx: Float32, gy: Float32, decay: np.float32, out: Float32) -> None:
    for x in range(out.size):
        t = _ONE + decay * np.sqrt(gx[x] * gx[x] + gy[x] * gy[x])
        t *= t
        out[x] = max(_ONE / (t * t), _LEAST_WEIGHT)


@_kernel
def edge_weights(image: Float32, decay: np.float32) -> Float32:
    """Weigh the total variation of each pixel by ``max((1 + decay |grad image|) ** -4, 0.05)``.

    The result (H, W + 1) has a last column of 0, as `iterate` wants it.
    """
    height, width = image.shape
    out = np.zeros((height, width + 1), np.float32)
    gx, gy = np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(height):
        _across_row(image[y], gx)
        above2, above = image[max(y - 2, 0)], image[max(y - 1, 0)]
        _down_row(above2, above, image[min(y + 1, height - 1)], image[min(y + 2, height - 1)], gy)
        _edge_row(gx, gy, decay, out[y, :width])
    return out


@_kernel
def _divergence_row(
    p: Float32, px: np.uint64, py: np.uint64, py_above: np.uint64, out: Float32, n: np.uint64
) -> None:
    out[np.uint64(0)] = p[px] + p[py] - p[py_above]
    for x in range(_UNIT, n):
        out[x] = p[px + x] - p[px + x - _UNIT] + p[py + x] - p[py_above + x]


@_kernel
def _primal_row(
    u: Float32,
    at_u: np.uint64,
    span: np.uint64,
    div: Float32,
    data: Float32,
    at_data: np.uint64,
    width: np.uint64,
    bars: Float32,
    at_bar: np.uint64,
    tau: np.float32,
    bound: np.float32,
    gamma: np.float32,
) -> None:
    """Step along the divergence, then towards the line of the data; extrapolate to the bar."""
    at_v, at_w, div_v, div_w = at_u + span, at_u + span + span, span, span + span
    bar_v, bar_w = at_bar + span, at_bar + span + span
    gx, gy = at_data, at_data + width
    inverse, constant = gy + width, gy + width + width
    for x in range(width):
        old_u, old_v, old_w = u[at_u + x], u[at_v + x], u[at_w + x]
        a = old_u + tau * div[x]
        b = old_v + tau * div[div_v + x]
        c = old_w + tau * div[div_w + x]
        step = -(data[constant + x] + data[gx + x] * a + data[gy + x] * b + gamma * c)
        step = min(max(step * data[inverse + x], -bound), bound)
        a += step * data[gx + x]
        b += step * data[gy + x]
        c += step * gamma
        u[at_u + x], u[at_v + x], u[at_w + x] = a, b, c
        bars[at_bar + x] = a + a - old_u
        bars[bar_v + x] = b + b - old_v
        bars[bar_w + x] = c + c - old_w


@_kernel
def _primal_step(
    u: Float32,
    p: Float32,
    data: Float32,
    bars: Float32,
    div: Float32,
    at: tuple[np.uint64, np.uint64, np.uint64],
    bar: np.uint64,
    width: np.uint64,
    tau: np.float32,
    bound: np.float32,
    gamma: np.float32,
) -> None:
    """Step one row, which begins in u, p and data at the three offsets `at`."""
    at_u, px, at_data = at
    span = width + _UNIT
    fields = np.uint64(3) * span
    _divergence_row(p, px, px + fields, px - fields, div, fields)
    _primal_row(u, at_u, span, div, data, at_data, width, bars, bar, tau, bound, gamma)
    for field in range(3):  # no slope across the border
        end = bar + np.uint64(field) * span + width
        bars[end] = bars[end - _UNIT]


@_kernel
def _dual_row(
    bars: Float32,
    bar: np.uint64,
    below: np.uint64,
    p: Float32,
    px: np.uint64,
    py: np.uint64,
    weight: Float32,
    at_weight: np.uint64,
    sigma: np.float32,
    n: np.uint64,
) -> None:
    """Step along the gradient of the bar and return into the disc of radius `weight`."""
    for x in range(n):
        a = p[px + x] + sigma * (bars[bar + x + _UNIT] - bars[bar + x])
        b = p[py + x] + sigma * (bars[below + x] - bars[bar + x])
        scale = min(_ONE, weight[at_weight + x] * (_ONE / np.sqrt(a * a + b * b + _TINY)))
        p[px + x], p[py + x] = a * scale, b * scale


# a sum of squares for the test of convergence: its order matters little, and vectorises
@njit(cache=True, nogil=True, fastmath=True, error_model="numpy", forceinline=True)
def _change_row(
    u: Float32, at_u: np.uint64, bars: Float32, at_bar: np.uint64, n: np.uint64
) -> np.float32:
    """Sum the squared change of the flow; the bar minus u is the new minus the old."""
    total = np.float32(0)
    for x in range(n):
        change = bars[at_bar + x] - u[at_u + x]
        total += change * change
    return total


@_kernel
def iterate(
    u: Float32,
    p: Float32,
    data: Float32,
    weight: Float32,
    tau: np.float32,
    sigma: np.float32,
    lambda_: np.float32,
    gamma: np.float32,
    n: int,
    change: Float32,
) -> None:
    """Run n primal-dual iterations in place over one image, as a single wavefront.

    `u` (H, 3, W + 1) holds the flow and the illumination, `p` (1 + H, 2, 3, W + 1) their duals,
    with a row of 0 before the first; the last column of p and of `weight` (H, W + 1) is 0, so
    that neighbours beyond the border add nothing. `data` (H, 4, W) holds gx, gy, inverse and
    constant: the residual is ``constant + gx u + gy v + gamma w``, and `inverse` that of its
    squared slope. Iteration k works one row behind iteration k - 1, so that the rows in use stay in
    the cache; the result is that of one iteration after the other. ``change[y]`` is set to
    the sum over row y of the squared change of the flow in the last iteration.
    """
    height, width, n_fields = len(u), np.uint64(data.shape[2]), 3 if gamma > 0 else 2
    span = width + _UNIT
    fields = np.uint64(3) * span
    # flat, with offsets: a view of each row would cost as much as the work on a narrow one
    all_u, all_p, all_data, all_weight = u.ravel(), p.ravel(), data.ravel(), weight.ravel()
    bars = np.zeros(6 * n * u.shape[2] + 1, np.float32)  # two rows of each iteration
    div = np.zeros(3 * u.shape[2], np.float32)
    for front in range(height + n):
        for k in range(max(0, front - height), min(n, front + 1)):
            y = front - k
            bar, above = np.uint64(2 * k + (y & 1)), np.uint64(2 * k + 1 - (y & 1))
            bar, above = bar * fields, above * fields
            if y < height:
                at = (
                    np.uint64(y) * fields,
                    np.uint64(2 * y + 2) * fields,
                    np.uint64(4 * y) * width,
                )
                _primal_step(
                    all_u, all_p, all_data, bars, div, at, bar, width, tau, tau * lambda_, gamma
                )
                if k == n - 1:
                    change[y] = _change_row(all_u, at[0], bars, bar, width)
                    change[y] += _change_row(all_u, at[0] + span, bars, bar + span, width)
            if y > 0:
                below = bar if y < height else above
                at_p, at_weight = np.uint64(2 * y) * fields, np.uint64(y - 1) * span
                for field in range(n_fields):
                    o = np.uint64(field) * span
                    px, py = at_p + o, at_p + fields + o
                    _dual_row(
                        bars,
                        above + o,
                        below + o,
                        all_p,
                        px,
                        py,
                        all_weight,
                        at_weight,
                        sigma,
                        span,
                    )
