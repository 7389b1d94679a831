"""A linear SVM for training sets that exceed memory: stochastic gradient steps over a stream."""

from collections.abc import Callable, Iterable
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import SGDClassifier
from sklearn.utils.validation import check_X_y

from cinefeat.classifiers.linear import as_real, linear_scores
from cinefeat.classifiers.svm import checked_features, encode_labels, mirror_two_classes
from cinefeat.classifiers.types import Array, RandomState

Batches = Callable[[], Iterable[tuple[Array, Array]]]


class SGDSVM(ClassifierMixin, BaseEstimator):
    """Classify by one-vs-rest linear SVMs fitted by averaged stochastic gradient descent.

    Minimises ``|w|^2 / 2 + C sum_i max(0, 1 - s_i (w.x_i + b))``, the intercept unpenalised, with
    scikit-learn's step sizes; the weights are the mean over all steps.

    Parameters
    ----------
    C : float
        Weight of the losses.
    n_epochs : int
        Passes over the training rows.
    random_state : int, RandomState or None
        Order of the rows within a batch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_classes, D)
    intercept_ : ndarray of shape (n_classes,), float64
    n_features_in_ : int

    References
    ----------
    .. [1] Bottou. Large-scale machine learning with stochastic gradient descent. COMPSTAT 2010.

    Examples
    --------
    >>> X = np.array([[0.0, 1], [0.1, 1], [1, 0], [1, 0.1]])
    >>> SGDSVM(C=10.0, random_state=0).fit(X, ["walk", "walk", "run", "run"]).predict(X)
    array(['walk', 'walk', 'run', 'run'], dtype='<U4')
    """

    def __init__(
        self, C: float = 1.0, *, n_epochs: int = 20, random_state: RandomState = None
    ) -> None:
        self.C = C
        self.n_epochs = n_epochs
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from features (n, D) in memory and their labels (n,)."""
        features, labels = check_X_y(X, y, dtype=[np.float64, np.float32])
        return self.fit_batches(lambda: [(features, labels)], labels)

    def fit_batches(self, batches: Batches, y: ArrayLike) -> Self:
        """Learn from batches of rows that are read anew in every epoch.

        Parameters
        ----------
        batches : callable returning an iterable of (X, y) pairs
            Called once an epoch; batches should mix the classes. Only one is held at a time.
        y : array-like of shape (n,)
            The labels of all rows, in any order: they fix `classes_` and n.
        """
        labels = np.asarray(y)
        self.classes_, _ = encode_labels(labels)
        model = SGDClassifier(
            loss="hinge",
            alpha=1.0 / (self.C * len(labels)),
            average=True,
            random_state=self.random_state,
        )
        for _ in range(self.n_epochs):
            for features, part in batches():
                model.partial_fit(as_real(features), part, classes=self.classes_)
        self.coef_, self.intercept_ = mirror_two_classes(model.coef_, model.intercept_)
        self.n_features_in_ = self.coef_.shape[1]
        return self

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the margin of each row for each class: (n, n_classes), as `classes_`."""
        return linear_scores(checked_features(self, X), self.coef_, self.intercept_)

    def predict(self, X: ArrayLike) -> Array:
        """Return the class of greatest margin of each row: (n,) labels, ties to the first class."""
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(axis=1)]
