import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.metrics import confusion_matrix as their_confusion

from cinefeat.classifiers import (
    accuracy,
    average_precision,
    confusion_matrix,
    mean_average_precision,
    mean_class_accuracy,
)


@pytest.fixture
def predictions(rng):
    names = np.array(["sit", "run", "walk", "jump"])
    return names[rng.integers(0, 3, 60)], names[rng.integers(0, 4, 60)], names


def test_confusion_counts_equal_scikit_learns_in_the_given_order(predictions):
    true, pred, names = predictions
    expected = their_confusion(true, pred, labels=names)
    np.testing.assert_array_equal(confusion_matrix(true, pred, names), expected)


def test_accuracies_follow_from_the_confusion(predictions):
    true, pred, names = predictions
    counts = confusion_matrix(true, pred, names)
    assert accuracy(true, pred) == pytest.approx(np.trace(counts) / 60)
    recall = np.diag(counts)[:3] / counts.sum(axis=1)[:3]
    assert mean_class_accuracy(true, pred) == pytest.approx(recall.mean())


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_mean_class_accuracy_is_the_balanced_one(predictions):
    true, pred, _ = predictions
    assert mean_class_accuracy(true, pred) == pytest.approx(balanced_accuracy_score(true, pred))


@pytest.mark.parametrize("n_levels", [3, 1000])  # many ties, few ties
def test_average_precision_equals_scikit_learns(n_levels, rng):
    truth, scores = rng.random(200) < 0.2, rng.integers(0, n_levels, 200)
    expected = average_precision_score(truth, scores)
    assert average_precision(truth, scores) == pytest.approx(expected, rel=1e-12)


def test_mean_average_precision_leaves_out_absent_classes():
    scores = [[0.9, 0.1, 5.0], [0.2, 0.8, 5.0], [0.5, 0.4, 5.0]]
    # the clips of "run" stand at ranks 1 and 3 by its scores, the one of "walk" at rank 2
    expected = ((1 / 1 + 2 / 3) / 2 + 1 / 2) / 2
    value = mean_average_precision(["run", "run", "walk"], scores, ["run", "walk", "sit"])
    assert value == pytest.approx(expected)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: accuracy([], []), "no clip"),
        (lambda: accuracy(["a"], ["a", "b"]), "one of each per clip"),
        (lambda: confusion_matrix(["a"], ["z"], ["a", "b"]), "label z is not among"),
        (lambda: average_precision([False], [1.0]), "undefined"),
        (lambda: average_precision([True], [np.nan]), "no NaN"),
        (lambda: mean_average_precision(["a"], [[1.0]], ["a", "b"]), "need"),
    ],
)
def test_unfit_labels_and_scores_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
