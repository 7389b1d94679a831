"""TV-L1 optical flow of one pair of grey images: the numba implementation."""

import math
import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from cinefeat.extractors.resample import gaussian_table, linear_table, resample

Float32 = NDArray[np.float32]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _divergence_row(px, py, py_above, out):
    out[0] = px[0] + py[0] - py_above[0]
    for x in range(1, out.size):
        out[x] = px[x] - px[x - 1] + py[x] - py_above[x]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _primal_row(u, v, div_u, div_v, gx, gy, inverse, constant, bar_u, bar_v, tau, bound):
    for x in range(u.size):
        a, b = u[x], v[x]
        c = a + tau * div_u[x]
        d = b + tau * div_v[x]
        step = -(constant[x] + gx[x] * c + gy[x] * d) * inverse[x]
        step = min(max(step, -bound), bound)
        c += step * gx[x]
        d += step * gy[x]
        u[x], v[x] = c, d
        bar_u[x] = c + c - a
        bar_v[x] = d + d - b


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _dual_row(bar, bar_below, px, py, weight, sigma):
    for x in range(px.size - 1):
        a = px[x] + sigma * (bar[x + 1] - bar[x])
        b = py[x] + sigma * (bar_below[x] - bar[x])
        scale = min(np.float32(1), weight[x] / np.sqrt(a * a + b * b + np.float32(1e-12)))
        px[x] = a * scale
        py[x] = b * scale
    x = px.size - 1
    b = py[x] + sigma * (bar_below[x] - bar[x])
    py[x] = min(max(b, -weight[x]), weight[x])


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _change_row(u, v, bar_u, bar_v):
    total = np.float32(0)
    for x in range(u.size):
        a = bar_u[x] - u[x]
        b = bar_v[x] - v[x]
        total += a * a + b * b
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _iterate(u, p, gx, gy, inverse, constant, weight, tau, sigma, bound, n_iterations):
    """Run iterations as one wavefront, iteration k one row behind iteration k - 1."""
    height, width = gx.shape
    bars = np.empty((n_iterations, 2, 2, width), np.float32)
    div = np.empty((2, width), np.float32)
    nothing = np.zeros(width, np.float32)
    change = 0.0
    for front in range(height + n_iterations):
        for k in range(max(0, front - height), min(n_iterations, front + 1)):
            y = front - k
            bar, above = bars[k, y & 1], bars[k, (y & 1) ^ 1]
            if y < height:
                for c in range(2):
                    _divergence_row(
                        p[c, 0, y], p[c, 1, y], p[c, 1, y - 1] if y > 0 else nothing, div[c]
                    )
                _primal_row(
                    u[0, y],
                    u[1, y],
                    div[0],
                    div[1],
                    gx[y],
                    gy[y],
                    inverse[y],
                    constant[y],
                    bar[0],
                    bar[1],
                    tau,
                    bound,
                )
                if k == n_iterations - 1:
                    change += _change_row(u[0, y], u[1, y], bar[0], bar[1])
            if y > 0:
                for c in range(2):
                    below = bar[c] if y < height else above[c]
                    _dual_row(above[c], below, p[c, 0, y - 1], p[c, 1, y - 1], weight[y - 1], sigma)
    return change / (height * width)


