"""VLAD: the residuals of descriptors to their codewords, summed."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numba import njit
from sklearn.base import BaseEstimator, TransformerMixin

from cinefeat.classifiers.bags import as_bag, iter_bags
from cinefeat.classifiers.codebook import KMeansCodebook
from cinefeat.classifiers.kmeans import nearest
from cinefeat.classifiers.normalize import intra_norm as normalise_blocks
from cinefeat.classifiers.normalize import l2_norm, signed_power
from cinefeat.classifiers.pca import PCA
from cinefeat.classifiers.sampling import reservoir_sample
from cinefeat.classifiers.types import Array, RandomState


def encode_vlad(
    x: Array,
    codewords: Array,
    *,
    intra_norm: bool = True,
    power: float = 0.5,
    residual_norm: bool = False,
) -> Array:
    """Encode a bag of descriptors as its residuals to a codebook (VLAD).

    Each descriptor goes to its nearest codeword (ties to the lower index) and the residuals
    ``x - codeword`` are summed per codeword. The sums are normalised in this order: each codeword's
    block to unit L2 norm (`intra_norm`), the signed power of every component, the whole vector to
    unit L2 norm. A block that received no descriptor, and a bag with none, encode to zeros.

    Parameters
    ----------
    x : ndarray of shape (N, D)
        The bag; N may be 0. Not modified.
    codewords : ndarray of shape (K, D)
    intra_norm : bool
        Whether to scale each block to unit length before `power`.
    power : float in (0, 1]
        Exponent of the signed power; 1 leaves components as they are.
    residual_norm : bool
        Whether to scale each residual to unit length before it is summed.

    Returns
    -------
    ndarray of shape (K * D,), float32
        ``v.reshape(K, D)[k]`` belongs to ``codewords[k]``. Unit length or zero.

    Raises
    ------
    ValueError
        If `x` and `codewords` differ in D, or `x` holds NaN or infinity.

    References
    ----------
    .. [1] Jegou, Douze, Schmid, Perez. Aggregating local descriptors into a compact image
       representation. CVPR 2010.
    .. [2] Arandjelovic, Zisserman. All about VLAD. CVPR 2013 (`intra_norm`).
    .. [3] Delhumeau, Gosselin, Jegou, Perez. Revisiting the VLAD image representation. ACM MM 2013
       (`residual_norm`).

    Examples
    --------
    Two codewords on a line. The descriptor at 1 is nearest the first, the one at 7 the second, so
    the residuals are +1 and -3:

    >>> x, codewords = np.array([[1.0], [7.0]]), np.array([[0.0], [10.0]])
    >>> encode_vlad(x, codewords, intra_norm=False, power=1).round(3)
    array([ 0.316, -0.949], dtype=float32)
    """
    words = np.ascontiguousarray(codewords, np.float32)
    bag = as_bag(x, words.shape[1])
    sums = np.zeros(words.shape)
    _sum_residuals(bag, words, nearest(bag, words), residual_norm, sums)
    vector = sums.ravel()
    if intra_norm:
        vector = normalise_blocks(vector, len(words))
    return l2_norm(signed_power(vector, power)).astype(np.float32)


@njit(cache=True, nogil=True)
def _sum_residuals(x, codewords, labels, unit, sums):  # type: ignore[no-untyped-def]
    residual = np.empty(x.shape[1])
    for i in range(len(x)):
        k = labels[i]
        length = 0.0
        for d in range(len(residual)):
            residual[d] = np.float64(x[i, d]) - np.float64(codewords[k, d])
            length += residual[d] * residual[d]
        scale = 1.0
        if unit:
            scale = 1.0 / np.sqrt(length) if length > 1e-24 else 0.0
        for d in range(len(residual)):
            sums[k, d] += scale * residual[d]


class VLAD(TransformerMixin, BaseEstimator):
    """Encode bags by `encode_vlad`, with a codebook learned from a sample of them.

    Parameters
    ----------
    n_words : int
        K, codewords of the k-means codebook.
    n_dims : int or float, optional
        PCA of the descriptors first, as `PCA` takes it; None keeps them.
    whiten : bool
        Whether that PCA whitens.
    intra_norm, power, residual_norm
        As in `encode_vlad`.
    n_samples : int
        Descriptors to learn from, drawn uniformly from the bags.
    n_init, max_iter, device
        As in `KMeansCodebook`.
    random_state : int, Generator, RandomState or None
        The seed of the sample and of the codebook.

    Attributes
    ----------
    codebook_ : KMeansCodebook
    pca_ : PCA
        Only with `n_dims`.
    n_features_in_ : int
        D before PCA.

    Examples
    --------
    >>> bags = [np.array([[1.0], [-1.0]]), np.array([[9.0], [11.0]])]
    >>> VLAD(n_words=2, random_state=0).fit(bags).transform(bags).shape
    (2, 2)
    """

    def __init__(
        self,
        n_words: int = 256,
        *,
        n_dims: float | None = None,
        whiten: bool = False,
        intra_norm: bool = True,
        power: float = 0.5,
        residual_norm: bool = False,
        n_samples: int = 256_000,
        n_init: int = 1,
        max_iter: int = 100,
        device: str = "cpu",
        random_state: RandomState = None,
    ) -> None:
        self.n_words = n_words
        self.n_dims = n_dims
        self.whiten = whiten
        self.intra_norm = intra_norm
        self.power = power
        self.residual_norm = residual_norm
        self.n_samples = n_samples
        self.n_init = n_init
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    def fit(self, bags: Iterable[Array] | Array, y: Any = None) -> Self:
        """Learn the PCA and the codebook from a sample of `bags`, read once and in order.

        Parameters
        ----------
        bags : iterable of (N_i, D) arrays
            May be a generator: only the sample is held.
        y : ignored
        """
        sample = reservoir_sample(iter_bags(bags), self.n_samples, self.random_state)
        self.n_features_in_ = sample.shape[1]
        if self.n_dims is not None:
            self.pca_ = PCA(self.n_dims, whiten=self.whiten).fit(sample)
            sample = self.pca_.transform(sample)
        self.codebook_ = KMeansCodebook(
            self.n_words,
            n_init=self.n_init,
            max_iter=self.max_iter,
            device=self.device,
            random_state=self.random_state,
        ).fit(sample)
        return self

    def transform(self, bags: Iterable[Array]) -> Array:
        """Encode each bag.

        Parameters
        ----------
        bags : iterable of n (N_i, D) arrays

        Returns
        -------
        ndarray of shape (n, K * d), float32
            d is D, or what PCA leaves of it.
        """
        rows = [self._encode(x) for x in bags]
        width = self.codebook_.codewords_.size
        return np.stack(rows) if rows else np.empty((0, width), np.float32)

    def _encode(self, x: Array) -> Array:
        bag = as_bag(x, self.n_features_in_)
        return encode_vlad(
            bag if self.n_dims is None else self.pca_.transform(bag),
            self.codebook_.codewords_,
            intra_norm=self.intra_norm,
            power=self.power,
            residual_norm=self.residual_norm,
        )
