"""The flow solver against literal versions of its steps."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from flow_pairs import shifted_pair, texture

from cinefeat.extractors.tvl1 import flow_of_pair, level_sizes, rows_in_threads
from cinefeat.extractors.tvl1_kernels import edge_weights, iterate, linearise_rows, pad_edge
from cinefeat.extractors.tvl1_settings import PRESETS, flow_settings

HEIGHT, WIDTH = 9, 12
TAU, SIGMA, LAMBDA, GAMMA = (np.float32(value) for value in (0.6, 1 / 3.6, 0.4, 1.5))


def _problem(rng, gamma):
    data = rng.normal(size=(HEIGHT, 4, WIDTH)).astype(np.float32)
    data[:, 2] = 1 / (1.3 * (data[:, 0] ** 2 + data[:, 1] ** 2 + gamma**2) + 0.1)
    weight = np.zeros((HEIGHT, WIDTH + 1), np.float32)
    weight[:, :-1] = rng.uniform(0.2, 1, (HEIGHT, WIDTH))
    u = np.zeros((HEIGHT, 3, WIDTH + 1), np.float32)
    u[:, : 3 if gamma > 0 else 2, :-1] = rng.normal(size=(HEIGHT, 3 if gamma > 0 else 2, WIDTH))
    p = np.zeros((1 + HEIGHT, 2, 3, WIDTH + 1), np.float32)
    return u, p, data, weight


def _gradient(u):
    gradient = np.zeros((2, *u.shape))
    gradient[0, :, :, :-1] = u[:, :, 1:] - u[:, :, :-1]
    gradient[1, :, :-1] = u[:, 1:] - u[:, :-1]
    return gradient


def _divergence(p):
    """Minus the transpose of the gradient, as a matrix built column by column."""
    shape = p.shape[2:]
    units = np.eye(p[0, 0].size).reshape(-1, 1, *shape)
    matrix = np.stack([_gradient(unit).ravel() for unit in units], axis=1)
    return -np.stack([(matrix.T @ p[:, c].ravel()).reshape(shape) for c in range(p.shape[1])])


def _literal_iteration(u, p, data, weight, gamma):
    """Algorithm 1 of Chambolle and Pock on fields (3, H, W), in double precision."""
    gx, gy, inverse, constant = data
    moved = u + TAU * _divergence(p)
    residual = constant + gx * moved[0] + gy * moved[1] + gamma * moved[2]
    step = np.clip(-residual * inverse, -TAU * LAMBDA, TAU * LAMBDA)
    new = moved + step * np.stack([gx, gy, np.full_like(gx, gamma)])
    q = p + SIGMA * _gradient(2 * new - u)
    return new, q / np.maximum(1, np.sqrt((q**2).sum(axis=0)) / weight)


@pytest.mark.parametrize("gamma", [0.0, 1.5])
@pytest.mark.parametrize("n", [1, 2, 7, 15])
def test_wavefront_equals_one_iteration_after_the_other(rng, gamma, n):
    u, p, data, weight = _problem(rng, gamma)
    fields = u[:, :, :-1].transpose(1, 0, 2).astype(np.float64)
    dual = np.zeros((2, *fields.shape))
    for _ in range(n):
        before = fields
        fields, dual = _literal_iteration(
            fields, dual, data.astype(np.float64).transpose(1, 0, 2), weight[:, :-1], gamma
        )
    change = np.empty(HEIGHT, np.float32)
    iterate(u, p, data, weight, TAU, SIGMA, LAMBDA, np.float32(gamma), n, change)
    np.testing.assert_allclose(u[:, :, :-1].transpose(1, 0, 2), fields, atol=2e-5)
    expected = ((fields - before)[:2] ** 2).sum(axis=(0, 2))
    np.testing.assert_allclose(change, expected, rtol=1e-3, atol=1e-7)


def test_iterations_converge_to_a_minimum_of_the_energy(rng):
    u, p, data, weight = _problem(rng, 0.0)
    change = np.empty(HEIGHT, np.float32)
    iterate(u, p, data, weight, TAU, SIGMA, LAMBDA, np.float32(0), 4000, change)
    assert change.sum() < 1e-9


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.25, -0.5)])
def test_linearised_residual_is_the_difference_at_the_warped_place(shift):
    prev, next = (image.astype(np.float32) for image in shifted_pair(shift, (32, 40)))
    u = np.zeros((32, 3, 41), np.float32)
    u[:, 0, :-1], u[:, 1, :-1] = shift
    data = np.empty((32, 4, 40), np.float32)
    padded = pad_edge(next[:, None], 0, 40, 1, 2, 2)
    linearise_rows(prev, padded, u, data, np.float32(1), np.float32(0), 0, 32)
    gx, gy, inverse, constant = data[3:-3, :, 3:-3].transpose(1, 0, 2)
    assert np.abs(constant + gx * shift[0] + gy * shift[1]).mean() < 0.6  # rounding to uint8
    np.testing.assert_allclose(inverse, 1 / (gx**2 + gy**2 + 1e-6), rtol=1e-4)


def test_slopes_of_a_ramp_are_exact_and_outside_the_image_nothing_is_said():
    y, x = np.mgrid[0:24, 0:30].astype(np.float32)
    ramp = 3 * x + 2 * y
    u = np.zeros((24, 3, 31), np.float32)
    u[:, 0, 20] = 15  # leads out of the image
    data = np.empty((24, 4, 30), np.float32)
    padded = pad_edge(ramp[:, None], 0, 30, 1, 2, 2)
    linearise_rows(ramp, padded, u, data, np.float32(1), np.float32(0), 0, 24)
    np.testing.assert_allclose(data[4:-4, 0, 4:16], 3, atol=1e-4)
    np.testing.assert_allclose(data[4:-4, 1, 4:16], 2, atol=1e-4)
    assert (data[:, :, 20] == 0).all()


def test_rows_linearised_in_parts_are_those_linearised_at_once(rng):
    first, second = rng.uniform(0, 255, (2, 21, 18)).astype(np.float32)
    u = rng.normal(size=(21, 3, 19)).astype(np.float32)
    padded = pad_edge(second[:, None], 0, 18, 1, 2, 2)
    whole, parts = np.empty((2, 21, 4, 18), np.float32)
    one, half = np.float32(1), np.float32(0.5)
    linearise_rows(first, padded, u, whole, one, half, 0, 21)
    for top, end in ((0, 1), (1, 12), (12, 21)):
        linearise_rows(first, padded, u, parts, one, half, top, end)
    assert (whole == parts).all()


def test_padding_repeats_the_border():
    image = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = np.pad(image, ((1, 2), (1, 3)), mode="edge")
    assert (pad_edge(image[:, None], 0, 3, 1, 2, 3) == expected).all()


def test_edges_weigh_less_than_flat_parts():
    image = np.zeros((16, 16), np.float32)
    image[:, 8:] = 100
    weight = edge_weights(image, np.float32(0.1))
    assert (weight[:, 2] == 1).all()
    assert (weight[:, 8] < 0.1).all()
    assert (weight[:, 16] == 0).all()


@pytest.mark.parametrize("shape, zoom, sizes", [
    ((240, 320), 0.5, [(240, 320), (120, 160), (60, 80), (30, 40)]),
    ((16, 500), 0.5, [(16, 500)]),
    ((33, 33), 0.7, [(33, 33), (23, 23), (16, 16)]),
])  # fmt: skip
def test_levels_end_at_sixteen_pixels(shape, zoom, sizes):
    assert level_sizes(shape, flow_settings(zoom=zoom)) == sizes


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("n_threads", [2, 3])
def test_rows_shared_among_threads_change_no_bit(preset, n_threads):
    prev, next = (image.astype(np.float32) for image in shifted_pair((2.3, -1.6), (200, 70)))
    settings = flow_settings(preset, n_warps=2)
    with ThreadPoolExecutor(n_threads) as pool:
        shared = flow_of_pair(prev, next, settings, rows_in_threads(pool, n_threads))
    assert (shared == flow_of_pair(prev, next, settings)).all()


def test_images_are_not_modified():
    prev, next = texture(32, 32, seed=1), texture(32, 32, seed=2)
    copies = prev.copy(), next.copy()
    flow_of_pair(prev, next, flow_settings("fast"))
    assert (prev == copies[0]).all()
    assert (next == copies[1]).all()
