import numpy as np
import pytest

from cinefeat.classifiers import breathing
from cinefeat.classifiers.kmeans import KMeansResult, lloyd


@pytest.fixture
def clusters(rng):
    """Twelve tight clusters of fifty rows on a line, ten apart."""
    return (np.repeat(np.arange(12) * 10, 50)[:, None] + rng.normal(size=(600, 1))).astype(
        np.float32
    )


def test_codewords_leave_a_bad_optimum(clusters, rng):
    crowded = np.float32([[0.0], [0.1], [0.2], [0.3]] + [[10.0 * k] for k in range(4, 12)])
    stuck = lloyd(clusters, crowded, 50, 0.0)
    found = breathing.breathe(clusters, stuck, rng)
    assert stuck.inertia > 3000
    assert found.inertia < 700  # 600 rows of variance 1


def test_a_good_optimum_is_kept(clusters, rng):
    best = lloyd(clusters, clusters[::50], 50, 0.0)
    assert breathing.breathe(clusters, best, rng).inertia <= best.inertia


def test_two_nearest_codewords_are_those_of_the_definition(rng):
    x, codewords = rng.normal(size=(40, 3)), rng.normal(size=(7, 3))
    squares = np.sort(np.square(x[:, None] - codewords).sum(axis=2), axis=1)
    _, first, second = breathing._two_nearest(x.astype(np.float32), codewords.astype(np.float32))
    np.testing.assert_allclose(first, squares[:, 0], atol=1e-5)
    np.testing.assert_allclose(second, squares[:, 1], atol=1e-5)


def test_a_codeword_stays_when_its_neighbour_leaves():
    pairs = np.float32([[0.0], [1.0], [10.0], [11.0]])
    leaving = breathing._expendable(pairs, np.array([1.0, 2.0, 3.0, 4.0]), 3)
    assert leaving.tolist() == [0, 2]


@pytest.mark.parametrize("n_words", [1, 2])
def test_one_or_two_codewords_breathe_without_error(n_words, clusters, rng):
    start = KMeansResult(clusters[:n_words], np.inf, 0)
    assert np.isfinite(breathing.breathe(clusters, start, rng).inertia)
