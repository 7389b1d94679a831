"""Descriptors of the mirrored video, from those of the video: no pixel is computed twice.

Mirroring left and right permutes orientation bins and the columns of cells, and negates horizontal
displacements. What it cannot repeat is the grid of starting points, which begins at the left edge.
"""

from collections.abc import Mapping

import numpy as np

N_BINS = 8
_TURNED = (N_BINS // 2 - np.arange(N_BINS)) % N_BINS  # angle a becomes 180 - a
_NEGATED = -np.arange(N_BINS) % N_BINS  # angle a becomes -a

# the x gradient of the x flow keeps its sign (both factors change theirs); the y gradient does not
_BINS = {
    "hog": _TURNED,
    "hof": np.append(_TURNED, N_BINS),  # the bin of no motion stays
    "mbhx": _NEGATED,
    "mbhy": _TURNED,
}
_CELLS = (3, 2, 2)  # time, x, y, as in the reference's columns


def mirror_descriptors(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what `dense_trajectories` would give for the video mirrored left and right.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Any of `trajectory` (N, 2L), `hog` (N, 96), `hof` (N, 108), `mbhx` and `mbhy` (N, 96), and
        `positions` (N, 3): x, y and t in [0, 1). Not modified.

    Returns
    -------
    dict of str to ndarray
        The same names, shapes and dtypes.

    Raises
    ------
    ValueError
        If a name has no mirror image here.

    Notes
    -----
    Exact for HOG, HOF and MBH up to the 0.3 degrees of the fast arctangent, since bins are
    interpolated linearly around centres that mirroring maps onto each other. Mirrored copies of the
    training videos are what the DT papers use for UCF Sports [1]_.

    References
    ----------
    .. [1] Wang, Klaser, Schmid, Liu. Action recognition by dense trajectories. CVPR 2011, 4.1.

    Examples
    --------
    >>> steps = np.array([[0.6, 0.0, 0.3, 0.1]], np.float32)  # two steps to the right
    >>> mirror_descriptors({"trajectory": steps})["trajectory"].tolist() == [
    ...     [np.float32(-0.6), 0.0, np.float32(-0.3), np.float32(0.1)]
    ... ]
    True
    """
    return {name: _mirror(name, array) for name, array in arrays.items()}


def _mirror(name: str, array: np.ndarray) -> np.ndarray:
    if name == "trajectory":
        return array * np.tile(np.array([-1, 1], array.dtype), array.shape[1] // 2)
    if name == "positions":
        below_one = np.nextafter(array.dtype.type(1), array.dtype.type(0))
        flipped = np.minimum(1 - array[:, :1], below_one)
        return np.concatenate([flipped, array[:, 1:]], axis=1)
    if name not in _BINS:
        known = ", ".join(["trajectory", "positions", *_BINS])
        raise ValueError(f"{name!r} has no mirror image here; these have: {known}")
    cells = array.reshape(len(array), *_CELLS, len(_BINS[name]))
    return cells[:, :, ::-1][..., _BINS[name]].reshape(array.shape)
