"""Pictures of time: where the windows of a video lie, and how a feature changes along it.

Time runs to the right; frame t of T takes the columns from ``t W / T`` to ``(t + 1) W / T``.
Pictures are RGB and uint8; nothing is written here.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

PAPER = 255
_INK, _CURSOR = (70, 110, 160), (200, 30, 30)
_EMPTY = (225, 225, 225)


def draw_windows(
    windows: Sequence[tuple[int, int]], n_frames: int, size: tuple[int, int]
) -> Picture:
    """Draw each window as a bar of its own line, from its first frame to its last.

    Parameters
    ----------
    windows : sequence of (first, last)
        Frames, the last included.
    n_frames : int
        T, frames of the video.
    size : (int, int)
        Height and width of the picture. Lines share the height; where there are more windows than
        rows of pixels, several fall on one.

    Examples
    --------
    >>> picture = draw_windows([(0, 1), (2, 3)], n_frames=4, size=(2, 8))
    >>> (picture[..., 0] == 70).astype(int).tolist()
    [[1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]]
    """
    height, width = size
    picture = np.full((height, width, 3), _EMPTY, np.uint8)
    for i, (first, last) in enumerate(windows):
        top, bottom = i * height // len(windows), (i + 1) * height // len(windows)
        gap = 1 if bottom - top > 3 else 0
        left, right = (
            frame_columns(first, n_frames, width)[0],
            frame_columns(last, n_frames, width)[1],
        )
        picture[top : max(bottom - gap, top + 1), left : max(right, left + 1)] = _INK
    return picture


def frame_columns(frame: int, n_frames: int, width: int) -> tuple[int, int]:
    """Return the first column of a frame and the first after it.

    Examples
    --------
    >>> frame_columns(1, 4, 100)
    (25, 50)
    """
    return frame * width // n_frames, (frame + 1) * width // n_frames


def rows_to_frames(
    rows: NDArray[np.floating],
    first: NDArray[np.integer],
    last: NDArray[np.integer],
    n_frames: int,
) -> NDArray[np.float64]:
    """Spread rows over the frames that they cover: the mean of all rows that cover a frame.

    Parameters
    ----------
    rows : ndarray of shape (M, D)
    first, last : ndarray of shape (M,)
        The frames of each row, the last included; from 0 to `n_frames` - 1.
    n_frames : int
        T.

    Returns
    -------
    ndarray of shape (T, D), float64
        NaN for frames that no row covers.

    Raises
    ------
    ValueError
        If a row covers frames that the video has not.

    Examples
    --------
    >>> rows_to_frames(np.array([[2.0], [4.0]]), np.array([0, 1]), np.array([1, 2]), 4).T
    array([[ 2.,  3.,  4., nan]])
    """
    if len(rows) and not (first.min() >= 0 and (first <= last).all() and last.max() < n_frames):
        raise ValueError(
            f"rows cover frames {first.min()} to {last.max()}; the video has 0 to {n_frames - 1}"
        )
    steps = np.zeros((n_frames + 1, rows.shape[1] + 1))
    counted = np.column_stack([rows, np.ones(len(rows))])
    np.add.at(steps, first, counted)
    np.add.at(steps, last + 1, -counted)
    sums = np.cumsum(steps, axis=0)[:-1]
    counts = np.rint(sums[:, -1:])
    return np.where(counts > 0, sums[:, :-1] / np.maximum(counts, 1), np.nan)


def draw_heat_map(values: NDArray[np.floating], size: tuple[int, int]) -> Picture:
    """Draw values along time, a line per dimension, each from its least (dark) to its largest.

    Parameters
    ----------
    values : ndarray of shape (T, D)
        NaN is drawn grey. Each dimension has a range of its own; a constant one is dark.
    size : (int, int)
        Height and width of the picture.
    """
    height, width = size
    # a frame without any row leaves the range to the others
    low, high = (np.nan_to_num(f(values, axis=0, initial=start, where=~np.isnan(values)))
                 for f, start in ((np.min, np.inf), (np.max, -np.inf)))  # fmt: skip
    span = np.where(high > low, high - low, 1)
    codes = np.nan_to_num(255 * (values - low) / span).clip(0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(codes, cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
    colours[np.isnan(values)] = _EMPTY
    lines = np.arange(height) * values.shape[1] // height
    columns = np.arange(width) * len(values) // width
    return np.ascontiguousarray(colours[columns][:, lines].transpose(1, 0, 2))


def mark_frame(picture: Picture, frame: int, n_frames: int) -> Picture:
    """Return a copy of a picture of time with a line at a frame."""
    marked = picture.copy()
    left, right = frame_columns(frame, n_frames, picture.shape[1])
    middle = min((left + right) // 2, picture.shape[1] - 1)
    marked[:, max(middle - 1, 0) : middle + 1] = _CURSOR
    return marked
