import numpy as np
import pytest

from cinefeat.classifiers import (
    KernelSVM,
    LinearSVM,
    choose_c,
    grouped_folds,
    out_of_fold_scores,
)


@pytest.fixture
def problem(rng):
    """Six groups of ten clips; every group has its own offset, which gives its clips away."""
    y, groups = np.tile(["run", "walk"], 30), np.repeat(np.arange(6), 10)
    x = rng.normal(size=(60, 8)) + np.where(y == "run", 0.8, -0.8)[:, None]
    return x, y, groups


def test_folds_cover_every_clip_once_and_split_no_group(problem):
    _, y, groups = problem
    folds = grouped_folds(y, groups, 3)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(60))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])


def test_a_class_of_one_group_cannot_be_learned_without_it(problem):
    _, _, groups = problem
    with pytest.raises(ValueError, match="class 0 is missing"):
        grouped_folds(np.minimum(groups, 1), groups, 3)


def test_scores_come_from_machines_that_did_not_see_the_clip(problem):
    x, y, groups = problem
    scores = out_of_fold_scores(LinearSVM(solver="gram"), x, y, groups, 3)
    train, test = grouped_folds(y, groups, 3)[0]
    expected = LinearSVM(solver="gram").fit(x[train], y[train]).decision_function(x[test])
    np.testing.assert_array_equal(scores[test], expected)


def test_random_labels_score_at_chance(rng):
    x, y = rng.normal(size=(400, 300)), rng.integers(0, 2, 400)
    scores = out_of_fold_scores(LinearSVM(), x, y)
    assert np.mean(scores.argmax(axis=1) == y) == pytest.approx(0.5, abs=0.1)


def test_a_gram_matrix_gives_the_scores_of_its_features(problem):
    x, y, groups = problem
    kernel = KernelSVM(1.0, kernel="precomputed")
    np.testing.assert_allclose(
        out_of_fold_scores(kernel, x @ x.T, y, groups, 3),
        out_of_fold_scores(LinearSVM(1.0, solver="gram"), x, y, groups, 3),
        atol=1e-8,
    )


def test_the_smallest_of_equally_accurate_values_is_chosen(problem):
    x, y, groups = problem
    best, accuracies = choose_c(LinearSVM(), x + 5 * (x > 0), y, groups, (10.0, 0.1, 1.0))
    assert set(accuracies) == {0.1, 1.0, 10.0}
    assert best == min(c for c in accuracies if accuracies[c] == max(accuracies.values()))
