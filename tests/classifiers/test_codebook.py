import numpy as np
import pytest

from cinefeat.classifiers import KMeansCodebook
from cinefeat.classifiers.codebook import share


@pytest.fixture
def sample(rng):
    return (rng.normal(size=(3000, 4)) + 4 * rng.integers(0, 3, size=(3000, 4))).astype(np.float32)


def test_the_inertia_is_that_of_the_codewords(sample):
    codebook = KMeansCodebook(20, n_init=1, random_state=0).fit(sample)
    nearest = codebook.transform(sample).min(axis=1)
    assert codebook.inertia_ == pytest.approx(np.square(nearest).sum(), rel=1e-4)


def test_predictions_follow_the_bags(sample):
    codebook = KMeansCodebook(20, n_init=1, random_state=0).fit([sample])
    parts = codebook.predict([sample[:5], sample[:0], sample[5:9]])
    np.testing.assert_array_equal(np.concatenate(parts), codebook.predict(sample[:9]))


def test_a_tree_has_all_its_leaves_and_costs_little_inertia(sample):
    flat = KMeansCodebook(60, n_init=1, random_state=0).fit(sample)
    tree = KMeansCodebook(60, n_init=1, branching=5, random_state=0).fit(sample)
    assert tree.codewords_.shape == flat.codewords_.shape
    assert flat.inertia_ * 0.99 < tree.inertia_ < flat.inertia_ * 1.15


def test_codewords_do_not_depend_on_the_cut_into_bags(sample):
    whole = KMeansCodebook(10, n_init=1, random_state=0).fit(sample)
    cut = KMeansCodebook(10, n_init=1, random_state=0).fit(np.split(sample, 7 * [0] + [900]))
    np.testing.assert_array_equal(whole.codewords_, cut.codewords_)


@pytest.mark.parametrize("counts, n_words", [([5, 0, 3], 8), ([1, 1, 98], 10), ([40, 30, 30], 7)])
def test_words_are_shared_without_exceeding_the_descriptors(counts, n_words):
    parts = np.array(share(np.array(counts), n_words))
    assert parts.sum() == n_words
    assert (parts <= counts).all()
    assert ((parts > 0) == (np.array(counts) > 0)).all()


@pytest.mark.parametrize("parameters", [{"n_words": 0}, {"n_init": 0}, {"branching": 1}])
def test_parameters_below_their_least_are_refused(parameters, sample):
    with pytest.raises(ValueError, match="the least are 1, 1 and 2"):
        KMeansCodebook(**{"n_words": 5, **parameters}).fit(sample)
