"""Row kernels of TV-L1 flow: the linearised data term and the primal-dual iterations.

The functions with ``_row`` in their name take single rows as arguments, which is what lets the
compiler use wide instructions; those with ``_rows`` walk over the rows ``first <= y < last``, so
that several threads can share one image. Nothing here depends on where such a split lies.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

# reassociation and the absence of NaN (validated at the entry) are what vectorising needs
_row_kernel = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
_kernel = njit(cache=True, nogil=True, error_model="numpy")
_ONE, _HALF = np.float32(1), np.float32(0.5)
_THREE_HALVES, _EIGHT, _TWELFTH = np.float32(1.5), np.float32(8), np.float32(1 / 12)
_TINY = np.float32(1e-12)
_FLAT = np.float32(1e-6)  # squared gradient below which a pixel says nothing


@_kernel
def pad_edge(image: Float32, before: int, below: int, right: int) -> Float32:
    """Repeat the border: `before` px above and to the left, `below` and `right` px after."""
    height, width = image.shape
    out = np.empty((before + height + below, before + width + right), np.float32)
    for y in range(out.shape[0]):
        row = image[min(max(y - before, 0), height - 1)]
        out[y, :before] = row[0]
        out[y, before : before + width] = row
        out[y, before + width :] = row[width - 1]
    return out


@_row_kernel
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
        c, d = _ONE - a, _ONE - b
        w0, w3 = -_HALF * a * c * c, -_HALF * c * a * a
        w1, w2 = (
            c * (_ONE + a * (_ONE - _THREE_HALVES * a)),
            a * (_ONE + c * (_ONE - _THREE_HALVES * c)),
        )
        h0, h3 = -_HALF * b * d * d, -_HALF * d * b * b
        h1, h2 = (
            d * (_ONE + b * (_ONE - _THREE_HALVES * b)),
            b * (_ONE + d * (_ONE - _THREE_HALVES * d)),
        )
        # unsigned, so that no index is tested for being negative
        i = np.uint64(iy * stride + ix)
        one, two, three, down = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(stride)
        value = h0 * (
            w0 * padded[i] + w1 * padded[i + one] + w2 * padded[i + two] + w3 * padded[i + three]
        )
        i += down
        value += h1 * (
            w0 * padded[i] + w1 * padded[i + one] + w2 * padded[i + two] + w3 * padded[i + three]
        )
        i += down
        value += h2 * (
            w0 * padded[i] + w1 * padded[i + one] + w2 * padded[i + two] + w3 * padded[i + three]
        )
        i += down
        value += h3 * (
            w0 * padded[i] + w1 * padded[i + one] + w2 * padded[i + two] + w3 * padded[i + three]
        )
        out[x] = value


@_row_kernel
def _average_row(first: Float32, warped: Float32, mean: Float32, difference: Float32) -> None:
    for x in range(first.size):
        mean[x] = _HALF * (first[x] + warped[x])
        difference[x] = warped[x] - first[x]


@_row_kernel
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


@_row_kernel
def _down_row(
    above2: Float32, above: Float32, below: Float32, below2: Float32, gy: Float32
) -> None:
    for x in range(gy.size):
        gy[x] = (_EIGHT * (below[x] - above[x]) - (below2[x] - above2[x])) * _TWELFTH


@_row_kernel
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
    for x in range(u.size):
        a, b = gx[x] * inside[x], gy[x] * inside[x]
        inverse[x] = inside[x] / (stiffness * (a * a + b * b + gamma2) + _FLAT)
        constant[x] = difference[x] * inside[x] - a * u[x] - b * v[x]
        gx[x], gy[x] = a, b


@_kernel
def linearise_rows(
    first: Float32,
    padded: Float32,
    u: Float32,
    v: Float32,
    stiffness: np.float32,
    gamma: np.float32,
    gx: Float32,
    gy: Float32,
    inverse: Float32,
    constant: Float32,
    top: int,
    end: int,
) -> None:
    """Linearise the brightness difference about the flow (u, v) in the rows top <= y < end.

    `first` and `padded` are the two images, the second with 1 px repeated before and 2 after;
    `gx, gy, inverse, constant` are filled. The gradient is that of the mean of the first image and
    the second warped, by five taps (Wedel et al. 2009; Sun et al. 2010). Where the flow leads out
    of the image all four are 0: no data term there.
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
            _warp_row(flat, stride, r, x_last, y_last, u[row], v[row], warped, inside[k])
            _average_row(first[row], warped, mean[k], difference[k])
        ready = min(y + 3, height)
        k = y % 5
        _across_row(mean[k], gx[y])
        above2, above = mean[max(y - 2, 0) % 5], mean[max(y - 1, 0) % 5]
        below, below2 = mean[min(y + 1, height - 1) % 5], mean[min(y + 2, height - 1) % 5]
        _down_row(above2, above, below, below2, gy[y])
        rows = (difference[k], inside[k], u[y], v[y], gx[y], gy[y], inverse[y], constant[y])
        _data_row(*rows, stiffness, gamma * gamma)


@_row_kernel
def _edge_row(gx: Float32, gy: Float32, decay: np.float32, out: Float32) -> None:
    for x in range(out.size):
        out[x] = max(np.exp(-decay * np.sqrt(gx[x] * gx[x] + gy[x] * gy[x])), np.float32(0.05))


