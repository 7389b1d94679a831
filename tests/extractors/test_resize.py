"""Bilinear resizing."""

import cv2
import numpy as np
import pytest

from cinefeat.extractors.resize import resize_linear

SIZES = [(57, 42), (113, 85), (160, 120), (226, 170), (1, 1)]


@pytest.mark.parametrize("width, height", SIZES)
def test_resizing_is_bilinear(rng, width, height):
    image = rng.uniform(0, 255, (85, 113)).astype(np.float32)
    expected = cv2.resize(image, (width, height))
    np.testing.assert_allclose(resize_linear(image, width, height), expected, atol=1e-3)


def test_a_size_that_stays_copies(rng):
    image = rng.uniform(0, 255, (9, 13)).astype(np.float32)
    np.testing.assert_array_equal(resize_linear(image, 13, 9), image)


def test_a_ramp_stays_a_ramp_inside():
    ramp = np.tile(np.arange(32, dtype=np.float32), (8, 1))
    # pixel i of half the size lies between pixels 2 i and 2 i + 1
    np.testing.assert_allclose(resize_linear(ramp, 16, 4)[2], np.arange(16) * 2 + 0.5)
