"""Seeded reservoirs: a uniform sample of descriptors from bags that are read once, in order.

Algorithm R (Vitter 1985): the sample costs its own memory and one bag, whatever the corpus holds.
"""

from collections.abc import Iterable, Mapping
from typing import cast, overload

import numpy as np

from cinefeat.classifiers.types import Array, RandomState

_ONLY = ""  # the channel of bags that are plain arrays


@overload
def reservoir_sample(
    bags: Iterable[Array],
    n_samples: int,
    random_state: RandomState = None,
    *,
    max_bytes: int | None = None,
) -> Array: ...
@overload
def reservoir_sample(
    bags: Iterable[Mapping[str, Array]],
    n_samples: int,
    random_state: RandomState = None,
    *,
    max_bytes: int | None = None,
) -> dict[str, Array]: ...
def reservoir_sample(
    bags: Iterable[Array] | Iterable[Mapping[str, Array]],
    n_samples: int,
    random_state: RandomState = None,
    *,
    max_bytes: int | None = None,
) -> Array | dict[str, Array]:
    """Draw descriptors uniformly and without replacement from a stream of bags.

    The first `n_samples` rows fill the sample; row t (from 0) after that replaces a uniformly drawn
    place with probability n_samples / (t + 1). The sample depends on the sequence of rows and the
    seed alone, not on how the rows are cut into bags.

    Parameters
    ----------
    bags : iterable of (N_i, D) arrays, or of mappings from channel name to (N_i, D_c) arrays
        Read once, in order; N_i may be 0. With mappings, every channel of a bag has the same N_i,
        and the same rows are drawn from each. Not modified.
    n_samples : int
        The most rows to keep, >= 1. Fewer are returned when the stream has fewer.
    random_state : int, Generator, RandomState or None
        The seed; None draws another sample each time.
    max_bytes : int, optional
        Keep no more rows than fit in this many bytes, all channels together.

    Returns
    -------
    ndarray of shape (n, D), or dict of such arrays
        dtype of the first bag. Rows are in the order of the reservoir's places.

    Raises
    ------
    ValueError
        If there is no bag at all, bags differ in D or in channels, channels of one bag differ in N,
        or `max_bytes` does not hold a single row.

    References
    ----------
    .. [1] Vitter. Random sampling with a reservoir. ACM TOMS 1985, algorithm R.

    Examples
    --------
    >>> bags = [np.array([[1.0], [2.0]]), np.empty((0, 1)), np.array([[3.0]])]
    >>> reservoir_sample(bags, 5, random_state=0).ravel()
    array([1., 2., 3.])
    >>> len(reservoir_sample(bags, 2, random_state=0))
    2
    """
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples}: a sample holds at least one row")
    rng = np.random.default_rng(random_state)
    sample: dict[str, Array] = {}
    n_seen = 0
    for bag in bags:
        named = bag if isinstance(bag, Mapping) else {_ONLY: bag}
        channels = {name: np.asarray(array) for name, array in named.items()}
        n_rows = _common_length(channels)
        if not sample:
            n_samples = _affordable(channels, n_samples, max_bytes)
            sample = {k: np.empty((n_samples, v.shape[1]), v.dtype) for k, v in channels.items()}
        places = _places(rng, n_seen, n_rows, n_samples)
        _put(sample, channels, places)
        n_seen += n_rows
    if not sample:
        raise ValueError("there is no bag to sample from")
    kept = {k: v[:n_seen] for k, v in sample.items()}
    return kept.get(_ONLY, kept)


def _common_length(channels: Mapping[str, Array]) -> int:
    for name, array in channels.items():
        if array.ndim != 2:
            raise ValueError(f"a bag has shape (N, D), not {array.shape} (channel {name!r})")
    lengths = {len(array) for array in channels.values()}
    if len(lengths) != 1:
        raise ValueError(f"the channels of one bag differ in length: {sorted(lengths)}")
    return lengths.pop()


def _affordable(channels: Mapping[str, Array], n_samples: int, max_bytes: int | None) -> int:
    if max_bytes is None:
        return n_samples
    row_bytes = sum(v.shape[1] * v.dtype.itemsize for v in channels.values())
    if max_bytes < row_bytes:
        raise ValueError(f"max_bytes={max_bytes} does not hold one row of {row_bytes} bytes")
    return min(n_samples, max_bytes // row_bytes)


def _places(rng: np.random.Generator, n_seen: int, n_rows: int, n_samples: int) -> Array:
    """Return the reservoir place of each row; places >= n_samples mean "not kept"."""
    turn = np.arange(n_seen, n_seen + n_rows)
    filling = turn < n_samples
    # one draw per row after the filling, so that the cut into bags leaves no trace
    drawn = rng.random(n_rows - int(filling.sum()))
    places = turn.copy()
    places[~filling] = np.floor(drawn * (turn[~filling] + 1)).astype(np.int64)
    return cast(Array, places)


def _put(sample: dict[str, Array], channels: Mapping[str, Array], places: Array) -> None:
    if sample.keys() != channels.keys():
        raise ValueError(f"the channels {sorted(channels)} differ from the first {sorted(sample)}")
    n_samples = len(next(iter(sample.values())))
    # of several rows for one place the last stays: np.unique on the reversed list finds it
    wanted = np.flatnonzero(places < n_samples)[::-1]
    target, first = np.unique(places[wanted], return_index=True)
    for name, array in channels.items():
        if array.shape[1] != sample[name].shape[1]:
            raise ValueError(
                f"channel {name!r} has {array.shape[1]} dimensions, "
                f"the first bag had {sample[name].shape[1]}"
            )
        sample[name][target] = array[wanted[first]]


def seed_sequence(random_state: RandomState) -> np.random.SeedSequence:
    """Turn a seed into a sequence that independent parts of one fit spawn their own seeds from.

    An integer always gives the same sequence; a generator advances and gives another each time.
    """
    if random_state is None or isinstance(random_state, int | np.integer):
        return np.random.SeedSequence(None if random_state is None else int(random_state))
    generator = np.random.default_rng(random_state)
    return np.random.SeedSequence(generator.integers(2**32, size=4).tolist())
