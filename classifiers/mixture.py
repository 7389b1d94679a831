"""Diagonal Gaussian mixtures fitted by expectation-maximisation."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from cinefeat.classifiers.bags import as_bag, is_single, iter_bags, stack_bags
from cinefeat.classifiers.breathing import breathe
from cinefeat.classifiers.em import Mixture, Moments, block_moments, moments, posteriors
from cinefeat.classifiers.kmeans import kmeans, nearest
from cinefeat.classifiers.sampling import seed_sequence
from cinefeat.classifiers.spreading import hold
from cinefeat.classifiers.threads import row_blocks
from cinefeat.classifiers.types import Array, RandomState

_SEED_ROWS = 256  # descriptors per component for the k-means that EM starts from
_LEAST_MASS = 1e-3  # descriptors; a component with less has lost its data


class DiagonalGMM(BaseEstimator):
    """Fit a mixture of Gaussians with diagonal covariances by EM.

    EM starts from the clusters of a k-means of 256 descriptors per component. A variance never
    falls below `variance_floor` times that of the whole sample in its dimension. A component that
    holds less than a thousandth of a descriptor starts anew at the descriptor of least likelihood,
    with the variances of the whole sample.

    Parameters
    ----------
    n_components : int
        K.
    n_init : int
        Starts from different seeds; the one of greatest likelihood is kept.
    max_iter : int
        The most EM iterations of one start.
    tol : float
        A start ends when an iteration changes the mean log-likelihood by less than this, in nats
        per descriptor.
    variance_floor : float
        Relative to the variance of the sample. A constant dimension counts as one of a millionth of
        the mean variance.
    device : str
        Where the products run: "cpu" or a torch device such as "cuda".
    random_state : int, Generator, RandomState or None
        The seed.

    Attributes
    ----------
    priors_ : ndarray of shape (K,), float64
        Sum to 1.
    means_, variances_ : ndarray of shape (K, D), float64
    log_likelihood_ : float
        Mean over the sample of the log density of a descriptor, nats, under these parameters.
    n_iter_ : int
        EM iterations of the kept start.
    n_features_in_ : int
        D.

    References
    ----------
    .. [1] Dempster, Laird, Rubin. Maximum likelihood from incomplete data via the EM algorithm.
       JRSS B 1977.

    Examples
    --------
    >>> sample = np.array([[-1.0], [1.0], [99.0], [101.0]])
    >>> gmm = DiagonalGMM(2, random_state=0).fit([sample])
    >>> sorted(gmm.means_.ravel().round(3).tolist()), gmm.variances_.ravel().round(3).tolist()
    ([0.0, 100.0], [1.0, 1.0])
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-3,
        variance_floor: float = 1e-4,
        device: str = "cpu",
        random_state: RandomState = None,
    ) -> None:
        self.n_components = n_components
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.variance_floor = variance_floor
        self.device = device
        self.random_state = random_state

    def fit(self, bags: Iterable[Array] | Array, y: Any = None) -> Self:
        """Learn the mixture of all descriptors of `bags`.

        Parameters
        ----------
        bags : iterable of (N_i, D) arrays, or one (N, D) array
            Held in memory together; draw a `reservoir_sample` of a corpus first.
        y : ignored

        Raises
        ------
        ValueError
            If there are fewer descriptors than `n_components`, or one is NaN or infinite.
        """
        sample = stack_bags(bags)
        if self.n_components > len(sample):
            raise ValueError(
                f"n_components={self.n_components} exceeds the {len(sample)} descriptors to learn "
                "from: lower n_components or give more descriptors"
            )
        spread = _spread(sample)
        seeds = seed_sequence(self.random_state).spawn(self.n_init)
        starts = [self._start(sample, spread, seed) for seed in seeds]
        best, self.log_likelihood_, self.n_iter_ = max(starts, key=lambda start: start[1])
        self.priors_, self.means_, self.variances_ = best.priors, best.means, best.variances
        self.n_features_in_ = sample.shape[1]
        return self

    def _start(
        self, x: Array, spread: Array, seed: np.random.SeedSequence
    ) -> tuple[Mixture, float, int]:
        floor = self.variance_floor * spread
        codewords = _centres(x, self.n_components, seed, self.device)
        mixture = _from_clusters(x, nearest(x, codewords, self.device), codewords, floor)
        likelihood = -np.inf
        blocks = [x[rows] for rows in row_blocks(len(x))]
        with hold(*blocks):
            for n_iter in range(self.max_iter + 1):
                sums = self._moments(x, blocks, mixture)
                previous, likelihood = likelihood, float(sums.log_likelihood.mean())
                if abs(likelihood - previous) < self.tol or n_iter == self.max_iter:
                    break
                mixture = maximise(x, sums, mixture.origin, spread, floor)
        return mixture, likelihood, n_iter

    def _moments(self, x: Array, blocks: list[Array], mixture: Mixture) -> Moments:
        if self.device == "cpu":
            return block_moments(blocks, mixture)
        return moments(x, mixture, self.device)

    @property
    def mixture(self) -> Mixture:
        """The fitted parameters as one record."""
        return Mixture(self.priors_, self.means_, self.variances_)

    def posteriors(self, bags: Iterable[Array] | Array) -> Any:
        """Return the probability that each component made each descriptor.

        Returns
        -------
        list of (N_i, K) float64 arrays, or one array for a single 2-D input
            Rows sum to 1.
        """
        if is_single(bags):
            return posteriors(as_bag(bags, self.n_features_in_), self.mixture)
        return [posteriors(as_bag(x, self.n_features_in_), self.mixture) for x in bags]

    def score(self, bags: Iterable[Array] | Array, y: Any = None) -> float:
        """Return the mean log density of the descriptors, in nats."""
        sums = [moments(x, self.mixture, self.device) for x in iter_bags(bags)]
        return float(np.concatenate([s.log_likelihood for s in sums]).mean())


