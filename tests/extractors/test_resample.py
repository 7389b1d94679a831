"""Separable resampling against interpolation written out and against OpenCV."""

import cv2
import numpy as np
import pytest

from cinefeat.extractors.resample import gaussian_table, linear_table, resample

SIZES = [(17, 9), (16, 31), (20, 20), (5, 40)]


def _dense(table: tuple[np.ndarray, np.ndarray], n_in: int) -> np.ndarray:
    starts, weights = table
    matrix = np.zeros((len(starts), n_in))
    for i, start in enumerate(starts):
        matrix[i, start : start + len(weights)] = weights[:, i]
    return matrix


@pytest.mark.parametrize("n_in, n_out", SIZES)
@pytest.mark.parametrize("sigma", [0.5, 1.04, 3.0])
def test_weights_of_a_gaussian_are_positive_and_sum_to_one(n_in, n_out, sigma):
    _, weights = gaussian_table(n_in, n_out, sigma)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("n_in, n_out", [(20, 10), (21, 8), (12, 30)])
def test_linear_interpolation_is_that_of_opencv_when_enlarging(rng, n_in, n_out):
    line = rng.uniform(size=(1, n_in)).astype(np.float32)
    ours = resample(line, linear_table(1, 1), linear_table(n_in, n_out))
    theirs = cv2.resize(line, (n_out, 1), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.5])
def test_blur_is_that_of_opencv(rng, sigma):
    image = rng.uniform(0, 255, (20, 31)).astype(np.float32)
    side = 2 * int(3 * sigma) + 1
    theirs = cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT)
    ours = resample(image, gaussian_table(20, 20, sigma), gaussian_table(31, 31, sigma))
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)


@pytest.mark.parametrize("n_in, n_out", SIZES)
def test_resampling_is_the_product_with_both_matrices(rng, n_in, n_out):
    images = rng.normal(size=(n_in, 3, 14)).astype(np.float32)
    rows, columns = gaussian_table(n_in, n_out, 1.1), linear_table(14, 6)
    expected = np.einsum("ab,bck,dk->acd", _dense(rows, n_in), images, _dense(columns, 14))
    np.testing.assert_allclose(resample(images, rows, columns), expected, atol=1e-5)


def test_a_ramp_keeps_its_slope_inside():
    ramp = np.arange(40, dtype=np.float32)[None]
    half = resample(ramp, linear_table(1, 1), gaussian_table(40, 20, 1.04))[0]
    np.testing.assert_allclose(np.diff(half[3:-3]), 2, atol=1e-4)


def test_the_rest_of_a_wider_output_is_left_alone():
    out = np.full((4, 7), -1, np.float32)
    resample(np.ones((2, 3), np.float32), linear_table(2, 4), linear_table(3, 6), out)
    assert (out[:, :6] == 1).all()
    assert (out[:, 6] == -1).all()
