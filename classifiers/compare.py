"""Whether two systems differ on the same clips: McNemar's test, and a bootstrap interval."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from cinefeat.classifiers.types import Array, RandomState


class McNemar(NamedTuple):
    """Clips that only the first and only the second system got right, and the p-value."""

    only_first: int
    only_second: int
    p_value: float


class Interval(NamedTuple):
    """Accuracy of the first system minus that of the second, and an interval for it."""

    difference: float
    low: float
    high: float


def mcnemar_test(correct_first: ArrayLike, correct_second: ArrayLike) -> McNemar:
    """Test whether two systems are equally accurate, from the clips on which they disagree.

    Under the null hypothesis each such clip is a fair coin; the p-value is the exact binomial one,
    and 1 when they never disagree.

    Parameters
    ----------
    correct_first, correct_second : array-like of shape (n,), bool
        Whether each system labelled each clip correctly, in the same order of clips.

    References
    ----------
    .. [1] McNemar. Note on the sampling error of the difference between correlated proportions.
       Psychometrika 1947.

    Examples
    --------
    Four disagreements, all won by the first: p = 2 / 2^4.

    >>> mcnemar_test([1, 1, 1, 1, 1], [1, 0, 0, 0, 0])
    McNemar(only_first=4, only_second=0, p_value=0.125)
    """
    first, second = _paired(correct_first, correct_second)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n = only_first + only_second
    p_value = float(binomtest(only_first, n, 0.5).pvalue) if n else 1.0
    return McNemar(only_first, only_second, p_value)


def bootstrap_difference(
    correct_first: ArrayLike,
    correct_second: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 10_000,
    random_state: RandomState = None,
) -> Interval:
    """Return the difference of two systems' accuracies with a percentile bootstrap interval.

    Parameters
    ----------
    correct_first, correct_second : array-like of shape (n,), bool
        As in `mcnemar_test`.
    groups : array-like of shape (n,), optional
        Clips that are not independent (of one actor or source video): whole groups are drawn with
        replacement. None draws single clips.
    level : float
        Coverage, in 0..1.
    n_resamples : int
    random_state : int, Generator, RandomState or None
        The seed.

    References
    ----------
    .. [1] Efron, Tibshirani. An introduction to the bootstrap. 1993, chapter 13.

    Examples
    --------
    >>> bootstrap_difference([1, 1, 1, 1], [0, 0, 0, 0], random_state=0)
    Interval(difference=1.0, low=1.0, high=1.0)
    """
    first, second = _paired(correct_first, correct_second)
    gain = first.astype(np.float64) - second
    _, member = np.unique(np.arange(len(gain)) if groups is None else groups, return_inverse=True)
    if len(member) != len(gain):
        raise ValueError(f"{len(member)} groups for {len(gain)} clips: give one each")
    sums, sizes = np.bincount(member, gain), np.bincount(member)
    rng = np.random.default_rng(random_state)
    means = np.empty(n_resamples)
    for r in range(n_resamples):
        drawn = rng.integers(len(sums), size=len(sums))
        means[r] = sums[drawn].sum() / sizes[drawn].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(gain.mean()), float(low), float(high))


def _paired(correct_first: ArrayLike, correct_second: ArrayLike) -> tuple[Array, Array]:
    first, second = np.asarray(correct_first, bool), np.asarray(correct_second, bool)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"shapes {first.shape} and {second.shape}: give one value a clip for each")
    return first, second
