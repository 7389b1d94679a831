import math

import numpy as np
import pytest

from cinefeat.classifiers import FisherVector, Mixture, encode_fisher


@pytest.fixture
def mixture(rng):
    priors = rng.dirichlet(np.full(5, 3.0))
    return Mixture(priors, rng.normal(size=(5, 4)) + 20, rng.uniform(0.2, 2, size=(5, 4)))


@pytest.fixture
def x(rng):
    return rng.normal(size=(30, 4)) * 1.5 + 20


def log_likelihood(x, priors, means, deviations):
    """Mean log density of the descriptors."""
    z = (x[:, None, :] - means) / deviations
    logs = np.log(priors) - np.log(deviations * math.sqrt(2 * math.pi)).sum(axis=1)
    return np.mean(np.log(np.exp(logs - 0.5 * (z**2).sum(axis=2)).sum(axis=1)))


def literal_fisher(x, mixture):
    """The two formulas, one loop per sum sign; no normalisation."""
    n_components, n_dims = mixture.means.shape
    u, v = np.zeros((n_components, n_dims)), np.zeros((n_components, n_dims))
    for row in x:
        density = np.empty(n_components)
        for k in range(n_components):
            density[k] = mixture.priors[k]
            for d in range(n_dims):
                variance = mixture.variances[k, d]
                density[k] *= math.exp(-0.5 * (row[d] - mixture.means[k, d]) ** 2 / variance)
                density[k] /= math.sqrt(2 * math.pi * variance)
        q = density / density.sum()
        for k in range(n_components):
            for d in range(n_dims):
                z = (row[d] - mixture.means[k, d]) / math.sqrt(mixture.variances[k, d])
                u[k, d] += q[k] * z / (len(x) * math.sqrt(mixture.priors[k]))
                v[k, d] += q[k] * (z * z - 1) / (len(x) * math.sqrt(2 * mixture.priors[k]))
    return np.concatenate([u.ravel(), v.ravel()])


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # numpy and numba, torch
@pytest.mark.parametrize("n_rows", [1, 30])
def test_the_gradient_equals_the_literal_definition(device, n_rows, x, mixture):
    actual = encode_fisher(x[:n_rows], mixture, power=1, normalize=False, device=device)
    np.testing.assert_allclose(actual, literal_fisher(x[:n_rows], mixture), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("power", [1.0, 0.5, 0.3])
def test_power_and_length_are_applied_in_this_order(power, x, mixture):
    raw = literal_fisher(x, mixture)
    expected = np.sign(raw) * np.abs(raw) ** power
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(encode_fisher(x, mixture, power=power), expected, atol=1e-5)


def numerical_gradient(function, at):
    step, gradient = 1e-5, np.empty(at.size)
    for i in range(at.size):
        up, down = at.copy(), at.copy()
        up.flat[i] += step
        down.flat[i] -= step
        gradient[i] = (function(up) - function(down)) / (2 * step)
    return gradient.reshape(at.shape)


def test_the_vector_is_the_scaled_numerical_gradient_of_the_log_likelihood(x, mixture):
    w, mu, sigma = mixture.priors, mixture.means, np.sqrt(mixture.variances)
    by_mean = numerical_gradient(lambda m: log_likelihood(x, w, m, sigma), mu)
    by_deviation = numerical_gradient(lambda s: log_likelihood(x, w, mu, s), sigma)
    expected = [
        by_mean * sigma / np.sqrt(w)[:, None],
        by_deviation * sigma / np.sqrt(2 * w)[:, None],
    ]
    actual = encode_fisher(x, mixture, power=1, normalize=False)
    np.testing.assert_allclose(actual, np.ravel(expected), atol=1e-5)


def test_the_vector_is_scikit_images_after_its_sign_is_mended(x, mixture):
    fisher_vector = pytest.importorskip("skimage.feature").fisher_vector
    from sklearn.mixture import GaussianMixture

    theirs = GaussianMixture(5, covariance_type="diag")
    theirs.weights_, theirs.means_, theirs.covariances_ = (
        mixture.priors, mixture.means, mixture.variances,
    )  # fmt: skip
    theirs.precisions_cholesky_ = 1 / np.sqrt(mixture.variances)
    parts = np.split(fisher_vector(x, theirs), [5, 25])  # by priors, means, and minus deviations
    actual = encode_fisher(x, mixture, power=1, normalize=False)
    np.testing.assert_allclose(actual, np.concatenate([parts[1], -parts[2]]), atol=1e-5)


def test_the_expected_vector_of_the_mixture_itself_is_zero(mixture, rng):
    k = rng.choice(5, size=200_000, p=mixture.priors)
    own = mixture.means[k] + np.sqrt(mixture.variances[k]) * rng.normal(size=(200_000, 4))
    vector = encode_fisher(own, mixture, power=1, normalize=False)
    assert np.abs(vector).max() < 5 / math.sqrt(200_000)


def test_a_component_of_prior_zero_contributes_zeros(x, mixture):
    priors = np.array([0.0, 0.4, 0.3, 0.2, 0.1])
    vector = encode_fisher(x, Mixture(priors, mixture.means, mixture.variances))
    assert not vector.reshape(2, 5, 4)[:, 0].any()
    assert np.isfinite(vector).all()


def test_the_estimator_encodes_projected_descriptors(rng):
    bags = [rng.normal(size=(30, 6)) for _ in range(5)]
    fisher = FisherVector(3, n_dims=0.5, random_state=0).fit(bags)
    assert fisher.transform(bags).shape == (5, 2 * 3 * 3)
    expected = encode_fisher(fisher.pca_.transform(bags[0]), fisher.gmm_.mixture)
    np.testing.assert_array_equal(fisher.transform(bags[:1])[0], expected)