@_kernel
def edge_weights(image: Float32, decay: np.float32) -> Float32:
    """Weigh the total variation of each pixel by ``max(exp(-decay |grad image|), 0.05)``."""
    height, width = image.shape
    out = np.empty_like(image)
    gx, gy = np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(height):
        _across_row(image[y], gx)
        above2, above = image[max(y - 2, 0)], image[max(y - 1, 0)]
        _down_row(above2, above, image[min(y + 1, height - 1)], image[min(y + 2, height - 1)], gy)
        _edge_row(gx, gy, decay, out[y])
    return out


@_row_kernel
def _divergence_row(px: Float32, py: Float32, py_above: Float32, out: Float32) -> None:
    out[0] = px[0] + py[0] - py_above[0]
    for x in range(1, out.size):
        out[x] = px[x] - px[x - 1] + py[x] - py_above[x]


@_row_kernel
def _primal_row(
    u: Float32,
    v: Float32,
    w: Float32,
    div_u: Float32,
    div_v: Float32,
    div_w: Float32,
    gx: Float32,
    gy: Float32,
    inverse: Float32,
    constant: Float32,
    bar_u: Float32,
    bar_v: Float32,
    bar_w: Float32,
    tau: np.float32,
    bound: np.float32,
    gamma: np.float32,
) -> None:
    """Step along the divergence, then towards the line of the data; extrapolate to `bar`."""
    for x in range(u.size):
        old_u, old_v, old_w = u[x], v[x], w[x]
        a = old_u + tau * div_u[x]
        b = old_v + tau * div_v[x]
        c = old_w + tau * div_w[x]
        step = -(constant[x] + gx[x] * a + gy[x] * b + gamma * c) * inverse[x]
        step = min(max(step, -bound), bound)
        a += step * gx[x]
        b += step * gy[x]
        c += step * gamma
        u[x], v[x], w[x] = a, b, c
        bar_u[x] = a + a - old_u
        bar_v[x] = b + b - old_v
        bar_w[x] = c + c - old_w


@_row_kernel
def _dual_row(
    bar: Float32,
    bar_below: Float32,
    px: Float32,
    py: Float32,
    weight: Float32,
    sigma: np.float32,
) -> None:
    """Step along the gradient of `bar` and return into the disc of radius `weight`."""
    for x in range(px.size - 1):
        a = px[x] + sigma * (bar[x + 1] - bar[x])
        b = py[x] + sigma * (bar_below[x] - bar[x])
        scale = min(_ONE, weight[x] / np.sqrt(a * a + b * b + _TINY))
        px[x], py[x] = a * scale, b * scale
    x = px.size - 1
    b = py[x] + sigma * (bar_below[x] - bar[x])
    py[x] = min(max(b, -weight[x]), weight[x])


@_row_kernel
def _change_row(u: Float32, v: Float32, bar_u: Float32, bar_v: Float32) -> np.float32:
    """Sum the squared change of the flow; ``bar - u`` is the new minus the old."""
    total = np.float32(0)
    for x in range(u.size):
        a, b = bar_u[x] - u[x], bar_v[x] - v[x]
        total += a * a + b * b
    return total


@_kernel
def iterate(
    u: Float32,
    p: Float32,
    gx: Float32,
    gy: Float32,
    inverse: Float32,
    constant: Float32,
    weight: Float32,
    tau: np.float32,
    sigma: np.float32,
    lambda_: np.float32,
    gamma: np.float32,
    n: int,
    change: Float32,
) -> None:
    """Run n primal-dual iterations in place over one image, as a single wavefront.

    `u` (C, H, W) holds the flow and, with C = 3, the illumination; `p` (C, 2, H, W) their duals.
    Iteration k works one row behind iteration k - 1, so that the rows in use stay in the cache;
    the result is that of one iteration after the other. ``change[y]`` is set to the sum over
    row y of the squared change of the flow in the last iteration.
    """
    n_fields, height, width = u.shape
    bars = np.zeros((n, 2, 3, width), np.float32)  # two rows of each iteration
    div = np.zeros((3, width), np.float32)
    nothing, third = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for front in range(height + n):
        for k in range(max(0, front - height), min(n, front + 1)):
            y = front - k
            bar, above = bars[k, y & 1], bars[k, (y & 1) ^ 1]
            if y < height:
                for c in range(n_fields):
                    py_above = p[c, 1, y - 1] if y > 0 else nothing
                    _divergence_row(p[c, 0, y], p[c, 1, y], py_above, div[c])
                _primal_row(
                    u[0, y],
                    u[1, y],
                    u[2, y] if n_fields == 3 else third,
                    div[0],
                    div[1],
                    div[2],
                    gx[y],
                    gy[y],
                    inverse[y],
                    constant[y],
                    bar[0],
                    bar[1],
                    bar[2],
                    tau,
                    tau * lambda_,
                    gamma,
                )
                if k == n - 1:
                    change[y] = _change_row(u[0, y], u[1, y], bar[0], bar[1])
            if y > 0:
                for c in range(n_fields):
                    below = bar[c] if y < height else above[c]
                    _dual_row(above[c], below, p[c, 0, y - 1], p[c, 1, y - 1], weight[y - 1], sigma)
