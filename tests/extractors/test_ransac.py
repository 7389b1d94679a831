"""A homography from matches of which many are wrong."""

import numpy as np
import pytest

from cinefeat.extractors.ransac import sample_homography

TRUE = np.array([[1.02, 0.03, 4], [-0.01, 0.98, -3], [2e-5, -1e-5, 1]])


def _matches(rng, n, n_wrong):
    first = rng.uniform(0, 300, (n, 2)).astype(np.float32)
    mapped = np.c_[first, np.ones(n)] @ TRUE.T
    second = (mapped[:, :2] / mapped[:, 2:]).astype(np.float32)
    second[:n_wrong] += rng.uniform(5, 40, (n_wrong, 2)).astype(np.float32)
    return first, second


@pytest.mark.parametrize("n, n_wrong", [(4, 0), (100, 30), (400, 260)])
def test_the_homography_is_found_among_wrong_matches(rng, n, n_wrong):
    found = sample_homography(*_matches(rng, n, n_wrong), 1.0)
    corners = np.array([[0, 0, 1], [300, 0, 1], [0, 300, 1], [300, 300, 1]])
    mapped, expected = corners @ found.T, corners @ TRUE.T
    apart = mapped[:, :2] / mapped[:, 2:] - expected[:, :2] / expected[:, 2:]
    # exact for four matches, which may lie close together: then the corners are far from them
    assert np.abs(apart).max() < 1.5


def test_points_on_a_line_determine_none():
    points = np.stack([np.arange(30.0), 2 * np.arange(30.0)], 1).astype(np.float32)
    assert sample_homography(points, points, 1.0) is None


def test_every_call_draws_the_same_samples(rng):
    matches = _matches(rng, 200, 150)
    first, second = (sample_homography(*matches, 1.0) for _ in range(2))
    np.testing.assert_array_equal(first, second)
