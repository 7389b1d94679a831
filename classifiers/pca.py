"""Principal components of descriptors, optionally whitened."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from cinefeat.classifiers.bags import as_bag, is_single, iter_bags
from cinefeat.classifiers.spreading import spread
from cinefeat.classifiers.types import Array

_LEAST_VARIANCE = 1e-6  # of the greatest: weaker directions are not blown up by whitening


class PCA(TransformerMixin, BaseEstimator):
    """Project descriptors on their directions of greatest variance.

    Parameters
    ----------
    n_dims : int or float
        d: a number of dimensions, or below 1 a part of D (rounded down, at least 1); the papers of
        Fisher vectors halve each descriptor, 0.5.
    whiten : bool
        Whether to divide each component by its standard deviation. Deviations below a thousandth of
        the greatest count as that thousandth.

    Attributes
    ----------
    mean_ : ndarray of shape (D,), float32
    components_ : ndarray of shape (d, D), float32
        Orthonormal rows, by falling variance; the entry of greatest magnitude of each is positive.
    variances_ : ndarray of shape (d,), float64
        Of the fitted descriptors along the components (divided by N).
    n_features_in_ : int
        D.

    Notes
    -----
    `fit` reads its bags once and holds D x D sums only. A transform of a bag is one float32
    product.

    Examples
    --------
    >>> pca = PCA(1).fit([np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])])
    >>> pca.transform([np.array([[3.0, 1.0]])])[0]
    array([[1.]], dtype=float32)
    """

    def __init__(self, n_dims: float = 0.5, *, whiten: bool = False) -> None:
        self.n_dims = n_dims
        self.whiten = whiten

    def fit(self, bags: Iterable[Array] | Array, y: Any = None) -> Self:
        """Learn the components of all descriptors of `bags`.

        Parameters
        ----------
        bags : iterable of (N_i, D) arrays, or one (N, D) array
        y : ignored

        Raises
        ------
        ValueError
            If `n_dims` exceeds D or is not positive, or there is no descriptor.
        """
        # one array is one call, wherever it is made: sums of parts would round otherwise
        found = spread(_moments, [(bags,)]) if is_single(bags) else iter([_moments(bags)])
        mean, covariance = next(found)
        self.n_features_in_ = len(mean)
        kept = _resolve(self.n_dims, len(mean))
        values, vectors = np.linalg.eigh(covariance)
        components = vectors.T[::-1][:kept]
        strongest = components[np.arange(kept), np.abs(components).argmax(axis=1)]
        self.mean_ = mean.astype(np.float32)
        self.components_ = np.ascontiguousarray(
            components * np.sign(strongest)[:, None], dtype=np.float32
        )
        self.variances_ = np.maximum(values[::-1][:kept], 0.0)
        return self

    def transform(self, bags: Iterable[Array] | Array) -> Any:
        """Project each descriptor.

        Parameters
        ----------
        bags : iterable of (N_i, D) arrays, or one (N, D) array

        Returns
        -------
        list of (N_i, d) float32 arrays, or one array for a single 2-D input
        """
        if is_single(bags):
            return self._project(bags)
        return [self._project(x) for x in bags]

    def _project(self, x: Array) -> Array:
        projected = (as_bag(x, self.n_features_in_) - self.mean_) @ self.components_.T
        return projected / self._deviations() if self.whiten else projected

    def _deviations(self) -> Array:
        floor = _LEAST_VARIANCE * self.variances_[0]
        deviations = np.sqrt(np.maximum(self.variances_, floor))
        return np.where(deviations > 0, deviations, 1.0).astype(np.float32)


def _moments(bags: Iterable[Array] | Array) -> tuple[Array, Array]:
    """Return the mean (D,) and covariance (D, D), in one pass about the first bag's mean."""
    n_rows, origin, first, second = 0, np.empty(0), np.empty(0), np.empty(0)
    for bag in iter_bags(bags):
        if not len(bag):
            continue
        if not n_rows:
            origin = bag.mean(axis=0, dtype=np.float64)
            first, second = np.zeros(len(origin)), np.zeros((len(origin), len(origin)))
        centred = bag - origin
        n_rows += len(bag)
        first += centred.sum(axis=0)
        second += centred.T @ centred
    if not n_rows:
        raise ValueError("there is no descriptor to learn from: all bags are empty")
    shift = first / n_rows
    return origin + shift, second / n_rows - np.outer(shift, shift)


def _resolve(n_dims: float, available: int) -> int:
    kept = max(1, int(n_dims * available)) if 0 < n_dims < 1 else int(n_dims)
    if not 1 <= kept <= available:
        raise ValueError(
            f"n_dims={n_dims} of descriptors with {available} dimensions: give 1..{available}, "
            "or a part of them between 0 and 1"
        )
    return kept
