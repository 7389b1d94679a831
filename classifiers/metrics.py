"""How good predictions are, and whether two systems differ on the same clips."""

import numpy as np
from numpy.typing import ArrayLike

from cinefeat.classifiers.types import Array


def confusion_matrix(y_true: ArrayLike, y_pred: ArrayLike, classes: ArrayLike) -> Array:
    """Count how often each class was predicted as each.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
        Labels: strings or integers.
    classes : array-like of shape (C,)
        The order of rows and columns.

    Returns
    -------
    ndarray of shape (C, C), int64
        Entry [i, j] counts the clips of class i that were predicted as class j.

    Raises
    ------
    ValueError
        If lengths differ, nothing is given, or a label is not in `classes`.

    Examples
    --------
    >>> confusion_matrix(["run", "run", "walk"], ["run", "walk", "walk"], ["run", "walk"])
    array([[1, 1],
           [0, 1]])
    """
    true, pred = _pair(y_true, y_pred)
    names = np.asarray(classes)
    rows, columns = _positions(true, names), _positions(pred, names)
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (rows, columns), 1)
    return counts


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the fraction of clips whose label was predicted, in 0..1.

    Examples
    --------
    >>> accuracy(["run", "walk"], ["run", "run"])
    0.5
    """
    true, pred = _pair(y_true, y_pred)
    return float(np.mean(true == pred))


def mean_class_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean over the classes of `y_true` of the fraction of their clips found, in 0..1.

    Examples
    --------
    >>> mean_class_accuracy(["run", "run", "run", "walk"], ["run", "run", "run", "run"])
    0.5
    """
    true, pred = _pair(y_true, y_pred)
    hit = true == pred
    return float(np.mean([hit[true == c].mean() for c in np.unique(true)]))


def _pair(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    if true.shape != pred.shape or true.ndim != 1:
        raise ValueError(
            f"labels of shape {true.shape} and {pred.shape}: give one of each per clip"
        )
    if not len(true):
        raise ValueError("there is no clip to score")
    return true, pred


def _positions(labels: Array, classes: Array) -> Array:
    order = np.argsort(classes, kind="stable")
    at = np.searchsorted(classes, labels, sorter=order)
    found = order[np.minimum(at, len(classes) - 1)]
    unknown = np.unique(labels[classes[found] != labels])
    if len(unknown):
        raise ValueError(f"label {unknown[0]!s} is not among the classes: {list(classes)}")
    return found
