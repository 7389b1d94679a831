"""Fisher vectors: the gradient of a mixture's log-likelihood, in VLFeat's form."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from cinefeat.classifiers.bags import as_bag, iter_bags
from cinefeat.classifiers.em import Mixture, moments
from cinefeat.classifiers.mixture import DiagonalGMM
from cinefeat.classifiers.normalize import l2_norm, signed_power
from cinefeat.classifiers.pca import PCA
from cinefeat.classifiers.sampling import reservoir_sample
from cinefeat.classifiers.types import Array, RandomState


def encode_fisher(
    x: Array,
    mixture: Mixture,
    *,
    power: float = 0.5,
    normalize: bool = True,
    device: str = "cpu",
) -> Array:
    """Encode a bag of descriptors as the Fisher vector of a diagonal Gaussian mixture.

    With posteriors q_nk, priors w_k, means mu_k and deviations sigma_k, component k contributes

        u_k = sum_n q_nk (x_n - mu_k) / sigma_k / (N sqrt(w_k))
        v_k = sum_n q_nk ((x_n - mu_k)^2 / sigma_k^2 - 1) / (N sqrt(2 w_k))

    and the vector is ``(u_1 ... u_K, v_1 ... v_K)``, then its signed power, then unit L2 norm
    ("improved" Fisher vector [2]_). An empty bag encodes to zeros.

    Parameters
    ----------
    x : ndarray of shape (N, D)
        The bag; N may be 0. Not modified.
    mixture : Mixture
        Of K components in D dimensions.
    power : float in (0, 1]
        Exponent of the signed power; 1 leaves components as they are.
    normalize : bool
        Whether to scale to unit L2 norm in the end.
    device : str
        Where the products run: "cpu" or a torch device.

    Returns
    -------
    ndarray of shape (2 * K * D,), float32

    Raises
    ------
    ValueError
        If `x` and `mixture` differ in D, or `x` holds NaN or infinity.

    Notes
    -----
    u is the gradient of the mean log-likelihood by the means, times ``sigma_k / sqrt(w_k)``; v that
    by the deviations, times ``sigma_k / sqrt(2 w_k)``. The gradient by the priors is left out, as
    VLFeat does. VLFeat also drops posteriors below 1e-6, here those below 1.2e-7 of the greatest. A
    component of prior 0 contributes zeros.

    References
    ----------
    .. [1] Perronnin, Dance. Fisher kernels on visual vocabularies for image categorization. CVPR
       2007.
    .. [2] Perronnin, Sanchez, Mensink. Improving the Fisher kernel for large-scale image
       classification. ECCV 2010.

    Examples
    --------
    One component at 0 with deviation 2 and one descriptor at 4: u = 4 / 2 = 2, and
    v = (16 / 4 - 1) / sqrt(2) = 2.12.

    >>> one = Mixture(np.ones(1), np.zeros((1, 1)), np.full((1, 1), 4.0))
    >>> encode_fisher(np.array([[4.0]]), one, power=1, normalize=False).round(2)
    array([2.  , 2.12], dtype=float32)
    """
    bag = as_bag(x, mixture.means.shape[1])
    sums = moments(bag, mixture, device)
    mean, variance = mixture.means - mixture.origin, mixture.variances
    mass = sums.mass[:, None]
    first = (sums.first - mean * mass) / np.sqrt(variance)
    second = (sums.second - 2 * mean * sums.first + mean**2 * mass) / variance - mass
    scale = max(len(bag), 1) * np.sqrt(mixture.priors)
    scale = np.where(scale > 0, scale, np.inf)[:, None]
    gradient = np.concatenate([first / scale, second / (np.sqrt(2) * scale)]).ravel()
    vector = signed_power(gradient, power)
    return (l2_norm(vector) if normalize else vector).astype(np.float32)


class FisherVector(TransformerMixin, BaseEstimator):
    """Encode bags by `encode_fisher`, with PCA and mixture learned from a sample of them.

    Parameters
    ----------
    n_components : int
        K, components of the mixture.
    n_dims : int or float, optional
        PCA of the descriptors first, as `PCA` takes it (0.5 in the papers); None keeps them.
    whiten : bool
        Whether that PCA whitens.
    power : float in (0, 1]
        Exponent of the signed power.
    n_samples : int
        Descriptors to learn from, drawn uniformly from the bags.
    n_init, max_iter, device
        As in `DiagonalGMM`.
    random_state : int, Generator, RandomState or None
        The seed of the sample and of the mixture.

    Attributes
    ----------
    gmm_ : DiagonalGMM
    pca_ : PCA
        Only with `n_dims`.
    n_features_in_ : int
        D before PCA.

    Examples
    --------
    >>> bags = [np.array([[1.0], [-1.0]]), np.array([[9.0], [11.0]])]
    >>> FisherVector(2, random_state=0).fit(bags).transform(bags).shape
    (2, 4)
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        n_dims: float | None = None,
        whiten: bool = False,
        power: float = 0.5,
        n_samples: int = 256_000,
        n_init: int = 1,
        max_iter: int = 100,
        device: str = "cpu",
        random_state: RandomState = None,
    ) -> None:
        self.n_components = n_components
        self.n_dims = n_dims
        self.whiten = whiten
        self.power = power
        self.n_samples = n_samples
        self.n_init = n_init
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    def fit(self, bags: Iterable[Array] | Array, y: Any = None) -> Self:
        """Learn the PCA and the mixture from a sample of `bags`, read once and in order.

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
        self.gmm_ = DiagonalGMM(
            self.n_components,
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
        ndarray of shape (n, 2 * K * d), float32
            d is D, or what PCA leaves of it.
        """
        mixture = self.gmm_.mixture
        rows = [self._encode(x, mixture) for x in bags]
        width = 2 * self.gmm_.means_.size
        return np.stack(rows) if rows else np.empty((0, width), np.float32)

    def _encode(self, x: Array, mixture: Mixture) -> Array:
        bag = as_bag(x, self.n_features_in_)
        reduced = bag if self.n_dims is None else self.pca_.transform(bag)
        return encode_fisher(reduced, mixture, power=self.power, device=self.device)
