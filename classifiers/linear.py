"""Products of feature rows: Gram matrices from blocks of columns, and scores of a linear model."""

from collections.abc import Iterable, Iterator

import numpy as np
from numba import njit

from cinefeat.classifiers.spreading import spread
from cinefeat.classifiers.types import Array

_BLOCK = 4096  # columns multiplied at once


def column_blocks(x: Array, size: int = _BLOCK) -> Iterator[Array]:
    """Iterate over blocks of at most `size` neighbouring columns, left to right."""
    for start in range(0, x.shape[1], size):
        yield x[:, start : start + size]


def accumulate_gram(blocks: Iterable[Array]) -> Array:
    """Sum X X' over blocks of columns of X, so that X is never held whole.

    Parameters
    ----------
    blocks : iterable of (n, d) arrays
        Columns of one (n, D) matrix, in any cut; float32 blocks are multiplied in float32 and
        summed in float64. Not modified.

    Returns
    -------
    ndarray of shape (n, n), float64
        Symmetric.

    Raises
    ------
    ValueError
        If there is no block, or blocks differ in n.

    Notes
    -----
    Memory 12 n^2 bytes beside the block.

    Examples
    --------
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> accumulate_gram([x[:, :1], x[:, 1:]])
    array([[ 5., 11.],
           [11., 25.]])
    """
    gram: Array | None = None
    for product in spread(_products, ((block,) for block in blocks)):
        if gram is None:
            gram = np.zeros(product.shape)
        elif len(gram) != len(product):
            raise ValueError(f"a block has {len(product)} rows, the first had {len(gram)}")
        gram += product
    if gram is None:
        raise ValueError("there is no block of features to multiply")
    return gram


def _products(block: Array) -> Array:
    x = as_real(block)
    return np.asarray(x @ x.T)


def as_real(x: Array) -> Array:
    """Return a C-contiguous array that keeps float64 and turns every other dtype into float32."""
    return np.ascontiguousarray(x, np.float64 if x.dtype == np.float64 else np.float32)


def linear_scores(x: Array, coef: Array, intercept: Array) -> Array:
    """Return ``x @ coef.T + intercept``, each row computed alike whatever rows stand beside it.

    Parameters
    ----------
    x : ndarray of shape (n, D)
        Taken in the dtype of `coef`.
    coef : ndarray of shape (C, D), float32 or float64
    intercept : ndarray of shape (C,), float64

    Returns
    -------
    ndarray of shape (n, C), float64

    Notes
    -----
    A BLAS product may round a row differently in another batch; here every entry is one sum in a
    fixed order, in float64.

    Examples
    --------
    >>> linear_scores(np.eye(2), np.array([[1.0, 2.0]]), np.array([10.0]))
    array([[11.],
           [12.]])
    """
    out = np.empty((len(x), len(coef)))
    weights = as_real(coef)
    _scores(np.ascontiguousarray(x, weights.dtype), weights, intercept, out)
    return out


# reassociation lets the sum use vector lanes; their order is fixed by the compiled code
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, forceinline=True)
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(a)):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@njit(cache=True, nogil=True)
def _scores(x, coef, intercept, out):  # type: ignore[no-untyped-def]
    out[:] = intercept
    for start in range(0, x.shape[1], 4096):  # a block of coef stays in cache for all rows
        for i in range(len(x)):
            row = x[i, start : start + 4096]
            for c in range(len(coef)):
                out[i, c] += _dot(row, coef[c, start : start + 4096])
