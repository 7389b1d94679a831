"""Which frames of a video make a window: dense windows, segments, and what short videos do."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Frame = TypeVar("Frame")


def _repeat_last(n_frames: int, length: int) -> Indices:
    return np.minimum(np.arange(length), n_frames - 1)


def _wrap(n_frames: int, length: int) -> Indices:
    return np.arange(length) % n_frames


def _error(n_frames: int, length: int) -> Indices:
    raise ValueError(
        f"the video has {n_frames} frames and a window {length}; "
        "short_clips = 'repeat_last' or 'wrap' would lengthen it"
    )


SHORT_CLIPS: dict[str, Callable[[int, int], Indices]] = {
    "repeat_last": _repeat_last,
    "wrap": _wrap,
    "error": _error,
}


def window_indices(
    start: int, n_frames: int, length: int, short_clips: str = "repeat_last"
) -> Indices:
    """Return the frames of the window that begins at `start`.

    A window within the video is ``start .. start + length - 1``. One that reaches beyond the end
    is taken from the video lengthened by the policy: the last frame repeated, the video from its
    first frame again, or an error.

    Parameters
    ----------
    start, n_frames, length : int
        ``0 <= start < n_frames``, ``length >= 1``.
    short_clips : "repeat_last", "wrap" or "error"

    Returns
    -------
    ndarray of shape (length,), int64

    Raises
    ------
    ValueError
        If the policy is unknown, or is "error" and frames are missing; if the start is not a frame.

    Examples
    --------
    >>> window_indices(1, 3, 4).tolist(), window_indices(1, 3, 4, "wrap").tolist()
    ([1, 2, 2, 2], [1, 2, 0, 1])
    """
    if short_clips not in SHORT_CLIPS:
        raise ValueError(f"short_clips is {short_clips!r}; choose one of {', '.join(SHORT_CLIPS)}")
    if not 0 <= start < n_frames or length < 1:
        raise ValueError(f"no window of {length} frames starts at {start} in {n_frames} frames")
    if start + length <= n_frames:
        return np.arange(start, start + length)
    return SHORT_CLIPS[short_clips](n_frames, start + length)[start:]


def dense_starts(n_frames: int, length: int, stride: int) -> Indices:
    """Return where windows begin that cover a video: 0, stride, 2 stride, ...

    Every window lies within the video; frames behind the last one are not used. A video shorter
    than a window has one window, at 0, which the short-clip policy completes.

    Examples
    --------
    >>> dense_starts(40, 16, 8).tolist(), dense_starts(10, 16, 8).tolist()
    ([0, 8, 16, 24], [0])
    """
    if min(n_frames, length, stride) < 1:
        raise ValueError(
            f"n_frames {n_frames}, length {length} and stride {stride} must be at least 1"
        )
    return np.arange(0, max(n_frames - length, 0) + 1, stride)


def segment_starts(
    n_frames: int, n_segments: int, length: int, rule: Literal["centre", "ends"] = "centre"
) -> Indices:
    """Return where `n_segments` snippets begin that are spread evenly over a video.

    Parameters
    ----------
    n_frames : int
        Frames (or flow fields) of the video, n.
    n_segments : int
        Number of snippets, K >= 1.
    length : int
        Frames of a snippet, L.
    rule : "centre" or "ends"
        "centre": snippet k begins at the middle of its share of the possible starts,
        ``floor((k + 1/2) (n - L + 1) / K)`` (tsn-pytorch, exact where its floating-point
        formula falls short of an integer). "ends": the first begins at frame 0
        and the step is ``floor((n - L) / (K - 1))`` (TSN's first tool, two-stream networks).

    Returns
    -------
    ndarray of shape (K,), int64
        All 0 where the video has no more than L frames.

    Examples
    --------
    >>> segment_starts(100, 4, 1).tolist(), segment_starts(100, 4, 1, "ends").tolist()
    ([12, 37, 62, 87], [0, 33, 66, 99])
    """
    if min(n_frames, n_segments, length) < 1:
        raise ValueError(
            f"n_frames {n_frames}, n_segments {n_segments}, length {length} must be at least 1"
        )
    if rule not in ("centre", "ends"):
        raise ValueError(f"rule is {rule!r}; choose 'centre' or 'ends'")
    k = np.arange(n_segments)
    if rule == "centre":
        return (2 * k + 1) * max(n_frames - length + 1, 1) // (2 * n_segments)
    return k * (max(n_frames - length, 0) // max(n_segments - 1, 1))


def stream_windows(
    frames: Iterable[Frame], length: int, stride: int, short_clips: str = "repeat_last"
) -> Iterator[tuple[int, int, list[Frame]]]:
    """Yield dense windows of a stream, holding no more than one window of it.

    The windows are those of `dense_starts`, although the number of frames is not known before
    the end.

    Yields
    ------
    start, stop : int
        The window covers the frames ``start .. stop - 1``; ``stop - start < length`` where the
        video was too short and the policy completed it.
    window : list
        Its `length` frames.

    Examples
    --------
    >>> [w for *_, w in stream_windows("abcdefg", 3, 2)]
    [['a', 'b', 'c'], ['c', 'd', 'e'], ['e', 'f', 'g']]
    >>> list(stream_windows("ab", 3, 2))
    [(0, 2, ['a', 'b', 'b'])]
    """
    if min(length, stride) < 1:
        raise ValueError(f"length {length} and stride {stride} must be at least 1")
    kept: deque[Frame] = deque(maxlen=length)
    n_frames = 0
    for frame in frames:
        kept.append(frame)
        n_frames += 1
        start = n_frames - length
        if start >= 0 and start % stride == 0:
            yield start, n_frames, list(kept)
    if 0 < n_frames < length:
        yield 0, n_frames, [kept[i] for i in window_indices(0, n_frames, length, short_clips)]


def crop_offsets(
    height: int, width: int, size: int, n_crops: Literal[1, 10] = 1
) -> list[tuple[int, int, bool]]:
    """Return the crops of a test: the centre, or four corners and centre and their mirrors.

    Parameters
    ----------
    height, width, size : int
        Of the frame and of the square crop, in pixels.
    n_crops : 1 or 10

    Returns
    -------
    list of (top, left, is_mirrored)
        Centre at ``((height - size) // 2, (width - size) // 2)``. Of ten, first the corners (top
        left, top right, bottom left, bottom right) and the centre, then the five mirrored.

    Examples
    --------
    >>> crop_offsets(256, 340, 224)
    [(16, 58, False)]
    """
    if size > min(height, width):
        raise ValueError(f"a crop of {size} px does not fit into frames of {height} x {width}")
    bottom, right = height - size, width - size
    centre = (bottom // 2, right // 2)
    if n_crops == 1:
        return [(*centre, False)]
    if n_crops != 10:
        raise ValueError(
            f"n_crops is {n_crops}; choose 1 (centre) or 10 (corners, centre, mirrors)"
        )
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), centre]
    return [(*place, is_mirrored) for is_mirrored in (False, True) for place in places]
