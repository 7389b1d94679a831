"""Cross-validation inside a training set, with the groups of its clips kept together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils import get_tags

from cinefeat.classifiers.metrics import accuracy
from cinefeat.classifiers.types import Array

C_VALUES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


def grouped_folds(
    y: ArrayLike, groups: ArrayLike | None = None, n_folds: int = 5
) -> list[tuple[Array, Array]]:
    """Cut clips into folds that share no group and hold the classes in like parts.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels.
    groups : array-like of shape (n,), optional
        What must not be split: actors, source videos. None makes every clip its own group.
    n_folds : int
        At least 2.

    Returns
    -------
    list of (train, test) index arrays
        In a fixed order; nothing is random.

    Raises
    ------
    ValueError
        If a class would be missing from the training part of a fold.

    Examples
    --------
    Two actors, each doing two actions:

    >>> folds = grouped_folds(["walk", "run"] * 2, ["ann", "ann", "bob", "bob"], n_folds=2)
    >>> [(train.tolist(), test.tolist()) for train, test in folds]
    [([2, 3], [0, 1]), ([0, 1], [2, 3])]
    """
    labels = np.asarray(y)
    splitter = StratifiedKFold(n_folds) if groups is None else StratifiedGroupKFold(n_folds)
    folds = list(splitter.split(np.empty(len(labels)), labels, groups))
    for train, _ in folds:
        missing = np.setdiff1d(labels, labels[train])
        if len(missing):
            raise ValueError(
                f"class {missing[0]!s} is missing from the training part of a fold: its clips lie "
                f"in too few groups for n_folds={n_folds}"
            )
    return folds


def out_of_fold_scores(
    estimator: Any, X: Array, y: ArrayLike, groups: ArrayLike | None = None, n_folds: int = 5
) -> Array:
    """Score every clip by a classifier that was fitted without its fold.

    Parameters
    ----------
    estimator : classifier
        Cloned for each fold; needs `decision_function` with one column a class.
    X : ndarray of shape (n, D), or (n, n) for a precomputed kernel
    y : array-like of shape (n,)
    groups : array-like of shape (n,), optional
    n_folds : int
        As in `grouped_folds`.

    Returns
    -------
    ndarray of shape (n, n_classes), float64
        Columns in the order of the sorted labels.

    Examples
    --------
    >>> from cinefeat.classifiers import LinearSVM
    >>> X = np.array([[0.0, 1], [1, 0], [0.1, 1], [1, 0.1]])
    >>> scores = out_of_fold_scores(LinearSVM(), X, [0, 1, 0, 1], n_folds=2)
    >>> scores.argmax(axis=1).tolist()
    [0, 1, 0, 1]
    """
    labels = np.asarray(y)
    scores = np.empty((len(labels), len(np.unique(labels))))
    pairwise = get_tags(estimator).input_tags.pairwise
    for train, test in grouped_folds(labels, groups, n_folds):
        fitted = X[np.ix_(train, train)] if pairwise else X[train]
        held_out = X[np.ix_(test, train)] if pairwise else X[test]
        scores[test] = clone(estimator).fit(fitted, labels[train]).decision_function(held_out)
    return scores


def choose_c(
    estimator: Any,
    X: Array,
    y: ArrayLike,
    groups: ArrayLike | None = None,
    values: Sequence[float] = C_VALUES,
    n_folds: int = 5,
) -> tuple[float, dict[float, float]]:
    """Choose the C of greatest accuracy in grouped cross-validation, the smallest of equals.

    Parameters
    ----------
    estimator : classifier with a parameter C
        For features that do not fit in memory, a ``KernelSVM(kernel="precomputed")`` on the Gram
        matrix of the training rows.
    X, y, groups, n_folds
        Of the training set, as in `out_of_fold_scores`.
    values : sequence of float
        What to try.

    Returns
    -------
    C : float
    accuracies : dict from C to accuracy in 0..1

    Examples
    --------
    >>> from cinefeat.classifiers import LinearSVM
    >>> X = np.array([[0.0, 1], [1, 0], [0.1, 1], [1, 0.1]])
    >>> choose_c(LinearSVM(), X, [0, 1, 0, 1], values=(0.1, 1.0), n_folds=2)
    (0.1, {0.1: 1.0, 1.0: 1.0})
    """
    labels = np.asarray(y)
    classes = np.unique(labels)
    accuracies = {}
    for value in sorted(values):
        tried = clone(estimator).set_params(C=value)
        scores = out_of_fold_scores(tried, X, labels, groups, n_folds)
        accuracies[value] = accuracy(labels, classes[scores.argmax(axis=1)])
    return max(accuracies, key=lambda value: accuracies[value]), accuracies
