"""Support vector machines, one class against the rest: linear ones and ones on kernels."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import LinearSVC
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, check_X_y

from cinefeat.classifiers.dual import solve_one_vs_rest
from cinefeat.classifiers.kernels import chi2_exponent, hellinger_kernel
from cinefeat.classifiers.linear import accumulate_gram, as_real, column_blocks, linear_scores
from cinefeat.classifiers.types import Array, RandomState


class LinearSVM(ClassifierMixin, BaseEstimator):
    """Classify by one-vs-rest linear SVMs, the highest margin winning.

    Class c minimises ``|w|^2 / 2 + b^2 / 2 + C sum_i loss(1 - s_i (w.x_i + b))``: the intercept is
    penalised as liblinear does it (``LinearSVC`` with ``intercept_scaling=1`` has the same
    optimum).

    Parameters
    ----------
    C : float
        Weight of the losses; 100 in the papers of dense trajectories and Fisher vectors.
    loss : {"hinge", "squared_hinge"}
        max(0, u), or its square.
    solver : {"auto", "gram", "liblinear"}
        "gram" solves the dual of every class on one shared n x n Gram matrix, "liblinear" works on
        the rows; "auto" takes "gram" where there are more features than rows.
    tol : float
        Tolerance of the dual's gradient.
    max_iter : int
        The most coordinate updates of one class; a pass of "liblinear" makes n of them.
    random_state : int, RandomState or None
        Order of liblinear's updates; "gram" has no randomness.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    coef_ : ndarray of shape (n_classes, D), float32 or float64 as the features
    intercept_ : ndarray of shape (n_classes,), float64
    n_iter_ : int
        Updates of the class that took most ("gram"), or passes ("liblinear").
    n_features_in_ : int

    Notes
    -----
    For two classes the two columns of scores are negatives of each other: scikit-learn's own
    classifiers return one column there.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [4.0], [5.0]])
    >>> svm = LinearSVM(C=1000).fit(x, ["sit", "sit", "run", "run"])
    >>> svm.predict([[2.0], [3.0]]).tolist()
    ['sit', 'run']
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        loss: Literal["hinge", "squared_hinge"] = "hinge",
        solver: Literal["auto", "gram", "liblinear"] = "auto",
        tol: float = 1e-4,
        max_iter: int = 1_000_000,
        random_state: RandomState = None,
    ) -> None:
        self.C = C
        self.loss = loss
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from features (n, D) and their labels (n,): strings or integers."""
        features, labels = check_X_y(X, y, dtype=[np.float64, np.float32])
        self.classes_, _ = encode_labels(labels)
        check_choice("solver", self.solver, ("auto", "gram", "liblinear"))
        wide = features.shape[1] > len(features)
        if self.solver == "gram" or (self.solver == "auto" and wide):
            return self.fit_blocks(lambda: column_blocks(features), labels)
        return self._fit_liblinear(features, labels)

    def fit_blocks(self, blocks: Callable[[], Iterable[Array]], y: ArrayLike) -> Self:
        """Learn from features that do not fit in memory, read twice in blocks of columns.

        Parameters
        ----------
        blocks : callable returning an iterable of (n, d) arrays
            Called twice; yields the columns of one (n, D) matrix from left to right, every time the
            same. The first pass builds the Gram matrix, the second the weights.
        y : array-like of shape (n,)
            Labels: strings or integers.

        Notes
        -----
        Memory 12 n^2 + 8 n n_classes bytes beside a block and the weights; `solver` is not
        consulted.
        """
        self.classes_, index = encode_labels(y)
        check_choice("loss", self.loss, ("hinge", "squared_hinge"))
        dual, self.n_iter_ = solve_one_vs_rest(
            accumulate_gram(blocks()),
            index,
            len(self.classes_),
            self.C,
            squared=self.loss == "squared_hinge",
            tol=self.tol,
            max_iter=self.max_iter,
        )
        parts = (as_real(block) for block in blocks())
        self.coef_ = np.concatenate([dual.astype(part.dtype) @ part for part in parts], axis=1)
        self.intercept_ = dual.sum(axis=1)
        self.n_features_in_ = self.coef_.shape[1]
        return self

    def _fit_liblinear(self, x: Array, y: Array) -> Self:
        model = LinearSVC(
            C=self.C,
            loss=self.loss,
            dual="auto" if self.loss == "squared_hinge" else True,
            tol=self.tol,
            max_iter=-(-self.max_iter // len(x)),
            random_state=self.random_state,
        ).fit(x, y)
        self.n_iter_ = int(model.n_iter_)
        coef, self.intercept_ = mirror_two_classes(model.coef_, model.intercept_)
        self.coef_ = coef.astype(x.dtype)
        self.n_features_in_ = x.shape[1]
        return self

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the margin of each row for each class: (n, n_classes), as `classes_`."""
        return linear_scores(checked_features(self, X), self.coef_, self.intercept_)

    def predict(self, X: ArrayLike) -> Array:
        """Return the class of greatest margin of each row: (n,) labels, ties to the first class."""
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(axis=1)]


