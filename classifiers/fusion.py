"""Fusion of systems: early on features, late on scores. (`kernels.sum_kernels` adds kernels.)"""

from collections.abc import Iterator, Sequence
from typing import Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin

from cinefeat.classifiers.metrics import accuracy
from cinefeat.classifiers.normalize import l1_norm, l2_norm
from cinefeat.classifiers.svm import LinearSVM
from cinefeat.classifiers.types import Array

Rule: TypeAlias = Literal["raw", "l2", "softmax", "relu_l1"]


def concatenate_channels(blocks: Sequence[Array], weights: Sequence[float] | None = None) -> Array:
    """Fuse early: scale every row of each block to unit L2 norm and set the blocks side by side.

    Parameters
    ----------
    blocks : sequence of (n, D_c) arrays
        Encodings of the same clips, one array a channel. Not modified.
    weights : sequence of float, optional
        Length that the rows of each block get instead of 1.

    Returns
    -------
    ndarray of shape (n, sum of D_c), float32

    Examples
    --------
    >>> concatenate_channels([np.array([[3.0, 4.0]]), np.array([[0.2]])])
    array([[0.6, 0.8, 1. ]], dtype=float32)
    """
    _check_rows(blocks)
    lengths = _weights(len(blocks), weights)
    scaled = [w * l2_norm(block) for w, block in zip(lengths, blocks, strict=True)]
    return np.concatenate(scaled, axis=1).astype(np.float32)


def normalise_scores(scores: ArrayLike, rule: Rule) -> Array:
    """Bring the scores of one system to a common scale, row by row.

    Parameters
    ----------
    scores : array-like of shape (n, n_classes)
        Margins, logits or probabilities. Not modified.
    rule : {"raw", "l2", "softmax", "relu_l1"}
        As they are; unit L2 norm; softmax; or negatives to 0 and then unit sum (rows without a
        positive score become zeros).

    Returns
    -------
    ndarray of shape (n, n_classes), float64

    Examples
    --------
    >>> normalise_scores([[3.0, -1.0, 1.0]], "relu_l1")
    array([[0.75, 0.  , 0.25]])
    """
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError(f"scores are finite and of shape (n, n_classes), not {table.shape}")
    if rule == "raw":
        return table.copy()
    if rule == "l2":
        return l2_norm(table)
    if rule == "softmax":
        return l1_norm(np.exp(table - table.max(axis=1, keepdims=True)))
    if rule == "relu_l1":
        return l1_norm(np.maximum(table, 0))
    raise ValueError(f"rule={rule!r}: choose 'raw', 'l2', 'softmax' or 'relu_l1'")


def fuse_scores(
    systems: Sequence[ArrayLike], weights: Sequence[float] | None = None, rule: Rule = "raw"
) -> Array:
    """Fuse late: the weighted sum of the systems' normalised scores.

    Parameters
    ----------
    systems : sequence of (n, n_classes) arrays
        Scores of the same clips (rows) and classes (columns); aligning them is the caller's part.
    weights : sequence of float, optional
        One a system; equal when None.
    rule : str
        As in `normalise_scores`.

    Returns
    -------
    ndarray of shape (n, n_classes), float64

    Examples
    --------
    >>> fuse_scores([[[1.0, 0.0]], [[0.0, 1.0]]], weights=[1.0, 1.5])
    array([[1. , 1.5]])
    """
    tables = [normalise_scores(s, rule) for s in systems]
    if len({t.shape for t in tables}) != 1:
        raise ValueError(f"systems of shapes {[t.shape for t in tables]}: score the same clips")
    factors = _weights(len(tables), weights)
    return np.einsum("s,snc->nc", factors, np.stack(tables))


