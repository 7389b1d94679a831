import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from cinefeat.classifiers import RandomForest


@pytest.fixture
def problem(rng):
    x = rng.normal(size=(90, 6)).astype(np.float32)
    return x, np.array(["a", "b", "c"])[(x[:, 0] > 0) + (x[:, 1] > 0.5).astype(int)]


@pytest.mark.parametrize("parameters", [{}, {"max_features": 2, "min_samples_leaf": 3}])
def test_probabilities_equal_scikit_learns(parameters, problem, rng):
    x, y = problem
    theirs = RandomForestClassifier(20, random_state=3, **parameters).fit(x, y)
    ours = RandomForest(20, random_state=3, **parameters).fit(x, y)
    new = rng.normal(size=(50, 6)).astype(np.float32)
    np.testing.assert_allclose(ours.predict_proba(new), theirs.predict_proba(new), atol=1e-12)


def test_frequencies_of_every_node_sum_to_one(problem):
    forest = RandomForest(5, random_state=0).fit(*problem)
    np.testing.assert_allclose(forest.frequencies_.sum(axis=1), 1)
    assert forest.predict_proba(problem[0]).sum(axis=1) == pytest.approx(1)


def test_the_number_of_jobs_does_not_matter(problem):
    one, two = (RandomForest(8, n_jobs=n, random_state=0).fit(*problem) for n in (1, 2))
    np.testing.assert_array_equal(one.threshold_, two.threshold_)


def test_values_on_a_threshold_go_to_the_left():
    forest = RandomForest(1, random_state=0).fit(
        np.repeat([[0.0], [1.0]], 50, axis=0), [0] * 50 + [1] * 50
    )
    assert forest.threshold_[forest.feature_ >= 0].tolist() == [0.5]
    assert forest.predict([[0.5], [0.5000001]]).tolist() == [0, 1]
