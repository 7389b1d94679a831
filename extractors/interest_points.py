"""What the sparse detectors share: their frames, their rows and the order of these."""

from collections.abc import Iterable, Iterator, Sequence, Sized

import numpy as np
from numpy.typing import NDArray

from cinefeat.extractors.idt import to_gray

Gray = NDArray[np.uint8]
Chunk = dict[str, np.ndarray]

INFO_COLUMNS = ("frame", "x", "y", "sigma2", "tau2", "response", "x_share", "y_share", "t_share")
POSITION_SHARES = slice(6, 9)  # columns of `info`: x / W, y / H and frame / T, in [0, 1)
Rows = NDArray[np.float64]  # points, with the columns of ROW
ROW = ("frame", "sigma2", "tau2", "y", "x", "response", "level")  # y, x in pixels of the level


def gray_frames(frames: Iterable[np.ndarray], min_side: int) -> Iterator[Gray]:
    """Yield each frame in grey and check that all agree in size and none is below `min_side`."""
    shape: tuple[int, ...] | None = None
    for i, frame in enumerate(frames):
        gray = to_gray(frame)
        width, height = gray.shape[::-1]
        if shape is None and min(gray.shape) < min_side:
            raise ValueError(
                f"frames of {width}x{height} px are below {min_side} px on a side, the smallest "
                "that is described; enlarge the video"
            )
        if shape is not None and gray.shape != shape:
            raise ValueError(
                f"frame {i} is {width}x{height} px after frames of {shape[1]}x{shape[0]}; all "
                "frames must agree in size"
            )
        shape = gray.shape
        yield gray
    if shape is None:
        raise ValueError("the video has no frames; give at least one")


def frame_count(frames: Iterable[np.ndarray], n_frames: int | None) -> int:
    """Return `n_frames` or the length of `frames`; refuse frames without a length."""
    if n_frames is not None:
        return n_frames
    if isinstance(frames, Sized):
        return len(frames)
    raise ValueError("frames has no length, by which times are divided; give n_frames")


def share_of_time(chunk: Chunk, n_frames: int) -> Chunk:
    """Make the last column of a chunk's info, a frame, a share of the number of frames."""
    chunk["info"][:, -1] /= n_frames
    return chunk


def join_chunks(chunks: Sequence[Chunk]) -> Chunk:
    """Concatenate the rows of chunks, of which there is at least one."""
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def sort_points(points: Rows, most: int | None) -> Rows:
    """Sort by frame, sigma2, tau2, y, x; keep the `most` largest responses of every frame."""
    points = points[np.lexsort(points[:, 4::-1].T)]
    if most is None:
        return points
    frame = points[:, 0]
    by_response = np.lexsort((-points[:, 5], frame))
    rank = np.arange(len(points)) - np.searchsorted(frame, frame)  # within its frame
    return points[np.sort(by_response[rank < most])]


def info_rows(points: Rows, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the `INFO_COLUMNS` of points (N, 9), the last one still a frame.

    Parameters
    ----------
    points : ndarray of shape (N, 7), float64
    size : pair of int
        W and H, pixels.
    """
    frame, sigma2, tau2, y, x, response, level = points.T
    x, y = x * 2**level, y * 2**level
    columns = (frame, x, y, sigma2, tau2, response, x / size[0], y / size[1], frame)
    return np.stack(columns, axis=1).astype(np.float32)
