"""Farneback's optical flow on the pyramid of the dense trajectory programs.

Farneback, "Two-frame motion estimation based on polynomial expansion", SCIA 2003, as the reference
programs compute it: levels sqrt(2) apart, each made from the full-resolution frame, two iterations
a level, a 5x5 median of the result, which is what tracks follow and what seeds the next finer
level. `cv2.calcOpticalFlowFarneback` returns the finest level alone, has no median and other
levels.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numba import njit

from cinefeat.extractors.resize import resize_linear
from cinefeat.extractors.trajectories import SCALE_STEP, Level, Planes

RADIUS = 7  # of the polynomial's neighbourhood
SIGMA = 1.5  # of its weights
BLUR_RADIUS = 5  # of the average over the linear systems
BLUR_SIGMA = 1.5
ITERATIONS = 2
MEDIAN_SIZE = 5
REGULARISER = 1e-3  # added to the determinant of a pixel's system
BORDER_WEIGHTS = np.array([0.14, 0.14, 0.4472, 0.4472, 0.4472], np.float32)


def _gaussian(radius: int, sigma: float) -> np.ndarray:
    """Return normalised weights, rounded to float32 before and after as the reference does."""
    x = np.arange(-radius, radius + 1)
    g = np.exp(-(x**2) / (2 * sigma**2)).astype(np.float32).astype(np.float64)
    return (g / g.sum()).astype(np.float32)


def _polynomial_inverse() -> np.ndarray:
    """Return the entries (1,1), (0,3), (3,3), (5,5) of the inverse Gram matrix of the basis.

    The basis is (1, x, y, x^2, y^2, xy) under the Gaussian weight; float32 products, as there.
    """
    g = _gaussian(RADIUS, SIGMA)
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1].astype(np.float32)
    weight = np.outer(g, g)
    moments = [weight, weight * x * x, weight * x * x * x * x, weight * x * x * y * y]
    m0, m2, m4, m22 = (m.sum(dtype=np.float64) for m in moments)
    gram = np.diag([m0, m2, m2, m4, m4, m22])
    gram[0, 3:5] = gram[3:5, 0] = m2
    gram[3, 4] = gram[4, 3] = m22
    return np.linalg.inv(gram)[[1, 0, 3, 5], [1, 3, 3, 5]]


# weights for offsets 0 to RADIUS; those of negative offsets follow by symmetry
_OFFSETS = np.arange(RADIUS + 1)
_KERNEL = _gaussian(RADIUS, SIGMA)[RADIUS:]
G = tuple(_KERNEL)
XG = tuple((_OFFSETS * _KERNEL).astype(np.float32))
XXG = tuple((_OFFSETS**2 * _KERNEL).astype(np.float32))
IG11, IG03, IG33, IG55 = _polynomial_inverse()
BLUR = tuple(_gaussian(BLUR_RADIUS, BLUR_SIGMA)[BLUR_RADIUS:])


@njit(cache=True, nogil=True, error_model="numpy")
def _start_moments(row: np.ndarray, v0: np.ndarray, v1: np.ndarray, v2: np.ndarray) -> None:
    for x in range(len(row)):
        v0[x] = G[0] * row[x]
        v1[x] = v2[x] = np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_moments(
    upper: np.ndarray, lower: np.ndarray, g: float, xg: float, xxg: float,
    v0: np.ndarray, v1: np.ndarray, v2: np.ndarray,
) -> None:  # fmt: skip
    """Add the two rows at one distance to the correlations with g, x g and x^2 g."""
    for x in range(len(upper)):
        both, slope = lower[x] + upper[x], lower[x] - upper[x]
        v0[x] += g * both
        v1[x] += xg * slope
        v2[x] += xxg * both


@njit(cache=True, nogil=True, error_model="numpy")
def _moments_to_polynomial(
    v0: np.ndarray, v1: np.ndarray, v2: np.ndarray, y: np.ndarray, x: np.ndarray,
    yy: np.ndarray, xx: np.ndarray, xy: np.ndarray,
) -> None:  # fmt: skip
    """Correlate along the padded rows and write the polynomial's coefficients.

    Sums are float64 and most products float32, as in the reference: the last bit decides where a
    pixel's system is near singular.
    """
    for i in range(len(y)):
        c = i + RADIUS
        b1, b3, b5 = np.float64(G[0] * v0[c]), np.float64(G[0] * v1[c]), np.float64(G[0] * v2[c])
        b2 = b4 = b6 = 0.0
        for k in range(1, RADIUS + 1):
            both = np.float64(v0[c + k] + v0[c - k])
            b1 += both * np.float64(G[k])
            b4 += both * np.float64(XXG[k])
            b2 += np.float64((v0[c + k] - v0[c - k]) * XG[k])
            b3 += np.float64((v1[c + k] + v1[c - k]) * G[k])
            b6 += np.float64((v1[c + k] - v1[c - k]) * XG[k])
            b5 += np.float64((v2[c + k] + v2[c - k]) * G[k])
        y[i], x[i] = b3 * IG11, b2 * IG11
        yy[i], xx[i] = b1 * IG03 + b5 * IG33, b1 * IG03 + b4 * IG33
        xy[i] = b6 * IG55


@njit(cache=True, nogil=True, error_model="numpy")
def _pad_row(row: np.ndarray, margin: int) -> None:
    """Repeat the first and last inner values of a row into its margins."""
    row[:margin] = row[margin]
    row[-margin:] = row[-margin - 1]


@njit(cache=True, nogil=True, error_model="numpy")
def _expand(image: np.ndarray, out: np.ndarray) -> None:
    height, width = image.shape
    v0 = np.empty(width + 2 * RADIUS, np.float32)
    v1, v2 = np.empty_like(v0), np.empty_like(v0)
    # a slice of a 1-D array keeps its unit stride in the type, so the rows below are vectorised
    inner0, inner1, inner2 = v0[RADIUS:-RADIUS], v1[RADIUS:-RADIUS], v2[RADIUS:-RADIUS]
    for row in range(height):
        _start_moments(image[row], inner0, inner1, inner2)
        for k in range(1, RADIUS + 1):
            upper, lower = image[max(row - k, 0)], image[min(row + k, height - 1)]
            _add_moments(upper, lower, G[k], XG[k], XXG[k], inner0, inner1, inner2)
        _pad_row(v0, RADIUS)
        _pad_row(v1, RADIUS)
        _pad_row(v2, RADIUS)
        _moments_to_polynomial(
            v0, v1, v2, out[0, row], out[1, row], out[2, row], out[3, row], out[4, row]
        )


def expand_polynomials(image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Fit a quadratic polynomial around every pixel under a Gaussian weight (Farneback 2003).

    Parameters
    ----------
    image : ndarray of shape (h, w), float32
        Borders are continued by their last value.
    out : ndarray of shape (5, h, w), float32, optional
        Where to write; new by default.

    Returns
    -------
    ndarray of shape (5, h, w), float32
        The coefficients of y, x, y^2, x^2 and xy, grey values per pixel (or pixel squared).

    Examples
    --------
    >>> ramp = np.tile(np.arange(40, dtype=np.float32), (20, 1))
    >>> expand_polynomials(ramp)[:, 10, 20].round(3) + 0
    array([0., 1., 0., 0., 0.], dtype=float32)
    """
    if out is None:
        out = np.empty((5, *image.shape), np.float32)
    _expand(image, out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _fetch_row(
    second: np.ndarray, yy: np.ndarray, xx: np.ndarray, xy: np.ndarray, dx: np.ndarray,
    dy: np.ndarray, row: int, height: int, out: np.ndarray,
) -> None:  # fmt: skip
    """Interpolate the second frame's polynomials, (5, h w), where a row's flow points to.

    Outside the image the linear part is 0 and the quadratic part that of the first frame.
    """
    width = len(dx)
    for x in range(width):
        to_x, to_y = np.float32(x) + dx[x], np.float32(row) + dy[x]
        floor_x, floor_y = np.floor(to_x), np.floor(to_y)
        if 0 <= floor_x < width - 1 and 0 <= floor_y < height - 1:
            across, down = to_x - floor_x, to_y - floor_y
            left, up = np.float32(1) - across, np.float32(1) - down
            w00, w01, w10, w11 = left * up, across * up, left * down, across * down
            # unsigned, so that no index is tested for being negative
            i = np.uint64(int(floor_y) * width + int(floor_x))
            j, right, below = i + np.uint64(1), i + np.uint64(width), i + np.uint64(width + 1)
            for c in range(5):
                upper = w00 * second[c, i] + w01 * second[c, j]
                out[c, x] = upper + w10 * second[c, right] + w11 * second[c, below]
        else:
            out[0, x] = out[1, x] = np.float32(0)
            out[2, x], out[3, x], out[4, x] = yy[x], xx[x], xy[x]


@njit(cache=True, nogil=True, error_model="numpy")
def _system_row(
    y0: np.ndarray, x0: np.ndarray, yy0: np.ndarray, xx0: np.ndarray, xy0: np.ndarray,
    y1: np.ndarray, x1: np.ndarray, yy1: np.ndarray, xx1: np.ndarray, xy1: np.ndarray,
    dx: np.ndarray, dy: np.ndarray, weights: np.ndarray, weight: float,
    m11: np.ndarray, m12: np.ndarray, m22: np.ndarray, h1: np.ndarray, h2: np.ndarray,
) -> None:  # fmt: skip
    """Write each pixel's 2x2 normal equations for the displacement (Farneback's A and b)."""
    half, quarter = np.float32(0.5), np.float32(0.25)
    for x in range(len(dx)):
        scale = weights[x] * weight
        r4, r5 = (yy0[x] + yy1[x]) * half, (xx0[x] + xx1[x]) * half
        r6 = (xy0[x] + xy1[x]) * quarter
        r2 = ((y0[x] - y1[x]) * half + (r4 * dy[x] + r6 * dx[x])) * scale
        r3 = ((x0[x] - x1[x]) * half + (r6 * dy[x] + r5 * dx[x])) * scale
        r4, r5, r6 = r4 * scale, r5 * scale, r6 * scale
        i = x + BLUR_RADIUS
        m11[i] = r4 * r4 + r6 * r6
        m12[i] = (r4 + r5) * r6
        m22[i] = r5 * r5 + r6 * r6
        h1[i] = r4 * r2 + r6 * r3
        h2[i] = r6 * r2 + r5 * r3


@njit(cache=True, nogil=True, error_model="numpy")
def _average_down(
    c: np.ndarray, u1: np.ndarray, d1: np.ndarray, u2: np.ndarray, d2: np.ndarray, u3: np.ndarray,
    d3: np.ndarray, u4: np.ndarray, d4: np.ndarray, u5: np.ndarray, d5: np.ndarray,
    out: np.ndarray,
) -> None:  # fmt: skip
    """Average a row with the five above and the five below."""
    for i in range(len(out)):
        total = BLUR[0] * c[i] + BLUR[1] * (u1[i] + d1[i]) + BLUR[2] * (u2[i] + d2[i])
        total = total + BLUR[3] * (u3[i] + d3[i]) + BLUR[4] * (u4[i] + d4[i])
        out[i] = total + BLUR[5] * (u5[i] + d5[i])


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_row(
    m11: np.ndarray, m12: np.ndarray, m22: np.ndarray, h1: np.ndarray, h2: np.ndarray,
    dx: np.ndarray, dy: np.ndarray,
) -> None:  # fmt: skip
    """Average the padded systems along the row and solve them."""
    for i in range(len(dx)):
        c = i + BLUR_RADIUS
        a, b, d = BLUR[0] * m11[c], BLUR[0] * m12[c], BLUR[0] * m22[c]
        e, f = BLUR[0] * h1[c], BLUR[0] * h2[c]
        for k in range(1, BLUR_RADIUS + 1):
            a += BLUR[k] * (m11[c - k] + m11[c + k])
            b += BLUR[k] * (m12[c - k] + m12[c + k])
            d += BLUR[k] * (m22[c - k] + m22[c + k])
            e += BLUR[k] * (h1[c - k] + h1[c + k])
            f += BLUR[k] * (h2[c - k] + h2[c + k])
        g11, g12, g22 = np.float64(a), np.float64(b), np.float64(d)
        inverse = 1.0 / (g11 * g22 - g12 * g12 + REGULARISER)
        dx[i] = (g11 * f - g12 * e) * inverse
        dy[i] = (g22 * e - g12 * f) * inverse


@njit(cache=True, nogil=True, error_model="numpy")
def _improve(
    first: np.ndarray, second: np.ndarray, dx: np.ndarray, dy: np.ndarray, weights_x: np.ndarray,
    weights_y: np.ndarray,
) -> None:  # fmt: skip
    """Replace a flow by the solution of the systems that it gives, averaged around each pixel.

    Systems are kept for the eleven rows that an average needs, so a row's flow is overwritten when
    the last row that reads it is done.
    """
    height, width = dx.shape
    planes = second.reshape(5, -1)
    fetched = np.empty((5, width), np.float32)
    ring_size, padded = 2 * BLUR_RADIUS + 1, width + 2 * BLUR_RADIUS
    ring = np.zeros((ring_size, 5, padded), np.float32)
    rows, mean = ring.reshape(ring_size, -1), np.empty((5, padded), np.float32)
    up, down = np.empty(BLUR_RADIUS + 1, np.int64), np.empty(BLUR_RADIUS + 1, np.int64)
    for ahead in range(height + BLUR_RADIUS):
        if ahead < height:
            f, x, y, m = fetched, dx[ahead], dy[ahead], ring[ahead % ring_size]
            y0, x0 = first[0, ahead], first[1, ahead]
            yy0, xx0, xy0 = first[2, ahead], first[3, ahead], first[4, ahead]
            _fetch_row(planes, yy0, xx0, xy0, x, y, ahead, height, fetched)
            _system_row(
                y0, x0, yy0, xx0, xy0, f[0], f[1], f[2], f[3], f[4], x, y,
                weights_x, weights_y[ahead], m[0], m[1], m[2], m[3], m[4],
            )  # fmt: skip
        row = ahead - BLUR_RADIUS
        if row >= 0:
            for k in range(BLUR_RADIUS + 1):
                up[k], down[k] = max(row - k, 0) % ring_size, min(row + k, height - 1) % ring_size
            _average_down(
                rows[up[0]], rows[up[1]], rows[down[1]], rows[up[2]], rows[down[2]], rows[up[3]],
                rows[down[3]], rows[up[4]], rows[down[4]], rows[up[5]], rows[down[5]],
                mean.reshape(-1),
            )  # fmt: skip
            for c in range(5):
                _pad_row(mean[c], BLUR_RADIUS)
            _solve_row(mean[0], mean[1], mean[2], mean[3], mean[4], dx[row], dy[row])


def border_weights(size: int) -> np.ndarray:
    """Return the weight of each row or column: 1 inside, less within five pixels of a border."""
    weights = np.ones(size, np.float32)
    weights[: len(BORDER_WEIGHTS)] = BORDER_WEIGHTS
    weights[-len(BORDER_WEIGHTS) :] *= BORDER_WEIGHTS[::-1]
    return weights


def blur_of_level(level: Level) -> tuple[int, float]:
    """Return size and sigma of the Gaussian before a level is made (0: as OpenCV takes the size).

    Examples
    --------
    >>> [blur_of_level(Level(np.float32(s), 9, 9))[0] for s in (1, 1.4142135, 1.9999999, 2.828427)]
    [3, 3, 3, 5]
    """
    sigma = (float(level.scale) - 1.0) / 2
    return max(round(5 * sigma) | 1, 3), sigma


def polynomial_pyramid(gray: np.ndarray, levels: Sequence[Level]) -> list[np.ndarray]:
    """Expand a grey frame at each level: blurred, resized from full resolution, fitted.

    Parameters
    ----------
    gray : ndarray of shape (H, W), uint8 or float32
    levels : sequence of Level

    Returns
    -------
    list of ndarray of shape (5, h, w), float32
        As `expand_polynomials`. The finest level is blurred too, with weights 1/4, 1/2, 1/4.
    """
    image = gray.astype(np.float32)
    pyramid = []
    for level in levels:
        size, sigma = blur_of_level(level)
        smooth = cv2.GaussianBlur(image, (size, size), sigma)
        pyramid.append(expand_polynomials(resize_linear(smooth, level.width, level.height)))
    return pyramid


def flow_between(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[Planes]:
    """Estimate the flow from one frame to another at every level.

    Parameters
    ----------
    first, second : sequence of ndarray of shape (5, h, w), float32
        Polynomial pyramids of the two frames, finest level first.

    Returns
    -------
    list of pair of ndarray of shape (h, w), float32
        The x and y components for each level, in that level's pixels per frame.
    """
    flows: list[Planes] = []
    dx = dy = np.zeros((0, 0), np.float32)
    for r0, r1 in zip(reversed(first), reversed(second), strict=True):
        height, width = r0.shape[1:]
        if flows:
            dx, dy = (resize_linear(d, width, height) * SCALE_STEP for d in flows[-1])
        else:
            dx, dy = (np.zeros((height, width), np.float32) for _ in range(2))
        weights_x, weights_y = border_weights(width), border_weights(height)
        for _ in range(ITERATIONS):
            _improve(r0, r1, dx, dy, weights_x, weights_y)
        flows.append((cv2.medianBlur(dx, MEDIAN_SIZE), cv2.medianBlur(dy, MEDIAN_SIZE)))
    return flows[::-1]
