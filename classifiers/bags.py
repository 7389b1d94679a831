"""Bags of descriptors: the checks every encoder makes before it computes.

A *bag* is the (N, D) array of one clip's descriptors; N may be 0. Estimators of this package take a
list of bags, and a single 2-D array as the list of that one bag.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeGuard

import numpy as np

from cinefeat.classifiers.types import Array

BYTE_BUDGET = 64 * 2**20  # working memory of one chunk, bytes


def as_bag(x: Array, n_dims: int | None = None) -> Array:
    """Return one bag as a C-contiguous float32 array.

    Parameters
    ----------
    x : array-like of shape (N, D)
        Descriptors of one clip; N may be 0. Not modified.
    n_dims : int, optional
        The D that is required.

    Returns
    -------
    ndarray of shape (N, D), float32

    Raises
    ------
    ValueError
        If `x` is not two-dimensional, has another D, or holds NaN or infinity (also when a value
        leaves the range of float32).

    Examples
    --------
    >>> as_bag([[1, 2], [3, 4]]).dtype
    dtype('float32')
    """
    array = np.asarray(x)
    if array.ndim != 2:
        raise ValueError(f"a bag has shape (N, D), not {array.shape}: pass one array per clip")
    if n_dims is not None and array.shape[1] != n_dims:
        raise ValueError(
            f"the descriptors have {array.shape[1]} dimensions, "
            f"the estimator was fitted on {n_dims}"
        )
    with np.errstate(over="ignore"):
        bag = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(bag).all():
        raise ValueError("a bag holds NaN or infinity: drop or repair those descriptors first")
    return bag


def iter_bags(bags: Iterable[Array] | Array) -> Iterator[Array]:
    """Iterate over bags, a single 2-D array being one bag.

    Parameters
    ----------
    bags : iterable of (N_i, D) arrays, or one (N, D) array
        Read once, in order.

    Yields
    ------
    ndarray of shape (N_i, D), float32
        As `as_bag` returns it; all with the same D.
    """
    n_dims = None
    for x in as_list(bags):
        bag = as_bag(x, n_dims)
        n_dims = bag.shape[1]
        yield bag


def stack_bags(bags: Iterable[Array] | Array) -> Array:
    """Join bags into one (N, D) float32 array; it is an error if they hold no descriptor."""
    parts = list(iter_bags(bags))
    if not sum(len(p) for p in parts):
        raise ValueError("there is no descriptor to learn from: all bags are empty")
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def is_single(bags: object) -> TypeGuard[Array]:
    """Say whether `bags` is one (N, D) array rather than a list of them."""
    return isinstance(bags, np.ndarray) and bags.ndim == 2


def as_list(bags: Iterable[Array] | Array) -> Iterable[Array]:
    """Return `bags`, or the list of the one bag that it is."""
    return [bags] if is_single(bags) else bags


def row_chunks(n_rows: int, row_bytes: int, budget: int = BYTE_BUDGET) -> Sequence[slice]:
    """Cut rows into chunks that need at most `budget` bytes of working memory each.

    The cut depends on the sizes alone, never on the number of threads, so sums over chunks are
    reproducible.

    Examples
    --------
    >>> row_chunks(5, row_bytes=10, budget=20)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, budget // max(1, row_bytes))
    return [slice(i, min(i + step, n_rows)) for i in range(0, n_rows, step)]