class KernelSVM(ClassifierMixin, BaseEstimator):
    """Classify by one-vs-rest SVMs on a kernel of histogram channels, the highest margin winning.

    Kernel "chi2" is ``exp(-sum_c D_c(a, b) / A_c)`` where D_c is the chi-square distance
    ``sum (a - b)^2 / (a + b) / 2`` of channel c and A_c its mean over the pairs of training rows.
    Kernel "hellinger" is ``sum sqrt(a b)``. The problems solved are those of `LinearSVM` in the
    kernel's feature space.

    Parameters
    ----------
    C : float
        Weight of the hinge losses.
    kernel : {"chi2", "hellinger", "precomputed"}
        With "precomputed", `fit` takes the (n, n) kernel of the training rows and the other methods
        the (m, n) kernel of new rows against them.
    channel_sizes : sequence of int, optional
        Of "chi2": columns of each channel, in order; None is one channel of all columns.
    tol, max_iter
        As in `LinearSVM`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    dual_coef_ : ndarray of shape (n_classes, n_support), float64
    intercept_ : ndarray of shape (n_classes,), float64
    support_ : ndarray of shape (n_support,), int64
        Training rows with a coefficient in some class.
    support_vectors_ : ndarray of shape (n_support, D), float32
        Empty for a precomputed kernel.
    channel_means_ : ndarray of shape (n_channels,), float64
        A_c; empty for the other kernels.
    n_iter_ : int
        Updates of the class that took most.

    Notes
    -----
    libsvm leaves the intercept unpenalised; here it is penalised as in liblinear, which adds the
    constant 1 to the kernel.

    References
    ----------
    .. [1] Zhang, Marszalek, Lazebnik, Schmid. Local features and kernels for classification of
       texture and object categories. IJCV 2007.

    Examples
    --------
    >>> histograms = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0, 0.2, 0.8], [0.1, 0, 0.9]])
    >>> svm = KernelSVM().fit(histograms, ["walk", "walk", "run", "run"])
    >>> svm.predict([[1.0, 0, 0], [0, 0, 1.0]])
    array(['walk', 'run'], dtype='<U4')
    """

    def __init__(
        self,
        C: float = 100.0,
        *,
        kernel: Literal["chi2", "hellinger", "precomputed"] = "chi2",
        channel_sizes: Sequence[int] | None = None,
        tol: float = 1e-4,
        max_iter: int = 1_000_000,
    ) -> None:
        self.C = C
        self.kernel = kernel
        self.channel_sizes = channel_sizes
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from channels (n, D), or the kernel (n, n), and the labels (n,)."""
        features, labels = check_X_y(X, y, dtype=[np.float64, np.float32])
        self.classes_, index = encode_labels(labels)
        self.n_features_in_ = features.shape[1]
        gram = self._training_kernel(features)
        dual, self.n_iter_ = solve_one_vs_rest(
            gram, index, len(self.classes_), self.C, tol=self.tol, max_iter=self.max_iter
        )
        self.support_ = np.flatnonzero(dual.any(axis=0))
        self.dual_coef_ = np.ascontiguousarray(dual[:, self.support_])
        self.intercept_ = dual.sum(axis=1)
        kept = features[:0] if self.kernel == "precomputed" else features[self.support_]
        self.support_vectors_ = kept.astype(np.float32)
        return self

    def _training_kernel(self, x: Array) -> Array:
        check_choice("kernel", self.kernel, ("chi2", "hellinger", "precomputed"))
        self.channel_means_ = np.empty(0)
        if self.kernel == "hellinger":
            return hellinger_kernel(x, x)
        if self.kernel == "chi2":
            exponent, self.channel_means_ = chi2_exponent(x, x, self.channel_sizes)
            return np.exp(-exponent)
        if x.shape[0] != x.shape[1]:
            raise ValueError(f"a precomputed kernel is square, not {x.shape}")
        return np.asarray(x, np.float64)

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the margin of each row for each class: (n, n_classes), as `classes_`."""
        kernel = self._kernel_to_support(checked_features(self, X))
        return linear_scores(kernel, self.dual_coef_, self.intercept_)

    def _kernel_to_support(self, x: Array) -> Array:
        if self.kernel == "precomputed":
            return x[:, self.support_]
        if self.kernel == "hellinger":
            return hellinger_kernel(x, self.support_vectors_, by_rows=True)
        sizes, means = self.channel_sizes, self.channel_means_
        return np.exp(-chi2_exponent(x, self.support_vectors_, sizes, means)[0])

    def predict(self, X: ArrayLike) -> Array:
        """Return the class of greatest margin of each row: (n,) labels, ties to the first class."""
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        tags.input_tags.positive_only = self.kernel != "precomputed"
        return tags


def encode_labels(y: ArrayLike) -> tuple[Array, Array]:
    """Return the sorted labels (n_classes,) and the place of each row's among them (n,)."""
    check_classification_targets(y)
    classes, index = np.unique(np.asarray(y), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"there is one class, {classes.tolist()}: a classifier needs two or more")
    return classes, index


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a parameter that is none of its choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}: choose one of {choices}")


def mirror_two_classes(coef: Array, intercept: Array) -> tuple[Array, Array]:
    """Give each class its own weights where scikit-learn keeps one row for the second of two."""
    if len(coef) > 1:
        return np.ascontiguousarray(coef), intercept
    return np.concatenate([-coef, coef]), np.concatenate([-intercept, intercept])


def checked_features(estimator: Any, X: ArrayLike) -> Array:
    """Return `X` as a finite (n, D) array of the D that a fitted estimator expects."""
    check_is_fitted(estimator)
    x = check_array(X, dtype=[np.float64, np.float32])
    if x.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {x.shape[1]} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input"
        )
    return x
