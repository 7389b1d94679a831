"""The dual of a two-class SVM on a Gram matrix, solved by greedy coordinate descent.

The intercept is penalised like a weight of a constant feature, as in liblinear, so the dual has
bounds but no equality constraint: one coordinate is optimised at a time. All one-vs-rest problems
of a classifier share the Gram matrix.
"""

import warnings

import numpy as np
from numba import njit
from sklearn.exceptions import ConvergenceWarning

from cinefeat.classifiers.spreading import hold, spread
from cinefeat.classifiers.types import Array


def solve_one_vs_rest(
    gram: Array,
    y: Array,
    n_classes: int,
    C: float,
    *,
    squared: bool = False,
    tol: float = 1e-4,
    max_iter: int = 1_000_000,
) -> tuple[Array, int]:
    """Solve the n_classes problems "class c against the rest" on one Gram matrix.

    Each minimises ``|w|^2 / 2 + b^2 / 2 + C sum_i loss(1 - s_i (w.x_i + b))`` with s_i = +1 for the
    class and -1 for the rest, and loss(u) = max(0, u) or its square.

    Parameters
    ----------
    gram : ndarray of shape (n, n), float64
        Inner products of the training rows, without the constant feature. Not modified.
    y : ndarray of shape (n,), int64
        Class index of each row, 0..n_classes-1.
    n_classes : int
    C : float
        Weight of the losses, > 0.
    squared : bool
        Whether losses are squared.
    tol : float
        A problem is solved when the projected gradients of its dual span at most `tol`.
    max_iter : int
        The most coordinate updates of one problem; a `ConvergenceWarning` names the problems
        that reach it.

    Returns
    -------
    coef : ndarray of shape (n_classes, n), float64
        Signed dual coefficients: ``w_c = sum_i coef[c, i] x_i`` and ``b_c = sum_i coef[c, i]``.
    n_iter : int
        Updates of the problem that took most.

    Notes
    -----
    The coordinate of greatest gain (projected gradient squared over curvature) is updated, ties to
    the lower index; the gradient is kept up to date, so that an update costs O(n). Nothing is
    random.

    Raises
    ------
    ValueError
        If C is not positive, or `gram` and `y` differ in n.

    References
    ----------
    .. [1] Hsieh, Chang, Lin, Keerthi, Sundararajan. A dual coordinate descent method for
       large-scale linear SVM. ICML 2008.
    .. [2] Steinwart, Hush, Scovel. Training SVMs without offset. JMLR 2011.
    """
    if gram.shape != (len(y), len(y)):
        raise ValueError(f"a Gram matrix of shape {gram.shape} for {len(y)} labels")
    if C <= 0:
        raise ValueError(f"C={C}: the weight of the losses is positive")
    coef = np.empty((n_classes, len(gram)))
    upper, shift = (np.inf, 0.5 / C) if squared else (C, 0.0)
    unsolved, n_iter = [], 1
    signs = [np.where(y == c, 1.0, -1.0) for c in range(n_classes)]
    with hold(gram):
        calls = [(gram, sign, upper, shift, tol, max_iter) for sign in signs]
        solved = list(spread(_solve_one, calls))
    for c, (alpha, n_updates) in enumerate(solved):
        coef[c] = alpha * signs[c]
        n_iter = max(n_iter, n_updates)
        if n_updates == max_iter:
            unsolved.append(c)
    if unsolved:
        warnings.warn(
            f"classes {unsolved} stopped after {max_iter} updates short of tol={tol}: "
            "raise max_iter, or lower C or scale the features",
            ConvergenceWarning,
            stacklevel=3,
        )
    return coef, n_iter


def _solve_one(
    gram: Array, sign: Array, upper: float, shift: float, tol: float, max_iter: int
) -> tuple[Array, int]:
    alpha, n_updates = _solve(gram, sign, upper, shift, tol, max_iter)
    return alpha, n_updates


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(gram, sign, upper, shift, tol, max_iter):  # type: ignore[no-untyped-def]
    """Return the dual variables of one problem and the updates made, `max_iter` if unsolved."""
    n = len(sign)
    alpha = np.zeros(n)
    gradient = -np.ones(n)  # of alpha' Q alpha / 2 - sum alpha, Q_ij = s_i s_j (K_ij + 1) + shift
    curvature = np.diag(gram) + 1.0 + shift
    for n_updates in range(max_iter):
        i, span = _steepest(alpha, gradient, curvature, upper)
        if span <= tol:
            return alpha, n_updates
        updated = min(max(alpha[i] - gradient[i] / curvature[i], 0.0), upper)
        step = updated - alpha[i]
        alpha[i] = updated
        _descend(gradient, gram[i], sign, step * sign[i])
        gradient[i] += step * shift
    return alpha, max_iter


@njit(cache=True, nogil=True, error_model="numpy")
def _steepest(alpha, gradient, curvature, upper):  # type: ignore[no-untyped-def]
    """Return the coordinate of greatest gain, and the span of the projected gradients."""
    best, best_gain, high, low = 0, -1.0, 0.0, 0.0
    for j in range(len(alpha)):
        g = gradient[j]
        if (alpha[j] <= 0.0 and g > 0.0) or (alpha[j] >= upper and g < 0.0):
            g = 0.0
        high, low = max(high, g), min(low, g)
        gain = g * g / curvature[j]
        if gain > best_gain:
            best, best_gain = j, gain
    return best, high - low


@njit(cache=True, nogil=True, error_model="numpy")
def _descend(gradient, row, sign, step):  # type: ignore[no-untyped-def]
    for j in range(len(gradient)):
        gradient[j] += step * sign[j] * (row[j] + 1.0)
