import numpy as np
import pytest
from sklearn.metrics.pairwise import additive_chi2_kernel

from cinefeat.classifiers import chi2_distances, hellinger_kernel, sum_kernels
from cinefeat.classifiers.kernels import channel_slices, chi2_exponent


@pytest.fixture
def histograms(rng):
    """Twelve histograms of 40 bins, most of them zero."""
    counts = rng.poisson(0.5, size=(12, 40)).astype(float)
    return counts / counts.sum(axis=1, keepdims=True)


def test_distances_are_half_of_scikit_learns_negated_kernel(histograms):
    expected = -additive_chi2_kernel(histograms, histograms[:5]) / 2
    actual = chi2_distances(histograms, histograms[:5])
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_distances_of_empty_histograms_are_finite():
    empty = np.zeros((1, 4))
    assert chi2_distances(empty, np.array([[0, 0, 0, 0], [1.0, 0, 0, 0]])).tolist() == [[0.0, 0.5]]


def test_each_channel_counts_by_its_mean_over_the_training_pairs(histograms):
    exponent, means = chi2_exponent(histograms, histograms, [10, 30])
    expected = np.zeros((12, 12))
    for c, columns in enumerate([slice(0, 10), slice(10, 40)]):
        part = histograms[:, columns]
        distance = -additive_chi2_kernel(part, part) / 2
        pairs = [distance[i, j] for i in range(12) for j in range(i + 1, 12)]
        assert means[c] == pytest.approx(np.mean(pairs), rel=1e-5)
        expected += distance / np.mean(pairs)
    np.testing.assert_allclose(exponent, expected, atol=1e-5)


def test_given_means_are_not_learned_anew(histograms):
    exponent, means = chi2_exponent(histograms[:3], histograms, None, np.array([2.0]))
    assert means.tolist() == [2.0]
    np.testing.assert_allclose(exponent, chi2_distances(histograms[:3], histograms) / 2)


def test_a_channel_without_spread_counts_for_nothing(histograms):
    constant = np.hstack([histograms, np.ones((12, 2))])
    exponent, means = chi2_exponent(constant, constant, [40, 2])
    assert means[1] == 1.0
    np.testing.assert_array_equal(exponent, chi2_exponent(histograms, histograms, None)[0])


def test_the_hellinger_kernel_is_linear_in_square_roots(histograms):
    roots = np.sqrt(histograms)
    np.testing.assert_allclose(hellinger_kernel(histograms, histograms), roots @ roots.T)
    np.testing.assert_allclose(np.diag(hellinger_kernel(histograms, histograms)), 1)


@pytest.mark.parametrize("kernel", [chi2_distances, hellinger_kernel])
def test_negative_values_are_refused(kernel, histograms):
    with pytest.raises(ValueError, match="Negative values"):
        kernel(histograms - 0.1, histograms)


@pytest.mark.parametrize("sizes", [[10, 20], [40, 0], [41]])
def test_channels_that_do_not_add_up_are_refused(sizes):
    with pytest.raises(ValueError, match="do not add up to the 40 columns"):
        channel_slices(sizes, 40)


def test_kernels_of_different_rows_are_not_added():
    with pytest.raises(ValueError, match="same rows"):
        sum_kernels([np.eye(2), np.eye(3)])


def test_kernels_add_equally_unless_weighted():
    assert sum_kernels([np.eye(1), np.eye(1)]).tolist() == [[2.0]]