def learn_weights(
    systems: Sequence[ArrayLike],
    y: ArrayLike,
    classes: ArrayLike,
    rule: Rule = "raw",
    n_steps: int = 20,
) -> Array:
    """Find the weights whose fused scores are most accurate, on clips no system was trained on.

    All weights that are multiples of ``1 / n_steps`` and sum to 1 are tried. Of equally accurate
    ones the nearest to equal weights is taken, then the first in lexical order.

    Parameters
    ----------
    systems : sequence of (n, n_classes) arrays
        Scores of training clips: `out_of_fold_scores`.
    y : array-like of shape (n,)
        Their labels.
    classes : array-like of shape (n_classes,)
        What the columns stand for.
    rule : str
        As in `normalise_scores`.
    n_steps : int
        Resolution; ``binomial(n_steps + S - 1, S - 1)`` fusions are tried for S systems.

    Returns
    -------
    ndarray of shape (S,), float64
        Sum to 1.

    Examples
    --------
    The second system is always wrong:

    >>> right, wrong = np.array([[1.0, 0], [0, 1]]), np.array([[0, 1.0], [1, 0]])
    >>> learn_weights([right, wrong], [0, 1], [0, 1], n_steps=4)
    array([0.75, 0.25])
    """
    labels, names = np.asarray(y), np.asarray(classes)
    tables = [normalise_scores(s, rule) for s in systems]
    best, best_key = np.empty(0), (-1.0, 0.0)
    for parts in _compositions(n_steps, len(tables)):
        weights = np.array(parts) / n_steps
        predicted = names[fuse_scores(tables, weights.tolist()).argmax(axis=1)]
        key = (accuracy(labels, predicted), -float(np.sum(np.square(parts))))
        if key > best_key:
            best, best_key = weights, key
    return best


def _compositions(total: int, n_parts: int) -> Iterator[tuple[int, ...]]:
    """Iterate over the tuples of `n_parts` counts that sum to `total`, in lexical order."""
    if n_parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _compositions(total - first, n_parts - 1):
            yield (first, *rest)


class StackedSVM(ClassifierMixin, BaseEstimator):
    """Classify by a linear SVM on the stacked, L2-normalised softmax scores of several systems.

    Parameters
    ----------
    C : float
        Of the SVM.

    Attributes
    ----------
    svm_ : LinearSVM
    classes_ : ndarray of shape (n_classes,)

    References
    ----------
    .. [1] Simonyan, Zisserman. Two-stream convolutional networks for action recognition in videos.
       NIPS 2014, section 5.

    Examples
    --------
    >>> rgb, flow = np.array([[4.0, 0.0], [0.0, 4.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> StackedSVM().fit([rgb, flow], ["run", "walk"]).predict([rgb, flow]).tolist()
    ['run', 'walk']
    """

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def fit(self, systems: Sequence[ArrayLike], y: ArrayLike) -> Self:
        """Learn from the systems' (n, n_classes) scores of training clips and the labels (n,)."""
        self.svm_ = LinearSVM(self.C, solver="gram").fit(self._stack(systems), y)
        self.classes_ = self.svm_.classes_
        return self

    def decision_function(self, systems: Sequence[ArrayLike]) -> Array:
        """Return the margin of each clip for each class: (n, n_classes), as `classes_`."""
        return self.svm_.decision_function(self._stack(systems))

    def predict(self, systems: Sequence[ArrayLike]) -> Array:
        """Return the class of greatest margin of each clip: (n,) labels."""
        return self.svm_.predict(self._stack(systems))

    def _stack(self, systems: Sequence[ArrayLike]) -> Array:
        blocks = [l2_norm(normalise_scores(s, "softmax")) for s in systems]
        _check_rows(blocks)
        return np.concatenate(blocks, axis=1)


def _weights(n: int, weights: Sequence[float] | None) -> Array:
    factors = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    if factors.shape != (n,):
        raise ValueError(f"{len(factors)} weights for {n} systems or channels: give one each")
    return factors


def _check_rows(blocks: Sequence[Array]) -> None:
    lengths = [len(block) for block in blocks]
    if len(set(lengths)) != 1:
        raise ValueError(f"blocks of {lengths} rows: all must be of the same clips")
