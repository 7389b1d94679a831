"""Random forests, kept as the arrays of their trees."""

from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.utils.validation import check_array, check_is_fitted, check_X_y

from cinefeat.classifiers.types import Array, RandomState


class RandomForest(ClassifierMixin, BaseEstimator):
    """Classify by the mean of the leaf frequencies of randomised trees.

    Trees are grown by scikit-learn (bootstrap samples, Gini impurity); predictions walk the arrays
    below, so that a forest is stored and restored as named arrays.

    Parameters
    ----------
    n_estimators : int
        Trees.
    max_features : {"sqrt", "log2"}, int, float or None
        Features tried at a split, as in scikit-learn.
    min_samples_leaf : int
        The least training rows of a leaf.
    n_jobs : int
        Processes or threads that grow trees; the forest does not depend on it.
    random_state : int, RandomState or None
        The seed of samples and splits.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    roots_ : ndarray of shape (n_estimators,), int64
        Index of each tree's root among the nodes.
    feature_ : ndarray of shape (n_nodes,), int64
        Feature compared at the node; -1 at a leaf.
    threshold_ : ndarray of shape (n_nodes,), float64
        Rows whose float32 value is at most this go to the left.
    children_ : ndarray of shape (n_nodes, 2), int64
        Left and right node; -1 at a leaf.
    frequencies_ : ndarray of shape (n_nodes, n_classes), float64
        Parts of the training rows of the node; rows sum to 1.

    References
    ----------
    .. [1] Breiman. Random forests. Machine Learning 2001.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [4.0], [5.0]])
    >>> forest = RandomForest(10, random_state=0).fit(x, ["sit", "sit", "run", "run"])
    >>> forest.predict([[-1.0], [6.0]]).tolist()
    ['sit', 'run']
    """

    def __init__(
        self,
        n_estimators: int = 300,
        *,
        max_features: str | float | None = "sqrt",
        min_samples_leaf: int = 1,
        n_jobs: int = 1,
        random_state: RandomState = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_features = max_features
        self.min_samples_leaf = min_samples_leaf
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Grow the trees from features (n, D) and their labels (n,)."""
        x, labels = check_X_y(X, y, dtype=np.float32)
        forest = RandomForestClassifier(
            self.n_estimators,
            max_features=self.max_features,
            min_samples_leaf=self.min_samples_leaf,
            n_jobs=self.n_jobs,
            random_state=self.random_state,
        ).fit(x, labels)
        self.classes_ = forest.classes_
        self.n_features_in_ = x.shape[1]
        self._flatten([tree.tree_ for tree in forest.estimators_])
        return self

    def _flatten(self, trees: list[Any]) -> None:
        sizes = [tree.node_count for tree in trees]
        self.roots_ = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        leaf = np.concatenate([tree.children_left for tree in trees]) < 0
        self.feature_ = np.where(leaf, -1, np.concatenate([tree.feature for tree in trees]))
        self.threshold_ = np.concatenate([tree.threshold for tree in trees])
        pairs = [np.stack([t.children_left, t.children_right], axis=1) for t in trees]
        shift = np.repeat(self.roots_, sizes)[:, None]
        self.children_ = np.where(leaf[:, None], -1, np.concatenate(pairs) + shift)
        counts = np.concatenate([tree.value[:, 0, :] for tree in trees])
        self.frequencies_ = counts / counts.sum(axis=1, keepdims=True)

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the mean leaf frequency of each class: (n, n_classes), rows sum to 1."""
        check_is_fitted(self)
        x = check_array(X, dtype=np.float32, order="C")
        if x.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {x.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        total = np.zeros((len(x), len(self.classes_)))
        _walk(
            x,
            self.roots_,
            self.feature_,
            self.threshold_,
            self.children_,
            self.frequencies_,
            total,
        )
        return total / len(self.roots_)

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return what `decision_function` does: the frequencies are the forest's probabilities."""
        return self.decision_function(X)

    def predict(self, X: ArrayLike) -> Array:
        """Return the most frequent class of each row: (n,) labels, ties to the first class."""
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(axis=1)]


@njit(cache=True, nogil=True)
def _walk(x, roots, feature, threshold, children, frequencies, total):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        for root in roots:
            node = root
            while feature[node] >= 0:
                node = children[node, 0 if x[i, feature[node]] <= threshold[node] else 1]
            total[i] += frequencies[node]
