import numpy as np
import pytest

from cinefeat.classifiers import SGDSVM, LinearSVM


@pytest.fixture
def problem(rng):
    x = rng.normal(size=(600, 20)) + np.repeat(np.eye(3, 20) * 3, 200, axis=0)
    order = rng.permutation(600)
    return x[order], np.repeat(["a", "b", "c"], 200)[order]


def test_predictions_come_near_those_of_the_exact_machine(problem):
    x, y = problem
    exact = LinearSVM(0.1).fit(x, y).predict(x)
    assert np.mean(SGDSVM(0.1, random_state=0).fit(x, y).predict(x) == exact) > 0.97


def test_batches_are_read_anew_in_every_epoch(problem):
    x, y = problem
    reads = []

    def batches():
        reads.append(len(reads))
        return zip(np.split(x, 4), np.split(y, 4), strict=True)

    machine = SGDSVM(0.1, n_epochs=7, random_state=0).fit_batches(batches, y)
    assert len(reads) == 7
    assert machine.score(x, y) > 0.9


def test_two_classes_have_opposite_margins(problem):
    x, y = problem
    two = y != "c"
    margins = SGDSVM(random_state=0).fit(x[two], y[two]).decision_function(x)
    np.testing.assert_array_equal(margins[:, 0], -margins[:, 1])