@njit(cache=True, nogil=True, error_model="numpy")
def _cubic(t):
    """Weights of Catmull-Rom interpolation, and their derivatives."""
    return (
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _warp_row(image, y, u, v, out, inside):
    height, width = image.shape
    for x in range(u.size):
        fx = np.float32(x) + u[x]
        fy = np.float32(y) + v[x]
        inside[x] = np.float32((fx >= 0) & (fx <= width - 1) & (fy >= 0) & (fy <= height - 1))
        fx = min(max(fx, np.float32(0)), np.float32(width - 1))
        fy = min(max(fy, np.float32(0)), np.float32(height - 1))
        ix, iy = int(fx), int(fy)
        tx, ty = fx - np.float32(ix), fy - np.float32(iy)
        w0, w1, w2, w3 = _cubic(tx)
        z0, z1, z2, z3 = _cubic(ty)
        a, b, c, d = max(ix - 1, 0), ix, min(ix + 1, width - 1), min(ix + 2, width - 1)
        r0, r1, r2, r3 = max(iy - 1, 0), iy, min(iy + 1, height - 1), min(iy + 2, height - 1)
        out[x] = (
            z0 * (w0 * image[r0, a] + w1 * image[r0, b] + w2 * image[r0, c] + w3 * image[r0, d])
            + z1 * (w0 * image[r1, a] + w1 * image[r1, b] + w2 * image[r1, c] + w3 * image[r1, d])
            + z2 * (w0 * image[r2, a] + w1 * image[r2, b] + w2 * image[r2, c] + w3 * image[r2, d])
            + z3 * (w0 * image[r3, a] + w1 * image[r3, b] + w2 * image[r3, c] + w3 * image[r3, d])
        )


@njit(cache=True, nogil=True, error_model="numpy")
def warp(image, u, out, inside):
    for y in range(image.shape[0]):
        _warp_row(image, y, u[0, y], u[1, y], out[y], inside[y])


def differentiate(image):
    """five-tap"""
    pad = np.pad(image, 2, mode="edge")
    c = pad[2:-2]
    r = pad[:, 2:-2]
    gx = (8 * (c[:, 3:-1] - c[:, 1:-3]) - (c[:, 4:] - c[:, :-4])) / np.float32(12)
    gy = (8 * (r[3:-1] - r[1:-3]) - (r[4:] - r[:-4])) / np.float32(12)
    return gx, gy


def _pyramid(image, o):
    h, w = image.shape
    n = 1
    while n < o.n_scales and min(h, w) * o.zoom**n >= 16:
        n += 1
    levels = [image]
    if o.presmoothing > 0:
        levels = [
            resample(
                image, gaussian_table(h, h, o.presmoothing), gaussian_table(w, w, o.presmoothing)
            )
        ]
    sigma = 0.6 * math.sqrt(o.zoom**-2 - 1)
    for k in range(1, n):
        a, b = levels[-1].shape
        c, d = int(h * o.zoom**k + 0.5), int(w * o.zoom**k + 0.5)
        levels.append(
            resample(levels[-1], gaussian_table(a, c, sigma), gaussian_table(b, d, sigma))
        )
    return levels


def flow_of_pair(prev, next, settings):
    """Estimate the flow of one pair (H, W) float32; returns (H, W, 2)."""
    f = np.float32
    u = p = None
    for a, b in zip(_pyramid(prev, settings)[::-1], _pyramid(next, settings)[::-1]):
        h, w = a.shape
        if u is None:
            u = np.zeros((2, h, w), f)
            p = np.zeros((2, 2, h, w), f)
        else:
            hh, ww = u.shape[1:]
            ty, tx = linear_table(hh, h), linear_table(ww, w)
            u = np.stack([resample(u[0], ty, tx) * f(w / ww), resample(u[1], ty, tx) * f(h / hh)])
            p = np.stack([[resample(p[i][j], ty, tx) for j in range(2)] for i in range(2)])
        u = _solve_level(a, b, u, p, settings)
    return np.ascontiguousarray(np.moveaxis(u, 0, -1))


def _solve_level(a, b, u, p, o):
    f = np.float32
    tau, sigma, bound = f(o.tau), f(1 / (8 * o.tau)), f(o.tau * o.lambda_)
    ax, ay = differentiate(a)
    bx, by = differentiate(b)
    weight = np.ones_like(a)
    wb, inside, wx, wy = (np.empty_like(a) for _ in range(4))
    for _ in range(o.n_warps):
        if o.median_filter > 1:
            u = np.stack([cv2.medianBlur(c, o.median_filter) for c in u])
        warp(b, u, wb, inside)
        warp(bx, u, wx, inside)
        warp(by, u, wy, inside)
        gx, gy = (ax + wx) / 2 * inside, (ay + wy) / 2 * inside
        rc = (wb - a) * inside - gx * u[0] - gy * u[1]
        inv = 1 / ((gx * gx + gy * gy) * f(1 + o.theta / o.tau) + f(1e-6))
        done = 0
        while done < o.max_iterations:
            n = min(10, o.max_iterations - done)
            change = _iterate(u, p, gx, gy, inv, rc, weight, tau, sigma, bound, n)
            done += n
            if change < o.epsilon**2:
                break
    return u
