import numpy as np
import pytest

from cinefeat.classifiers import PCA


@pytest.fixture
def sample(rng):
    return (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 40).astype(np.float32)


@pytest.mark.parametrize("whiten", [False, True])
def test_projections_equal_scikit_learns_up_to_sign(whiten, sample):
    from sklearn.decomposition import PCA as TheirPCA

    theirs = TheirPCA(3, whiten=whiten, svd_solver="full").fit_transform(sample.astype(float))
    ours = PCA(3, whiten=whiten).fit(sample).transform(sample)
    scale = np.sqrt(500 / 499) if whiten else 1.0  # theirs divides by N - 1
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs) * scale, atol=2e-4)


def test_components_are_orthonormal_with_a_fixed_sign(sample):
    components = PCA(6).fit(sample).components_
    np.testing.assert_allclose(components @ components.T, np.eye(6), atol=1e-5)
    assert (components.max(axis=1) > -components.min(axis=1)).all()


def test_bags_are_read_once_and_their_cut_does_not_matter(sample):
    whole = PCA(2).fit(sample)
    cut = PCA(2).fit(part for part in np.split(sample, [0, 10, 11]))
    np.testing.assert_allclose(cut.components_, whole.components_, atol=1e-6)


def test_whitened_constant_columns_stay_small(sample):
    sample[:, 2] = 5.0
    projected = PCA(6, whiten=True).fit(sample).transform(sample)
    np.testing.assert_allclose(projected[:, :5].std(axis=0), 1, rtol=1e-3)
    assert np.abs(projected[:, 5]).max() < 0.1


def test_identical_descriptors_project_to_zero():
    same = np.full((4, 3), 2.0)
    assert not PCA(2, whiten=True).fit(same).transform(same).any()


@pytest.mark.parametrize("n_dims, kept", [(0.5, 3), (0.9, 5), (0.01, 1), (6, 6)])
def test_dimensions_are_a_number_or_a_part(n_dims, kept, sample):
    assert PCA(n_dims).fit([sample]).transform([sample])[0].shape == (500, kept)


@pytest.mark.parametrize("n_dims", [0, 7, -0.5])
def test_other_dimensions_are_refused(n_dims, sample):
    with pytest.raises(ValueError, match=r"give 1\.\.6"):
        PCA(n_dims).fit(sample)
