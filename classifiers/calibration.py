"""Probabilities from margins: one sigmoid for each class."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import BaseEstimator

from cinefeat.classifiers.normalize import l1_norm
from cinefeat.classifiers.types import Array


class SigmoidCalibration(BaseEstimator):
    """Turn the scores of a classifier into probabilities: Platt scaling, class by class.

    The probability of class c is ``1 / (1 + exp(-(slope_c s_c + offset_c)))``, then rows are
    divided by their sum. Slopes and offsets minimise the cross-entropy to Platt's targets,
    ``(n_c + 1) / (n_c + 2)`` for the n_c clips of the class and ``1 / (n - n_c + 2)`` for the
    others.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels: the columns of the scores.
    slope_, offset_ : ndarray of shape (n_classes,), float64

    Notes
    -----
    Fit on scores of clips that the classifier was not trained on: `out_of_fold_scores`.

    References
    ----------
    .. [1] Platt. Probabilistic outputs for support vector machines. 1999.

    Examples
    --------
    >>> scores = np.array([[2.0, -2.0], [1.0, -1.0], [-1.0, 1.0], [-2.0, 2.0]])
    >>> calibration = SigmoidCalibration().fit(scores, ["run", "run", "walk", "walk"])
    >>> calibration.predict_proba([[0.0, 0.0]]).round(3)
    array([[0.5, 0.5]])
    """

    def fit(self, scores: ArrayLike, y: ArrayLike) -> Self:
        """Learn from scores (n, n_classes), columns as the sorted labels, and labels (n,)."""
        table = np.asarray(scores, np.float64)
        labels = np.asarray(y)
        self.classes_ = np.unique(labels)
        if table.shape != (len(labels), len(self.classes_)):
            raise ValueError(
                f"scores of shape {table.shape} for {len(labels)} labels of {len(self.classes_)} "
                "classes: give one column a class"
            )
        pairs = [_fit_sigmoid(s, labels == c) for s, c in zip(table.T, self.classes_, strict=True)]
        self.slope_, self.offset_ = np.array(pairs).T.copy()
        return self

    def predict_proba(self, scores: ArrayLike) -> Array:
        """Return the probability of each class: (n, n_classes), rows sum to 1."""
        table = np.asarray(scores, np.float64)
        return l1_norm(expit(table * self.slope_ + self.offset_))


def _fit_sigmoid(scores: Array, positive: Array) -> tuple[float, float]:
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    target = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    scale = float(np.abs(scores).max()) or 1.0  # a common scale for the optimiser's steps

    def loss(parameters: Array) -> tuple[float, Array]:
        z = parameters[0] * scores / scale + parameters[1]
        value = np.sum(np.logaddexp(0, z) - target * z)
        slack = expit(z) - target
        return float(value), np.array([slack @ scores / scale, slack.sum()])

    prior = np.log((n_positive + 1) / (n_negative + 1))
    found = minimize(loss, np.array([0.0, prior]), jac=True, method="BFGS").x
    return float(found[0] / scale), float(found[1])
