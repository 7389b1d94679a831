"""Flow as eight-bit codes, and the codes of the tools that share flow as images.

Two codes, both 255 steps over ``[-bound, bound]``, that differ by half a step:

* ours, for storage: code 128 is zero motion, exactly, and the rounding error is at most half a
  step, ``bound / 255``, over the whole range;
* that of dense_flow and the networks trained on its images (TSN and its successors):
  ``round(255 (v + bound) / (2 bound))``, in which zero motion falls between two codes.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float32 = NDArray[np.float32]
Uint8 = NDArray[np.uint8]
_ZERO = 128
_HALF_RANGE = 127.5  # codes a bound


def quantise_flow(flow: Float32, bound: ArrayLike = 20.0) -> Uint8:
    """Encode flow as ``round(127.5 v / bound) + 128``, clipped to 0..255.

    Ties round to the even integer. Zero becomes 128 and returns as exactly 0; any component
    within ``[-bound, bound]`` returns with an error of at most ``bound / 255``.

    Parameters
    ----------
    flow : ndarray of shape (H, W, 2) or (N, H, W, 2), float32
        Displacements in pixels.
    bound : float or ndarray of shape (N,)
        Largest displacement kept, in pixels, > 0; one for all or one a field (`flow_bounds`).

    Returns
    -------
    codes : ndarray of the shape of `flow`, uint8

    Raises
    ------
    ValueError
        If `flow` holds NaN or infinity, or a bound is not positive.

    Examples
    --------
    >>> flow = np.array([[[0.0, 20.0], [-20.0, 0.1]]], np.float32)
    >>> quantise_flow(flow).tolist()
    [[[128, 255], [0, 129]]]
    """
    _refuse_non_finite(flow)
    steps = np.rint(flow * (_HALF_RANGE / _per_field(bound, flow.ndim)))
    return np.clip(steps + _ZERO, 0, 255).astype(np.uint8)


def dequantise_flow(codes: Uint8, bound: ArrayLike = 20.0) -> Float32:
    """Decode what `quantise_flow` made with the same bound: ``(code - 128) bound / 127.5``.

    Examples
    --------
    >>> dequantise_flow(np.array([[[128, 255]]], np.uint8), 127.5).tolist()
    [[[0.0, 127.0]]]
    """
    _refuse_other_codes(codes)
    scale = (_per_field(bound, codes.ndim) / _HALF_RANGE).astype(np.float32)
    return (codes.astype(np.float32) - np.float32(_ZERO)) * scale


def flow_bounds(flow: Float32) -> Float32:
    """Find the largest absolute displacement of each field (N, H, W, 2): shape (N,), pixels.

    A field without motion gets 1, since a bound must be positive.

    Examples
    --------
    >>> flow_bounds(np.array([[[[0.5, -3.0]]], [[[0.0, 0.0]]]], np.float32)).tolist()
    [3.0, 1.0]
    """
    _refuse_non_finite(flow)
    largest = np.abs(flow).max(axis=(1, 2, 3), initial=0.0).astype(np.float32)
    return np.where(largest > 0, largest, np.float32(1)).astype(np.float32)


def encode_tsn(flow: Float32, bound: float = 20.0) -> Uint8:
    """Encode flow as dense_flow does, ``round(255 (v + bound) / (2 bound))`` clipped to 0..255.

    Zero motion is a tie, 127.5, and ties round to the even code: 128, the value that the
    networks subtract from their input.

    Examples
    --------
    >>> encode_tsn(np.array([[[0.0, 0.1], [-25.0, 20.0]]], np.float32)).tolist()
    [[[128, 128], [0, 255]]]
    """
    _refuse_non_finite(flow)
    scale = _HALF_RANGE / _per_field(bound, flow.ndim)
    return np.clip(np.rint(flow * scale + _HALF_RANGE), 0, 255).astype(np.uint8)


def decode_tsn(codes: Uint8, bound: float = 20.0) -> Float32:
    """Decode flow images of other tools: the centre of each code, but 127 and 128 are zero.

    The centre of code q is ``(q - 127.5) bound / 127.5``. Zero motion is written as 128 by
    the tools that round and as 127 by those that truncate; both are read as exactly 0, so that
    a static scene stays static.

    Examples
    --------
    >>> decode_tsn(np.array([[[127, 128], [0, 255]]], np.uint8)).tolist()
    [[[0.0, 0.0], [-20.0, 20.0]]]
    """
    _refuse_other_codes(codes)
    scale = (_per_field(bound, codes.ndim) / _HALF_RANGE).astype(np.float32)
    flow = (codes.astype(np.float32) - np.float32(_HALF_RANGE)) * scale
    flow[(codes == _ZERO - 1) | (codes == _ZERO)] = 0
    return flow


def _per_field(bound: ArrayLike, n_axes: int) -> NDArray[np.float64]:
    bounds = np.asarray(bound, np.float64)
    if not (np.isfinite(bounds).all() and (bounds > 0).all()):
        raise ValueError(f"bound is {bound!r}; it must be positive (20 pixels is usual)")
    if bounds.ndim == 0:
        return bounds
    if bounds.ndim != 1 or n_axes != 4:
        raise ValueError(
            f"bound has shape {bounds.shape}; give one number, or one a field of (N, H, W, 2) flow"
        )
    return bounds[:, None, None, None]


def _refuse_non_finite(flow: Float32) -> None:
    if not np.isfinite(flow).all():
        raise ValueError("flow holds NaN or infinity, which no code stands for; mask it first")


def _refuse_other_codes(codes: Uint8) -> None:
    if codes.dtype != np.uint8:
        raise ValueError(f"codes have dtype {codes.dtype}; flow codes are uint8")