def maximise(x: Array, sums: Moments, origin: Array, spread: Array, floor: Array) -> Mixture:
    """Return the mixture of greatest likelihood given posterior moments: the M-step.

    Parameters
    ----------
    x : ndarray of shape (N, D), float32
        The descriptors, for components that start anew.
    sums : Moments
        About `origin`.
    origin : ndarray of shape (D,)
    spread, floor : ndarray of shape (D,), float64
        Variances of a component that starts anew, and the least variances of the others.
    """
    empty = sums.mass < _LEAST_MASS
    mass = np.where(empty, 1.0, sums.mass)
    shift = sums.first / mass[:, None]
    means = origin + shift
    variances = np.maximum(sums.second / mass[:, None] - shift**2, floor)
    unlikely = np.argsort(sums.log_likelihood, kind="stable")[: int(empty.sum())]
    means[empty], variances[empty] = x[unlikely], spread
    return Mixture(mass / mass.sum(), means, variances)


def _spread(x: Array) -> Array:
    """Return the variance of each dimension; a constant one counts as a millionth of the mean."""
    variance = x.var(axis=0, dtype=np.float64)
    mean = float(variance.mean()) or 1.0
    return np.maximum(variance, 1e-6 * mean)


def _centres(x: Array, n_components: int, seed: np.random.SeedSequence, device: str) -> Array:
    """Return k-means centres (K, D) of a part of the descriptors, bettered by `breathe`."""
    rng = np.random.default_rng(seed)
    most = _SEED_ROWS * n_components
    part = x if len(x) <= most else x[np.sort(rng.choice(len(x), most, replace=False))]
    run = kmeans(part, n_components, 1, 30, 1e-3, seed, device)
    return breathe(part, run, rng).codewords


def _from_clusters(x: Array, labels: Array, codewords: Array, floor: Array) -> Mixture:
    residuals = (x - codewords[labels]).astype(np.float64)
    counts = np.bincount(labels, minlength=len(codewords)).astype(np.float64)
    squares = np.zeros(codewords.shape)
    np.add.at(squares, labels, residuals**2)
    mass = np.maximum(counts, 1.0)
    variances = np.maximum(squares / mass[:, None], floor)
    return Mixture(mass / mass.sum(), codewords.astype(np.float64), variances)
