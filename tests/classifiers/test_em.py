import math

import numpy as np
import pytest

from cinefeat.classifiers.em import Mixture, moments, moments_torch, posteriors


@pytest.fixture
def mixture(rng):
    """Forty components in three dimensions, far from the origin, of unlike priors and variances."""
    priors = rng.dirichlet(np.ones(40))
    return Mixture(priors, rng.normal(size=(40, 3)) * 5 + 500, rng.uniform(0.05, 2, size=(40, 3)))


@pytest.fixture
def x(mixture, rng):
    k = rng.choice(40, size=40, p=mixture.priors)
    noise = rng.normal(size=(40, 3)) * np.sqrt(mixture.variances[k])
    return (mixture.means[k] + noise).astype(np.float32)


def literal_log_densities(x, mixture):
    """Log of prior times density of every descriptor and component, one sum sign per loop."""
    out = np.zeros((len(x), len(mixture.priors)))
    for n in range(len(x)):
        for k in range(len(mixture.priors)):
            out[n, k] = math.log(mixture.priors[k])
            for d in range(x.shape[1]):
                v = mixture.variances[k, d]
                out[n, k] -= 0.5 * math.log(2 * math.pi * v)
                out[n, k] -= 0.5 * (float(x[n, d]) - mixture.means[k, d]) ** 2 / v
    return out


def literal_posteriors(x, mixture):
    densities = np.exp(literal_log_densities(x, mixture))
    return densities / densities.sum(axis=1, keepdims=True)


def test_posteriors_are_those_of_bayes(x, mixture):
    np.testing.assert_allclose(
        posteriors(x, mixture), literal_posteriors(x, mixture), rtol=0, atol=1e-7
    )


def wide(mixture):
    """The same with variances so large that every component is near every descriptor."""
    return Mixture(mixture.priors, mixture.means, mixture.variances + 100.0)


# by shortlist, densely, and by torch
WAYS = {
    "shortlist": (lambda m: m, moments, 1e-5),  # it drops posteriors below 1.2e-7
    "dense": (wide, moments, 1e-4),
    "torch": (lambda m: m, lambda x, m: moments_torch(x, m, "cpu"), 1e-3),
}


@pytest.mark.parametrize("way", WAYS)
def test_moments_are_sums_weighted_by_posteriors(way, x, mixture):
    change, take, tolerance = WAYS[way]
    mixture = change(mixture)
    q, centred = literal_posteriors(x, mixture), x - mixture.origin.astype(float)
    sums = take(x, mixture)
    np.testing.assert_allclose(sums.mass, q.sum(axis=0), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(sums.first, q.T @ centred, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(sums.second, q.T @ centred**2, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("way", WAYS)
def test_the_log_likelihood_is_the_log_of_the_summed_densities(way, x, mixture):
    change, take, tolerance = WAYS[way]
    expected = np.log(np.exp(literal_log_densities(x, change(mixture))).sum(axis=1))
    actual = take(x, change(mixture)).log_likelihood
    np.testing.assert_allclose(actual, expected, rtol=0, atol=max(tolerance, 1e-7))


def test_sums_over_many_chunks_equal_those_of_the_parts(mixture, rng):
    x = rng.normal(size=(70_000, 3)).astype(np.float32) + 500
    parts = [moments(part, mixture) for part in np.split(x, [31_000])]
    total = sum(part.second for part in parts)
    np.testing.assert_allclose(moments(x, mixture).second, total, rtol=1e-10)


@pytest.mark.parametrize("take", [moments, lambda x, m: moments_torch(x, m, "cpu")])
def test_no_descriptors_sum_to_zero(take, mixture):
    sums = take(np.empty((0, 3), np.float32), mixture)
    assert sums.log_likelihood.shape == (0,)
    assert not sums.mass.any()
    assert not sums.second.any()


def test_a_component_of_prior_zero_takes_nothing(x, mixture):
    priors = mixture.priors.copy()
    priors[2] = 0.0
    sums = moments(x, Mixture(priors, mixture.means, mixture.variances))
    assert sums.mass[2] == 0.0
    assert sums.mass.sum() == pytest.approx(len(x))


def test_descriptors_far_from_every_component_have_posteriors(mixture):
    q = posteriors(np.full((1, 3), 1e6, np.float32), mixture)
    assert q.sum() == pytest.approx(1.0)
