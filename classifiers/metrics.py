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

    Labels are arrays of shape (n,), strings or integers.

    Examples
    --------
    >>> accuracy(["run", "walk"], ["run", "run"])
    0.5
    """
    true, pred = _pair(y_true, y_pred)
    return float(np.mean(true == pred))


def mean_class_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean over the classes of `y_true` of the fraction of their clips found, in 0..1.

    Labels are arrays of shape (n,), strings or integers.

    Examples
    --------
    >>> mean_class_accuracy(["run", "run", "run", "walk"], ["run", "run", "run", "run"])
    0.5
    """
    true, pred = _pair(y_true, y_pred)
    hit = true == pred
    return float(np.mean([hit[true == c].mean() for c in np.unique(true)]))


def average_precision(relevant: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the precision-recall steps of one class, in 0..1.

    ``sum_t (recall_t - recall_(t-1)) precision_t`` over the distinct scores t from the highest
    down: clips of equal score count together.

    Parameters
    ----------
    relevant : array-like of shape (n,), bool
        Whether each clip is of the class.
    scores : array-like of shape (n,)

    Raises
    ------
    ValueError
        If no clip is of the class, or a score is NaN.

    Examples
    --------
    >>> average_precision([True, False, True], [0.9, 0.8, 0.7])
    0.8333333333333333
    """
    truth, values = np.asarray(relevant, bool), np.asarray(scores, np.float64)
    if truth.shape != values.shape or np.isnan(values).any():
        raise ValueError(f"give one score a clip and no NaN (shapes {truth.shape}, {values.shape})")
    if not truth.any():
        raise ValueError("no clip is of the class: its average precision is undefined")
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    found = np.cumsum(truth[order])[ends]
    precision, recall = found / (ends + 1), found / truth.sum()
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def mean_average_precision(y_true: ArrayLike, scores: ArrayLike, classes: ArrayLike) -> float:
    """Return the mean of `average_precision` over the classes that occur in `y_true`, in 0..1.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels.
    scores : array-like of shape (n, C)
    classes : array-like of shape (C,)
        What the columns stand for.

    Examples
    --------
    >>> mean_average_precision(["run", "walk"], [[0.9, 0.1], [0.2, 0.8]], ["run", "walk"])
    1.0
    """
    true, table, names = np.asarray(y_true), np.asarray(scores), np.asarray(classes)
    if table.shape != (len(true), len(names)):
        raise ValueError(f"scores of shape {table.shape}: need ({len(true)}, {len(names)})")
    present = np.unique(_positions(true, names))
    return float(np.mean([average_precision(true == names[c], table[:, c]) for c in present]))


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
