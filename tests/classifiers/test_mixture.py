import numpy as np
import pytest

from cinefeat.classifiers import DiagonalGMM
from cinefeat.classifiers.em import Moments, moments
from cinefeat.classifiers.mixture import maximise


@pytest.fixture
def sample(rng):
    centres = rng.normal(size=(5, 6)) * 4
    deviations = rng.uniform(0.3, 1.5, size=(5, 6))
    k = rng.integers(5, size=4000)
    return (centres[k] + deviations[k] * rng.normal(size=(4000, 6))).astype(np.float32)


def test_iterations_never_lower_the_likelihood(sample):
    values = [
        DiagonalGMM(8, max_iter=n, tol=0.0, random_state=0).fit(sample).log_likelihood_
        for n in range(6)
    ]
    assert np.diff(values).min() > 0


def test_the_fit_is_no_worse_than_scikit_learns(sample):
    from sklearn.mixture import GaussianMixture

    theirs = GaussianMixture(5, covariance_type="diag", n_init=3, random_state=0).fit(sample)
    ours = DiagonalGMM(5, n_init=3, random_state=0).fit(sample)
    assert ours.score(sample) > theirs.score(sample) - 2e-3


def test_one_step_equals_scikit_learns(sample):
    from sklearn.mixture import GaussianMixture

    start = DiagonalGMM(5, max_iter=0, random_state=0).fit(sample)
    theirs = GaussianMixture(
        5, covariance_type="diag", reg_covar=0, max_iter=1, means_init=start.means_,
        weights_init=start.priors_, precisions_init=1 / start.variances_,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="did not converge"):
        theirs.fit(sample.astype(float))
    ours = DiagonalGMM(5, max_iter=1, random_state=0).fit(sample)
    np.testing.assert_allclose(ours.means_, theirs.means_, atol=1e-5)
    np.testing.assert_allclose(ours.variances_, theirs.covariances_, rtol=1e-4)
    np.testing.assert_allclose(ours.priors_, theirs.weights_, rtol=1e-5)


def test_the_score_is_the_likelihood_of_the_fit(sample):
    gmm = DiagonalGMM(5, random_state=0).fit(sample)
    assert gmm.score(np.split(sample, [100, 100, 2000])) == pytest.approx(gmm.log_likelihood_)


def test_torch_fits_the_same_mixture(sample):
    ours = DiagonalGMM(5, random_state=0).fit(sample)
    torch = DiagonalGMM(5, device="cpu:0", random_state=0).fit(sample)
    assert torch.log_likelihood_ == pytest.approx(ours.log_likelihood_, abs=1e-4)


def test_no_variance_falls_below_the_floor(sample):
    sample[:, 0] = np.round(sample[:, 0])
    gmm = DiagonalGMM(60, variance_floor=0.01, random_state=0).fit(sample)
    floor = 0.01 * sample.var(axis=0, dtype=float)
    assert (gmm.variances_ >= floor * (1 - 1e-6)).all()
    assert gmm.variances_[:, 0].min() == pytest.approx(floor[0])


def test_identical_descriptors_make_a_finite_mixture():
    gmm = DiagonalGMM(3, random_state=0).fit(np.full((10, 2), 5.0))
    assert np.isfinite(gmm.log_likelihood_)
    assert np.isfinite(gmm.means_).all()


def test_a_component_without_data_starts_at_the_least_likely_descriptor():
    x = np.float32([[0.0], [2.0], [9.0]])
    sums = Moments(
        np.array([3.0, 0.0]), np.array([[11.0], [0.0]]), np.array([[85.0], [0.0]]),
        np.array([-1.0, -1.5, -7.0]),
    )  # fmt: skip
    spread = np.array([4.0])
    mixture = maximise(x, sums, np.zeros(1), spread, 0.01 * spread)
    assert mixture.means[1, 0] == 9.0
    assert mixture.variances[1, 0] == 4.0
    assert mixture.priors.tolist() == [0.75, 0.25]


def test_posteriors_of_bags_are_those_of_their_rows(sample):
    gmm = DiagonalGMM(5, random_state=0).fit(sample)
    parts = gmm.posteriors([sample[:3], sample[:0], sample[3:9]])
    np.testing.assert_allclose(np.concatenate(parts), gmm.posteriors(sample[:9]), atol=1e-12)
    np.testing.assert_allclose(parts[2].sum(axis=0), moments(sample[3:9], gmm.mixture).mass)
