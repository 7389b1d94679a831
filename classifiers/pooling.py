"""Pooling of network features: one vector per clip from the features of its frames or windows."""

from collections.abc import Iterable
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from cinefeat.classifiers.bags import as_bag, iter_bags
from cinefeat.classifiers.normalize import l2_norm
from cinefeat.classifiers.types import Array


def pool_mean(x: Array) -> Array:
    """Return the mean row of (T, D) features, (D,) float64; zeros for T = 0.

    Examples
    --------
    >>> pool_mean(np.array([[0.0, 2.0], [2.0, 4.0]]))
    array([1., 3.])
    """
    return x.mean(axis=0, dtype=np.float64) if len(x) else np.zeros(x.shape[1])


def pool_max(x: Array) -> Array:
    """Return the greatest value of each column of (T, D) features, (D,); zeros for T = 0.

    Examples
    --------
    >>> pool_max(np.array([[0.0, 5.0], [2.0, 4.0]]))
    array([2., 5.])
    """
    return x.max(axis=0) if len(x) else np.zeros(x.shape[1])


def pool_segments(x: Array, n_segments: int = 3) -> Array:
    """Return the mean of the means of `n_segments` equal stretches of time.

    Row i of (T, D) features, in order of time, belongs to segment ``floor(i n_segments / T)``;
    segments without a row (T < n_segments) do not count.

    References
    ----------
    .. [1] Wang et al. Temporal segment networks. ECCV 2016 (average consensus).

    Examples
    --------
    >>> pool_segments(np.array([[0.0], [2.0], [5.0]]), n_segments=2)
    array([3.])
    """
    segment = np.arange(len(x)) * n_segments // max(len(x), 1)
    means = [pool_mean(x[segment == s]) for s in np.unique(segment)]
    return np.mean(means, axis=0) if means else np.zeros(x.shape[1])


class Pooling(TransformerMixin, BaseEstimator):
    """Pool the features of each clip into one vector.

    Parameters
    ----------
    method : {"mean", "max", "segments"}
        `pool_mean`, `pool_max` or `pool_segments`.
    n_segments : int
        Of "segments".
    normalize : bool
        Whether to scale the vector to unit L2 norm.

    Attributes
    ----------
    n_features_in_ : int
        D.

    Examples
    --------
    >>> Pooling("max", normalize=False).fit_transform([np.array([[1.0, 5.0], [3.0, 4.0]])])
    array([[3., 5.]], dtype=float32)
    """

    def __init__(
        self,
        method: Literal["mean", "max", "segments"] = "mean",
        *,
        n_segments: int = 3,
        normalize: bool = True,
    ) -> None:
        self.method = method
        self.n_segments = n_segments
        self.normalize = normalize

    def fit(self, bags: Iterable[Array] | Array, y: Any = None) -> Self:
        """Note the dimension of the first bag; nothing else is learned.

        Raises
        ------
        ValueError
            If `method` is unknown or there is no bag.
        """
        if self.method not in ("mean", "max", "segments"):
            raise ValueError(f"method={self.method!r}: choose 'mean', 'max' or 'segments'")
        first = next(iter_bags(bags), None)
        if first is None:
            raise ValueError("there is no bag to take the dimension from")
        self.n_features_in_ = first.shape[1]
        return self

    def transform(self, bags: Iterable[Array]) -> Array:
        """Pool each (T_i, D) bag, rows in order of time: (n, D) float32; zeros for an empty bag."""
        rows = [self._pool(as_bag(x, self.n_features_in_)) for x in bags]
        pooled = np.stack(rows) if rows else np.empty((0, self.n_features_in_))
        return (l2_norm(pooled) if self.normalize else pooled).astype(np.float32)

    def _pool(self, x: Array) -> Array:
        if self.method == "segments":
            return pool_segments(x, self.n_segments)
        return pool_max(x) if self.method == "max" else pool_mean(x)
