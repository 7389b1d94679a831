"""Normalisations of descriptors and encodings: each a function of one array, row by row."""

import numpy as np

from cinefeat.classifiers.types import Array

_FLOOR = 1e-12  # rows shorter than this are zero rows: VLFeat's floor


def root_norm(x: Array) -> Array:
    """Divide each row by its L1 norm, then take the signed square root (RootSIFT).

    Parameters
    ----------
    x : ndarray of shape (..., D)
        Descriptors; not modified. Zero rows stay zero.

    Returns
    -------
    ndarray of shape (..., D)
        Rows of unit L2 norm, or zero; dtype of `x`, float64 for integers.

    References
    ----------
    .. [1] Arandjelovic, Zisserman. Three things everyone should know to improve object retrieval.
       CVPR 2012.

    Examples
    --------
    >>> root_norm(np.array([[1.0, 3.0]]))
    array([[0.5      , 0.8660254]])
    """
    return signed_power(l1_norm(x), 0.5)


def l1_norm(x: Array) -> Array:
    """Divide each row by the sum of its absolute values; zero rows stay zero.

    Examples
    --------
    >>> l1_norm(np.array([[1.0, -3.0], [0.0, 0.0]]))
    array([[ 0.25, -0.75],
           [ 0.  ,  0.  ]])
    """
    x = np.asarray(x)
    total = np.abs(x).sum(axis=-1, keepdims=True)
    return x / np.where(total > _FLOOR, total, 1).astype(_real(x))


def l2_norm(x: Array) -> Array:
    """Divide each row by its Euclidean length; zero rows stay zero.

    Examples
    --------
    >>> l2_norm(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    x = np.asarray(x)
    length = np.sqrt(np.square(x, dtype=_real(x)).sum(axis=-1, keepdims=True))
    return x / np.where(length > _FLOOR, length, 1).astype(_real(x))


def signed_power(x: Array, power: float = 0.5) -> Array:
    """Raise absolute values to a power and keep the signs: sign(x) |x|^power.

    Examples
    --------
    >>> signed_power(np.array([4.0, -9.0]))
    array([ 2., -3.])
    """
    x = np.asarray(x)
    magnitude = np.sqrt(np.abs(x)) if power == 0.5 else np.abs(x) ** power
    return np.copysign(magnitude, x).astype(_real(x), copy=False)


def intra_norm(x: Array, n_words: int) -> Array:
    """Scale each codeword's block of an encoding to unit L2 norm; zero blocks stay zero.

    Parameters
    ----------
    x : ndarray of shape (..., n_words * D)
        Encodings: ``x.reshape(..., n_words, D)[..., k, :]`` belongs to codeword k.
    n_words : int
        The number of blocks.

    Returns
    -------
    ndarray of the shape of `x`

    References
    ----------
    .. [1] Arandjelovic, Zisserman. All about VLAD. CVPR 2013, section 3.1.

    Examples
    --------
    >>> intra_norm(np.array([3.0, 4.0, 0.0, 2.0]), n_words=2)
    array([0.6, 0.8, 0. , 1. ])
    """
    x = np.asarray(x)
    return l2_norm(x.reshape(*x.shape[:-1], n_words, -1)).reshape(x.shape)


def _real(x: Array) -> np.dtype[np.floating]:
    return x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
