import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from cinefeat.classifiers.dual import solve_one_vs_rest


def primal_and_dual(gram, sign, coef, C, squared):
    """Both objectives of one problem: equal at the optimum, the primal never below the dual."""
    augmented = gram + 1.0
    norm = coef @ augmented @ coef
    hinge = np.maximum(0, 1 - sign * (augmented @ coef))
    alpha = coef * sign
    if squared:
        return 0.5 * norm + C * np.sum(hinge**2), alpha.sum() - 0.5 * norm - alpha @ alpha / (4 * C)
    return 0.5 * norm + C * hinge.sum(), alpha.sum() - 0.5 * norm


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("C", [0.01, 1.0, 10.0])
def test_the_duality_gap_closes(squared, C, rng):
    x, y = rng.normal(size=(80, 20)), np.arange(80) % 3
    gram = x @ x.T
    coef, _ = solve_one_vs_rest(gram, y, 3, C, squared=squared, tol=1e-6)
    for c in range(3):
        primal, dual = primal_and_dual(gram, np.where(y == c, 1, -1), coef[c], C, squared)
        assert dual <= primal + 1e-9 * primal
        assert primal - dual < 1e-4 * primal


def test_coefficients_stay_between_their_bounds(rng):
    x, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    coef, _ = solve_one_vs_rest(x @ x.T, y, 2, 0.5)
    alpha = coef[1] * np.where(y == 1, 1, -1)
    assert alpha.min() == 0.0
    assert alpha.max() == 0.5


def test_two_rows_have_the_solution_by_hand():
    # rows at -1 and +1: w = 1 and b = 0 put both on the margin, with coefficients of 1/2
    coef, _ = solve_one_vs_rest(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([0, 1]), 2, 10.0)
    np.testing.assert_allclose(coef, [[0.5, -0.5], [-0.5, 0.5]])


def test_too_few_updates_are_told(rng):
    x, y = rng.normal(size=(50, 5)), np.arange(50) % 2
    with pytest.warns(ConvergenceWarning, match="stopped after 3 updates"):
        _, n_iter = solve_one_vs_rest(x @ x.T, y, 2, 100.0, max_iter=3)
    assert n_iter == 3
