"""Film strips: a few frames of a clip side by side, as one small JPEG image.

Strips are bounded in number, in bytes and in how far a video is read. A video that is gone, has
changed or cannot be decoded costs its strip alone, and the page says why.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.video import VideoReader

N_FRAMES = 4
HEIGHT = 120
"""Of a strip in pixels."""
MAX_BYTES = 1 << 20
"""Of all strips of a page together, before base64."""
MAX_READ = 3000
"""Frames of a video that are decoded at most."""
_QUALITY = 80
_GAP = 4
_MAX_ASPECT = 3.0


@dataclass(frozen=True)
class Strip:
    """A film strip, or why there is none.

    Parameters
    ----------
    uri : str
        ``data:image/jpeg;base64,...``; empty where there is none.
    width, height : int
        In pixels.
    seconds : tuple of float
        When each frame is shown.
    reason : str
        Why there is none; empty where there is one.
    """

    uri: str = ""
    width: int = 0
    height: int = 0
    seconds: tuple[float, ...] = ()
    reason: str = ""


def film_strips(
    names: Sequence[str], clips: Mapping[str, Clip], max_bytes: int = MAX_BYTES
) -> list[Strip]:
    """Return the strip of each named clip, as long as `max_bytes` lasts."""
    strips, left = [], max_bytes
    for name in names:
        strip, n_bytes = _strip(clips.get(name), left)
        strips.append(strip)
        left -= n_bytes
    return strips


def _strip(clip: Clip | None, left: int) -> tuple[Strip, int]:
    """Return a strip and its bytes."""
    if clip is None:
        return Strip(reason="the store does not say where the video is"), 0
    if not clip.path.is_file():
        return Strip(reason="the video is no longer there"), 0
    if clip.sha256 and _sha256(clip) != clip.sha256:
        return Strip(reason="the video has changed since"), 0
    try:
        frames, seconds = _frames(clip)
    except ClipError as error:
        return Strip(reason=f"the video cannot be shown: {error}"), 0
    image = _side_by_side(frames)
    is_written, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    if not is_written or len(data) > left:
        return Strip(reason="left out: the page has its share of images"), 0
    uri = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
    return Strip(uri, image.shape[1], image.shape[0], tuple(seconds)), len(data)


def _side_by_side(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Join frames (H, w, 3), with white between them."""
    gap = np.full((HEIGHT, _GAP, 3), 255, np.uint8)
    return np.concatenate([part for frame in frames for part in (gap, frame)][1:], axis=1)


def _sha256(clip: Clip) -> str:
    with clip.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _frames(clip: Clip) -> tuple[list[np.ndarray], list[float]]:
    """Return the frames in the middle of `N_FRAMES` equal parts of a clip, and their times."""
    frames: list[np.ndarray] = []
    seconds: list[float] = []
    with VideoReader(clip.path) as video:
        n = min(clip.frames_decoded or video.frames_declared or 1, MAX_READ)
        wanted = {int((k + 0.5) * n / N_FRAMES) for k in range(N_FRAMES)}
        for frame, index, time in video:
            if index in wanted:
                frames.append(_small(frame))
                seconds.append(time)
            if index >= max(wanted):
                break
    return frames, seconds


def _small(frame: np.ndarray) -> np.ndarray:
    """Return a frame (H, W, 3) at the height of a strip; a very wide one is cut to its middle."""
    height, width = frame.shape[:2]
    kept = min(width, int(_MAX_ASPECT * height))
    start = (width - kept) // 2
    size = (max(1, round(kept * HEIGHT / height)), HEIGHT)
    small = cv2.resize(frame[:, start : start + kept], size, interpolation=cv2.INTER_AREA)
    return np.asarray(small)


def strip_figures(strips: Sequence[Strip]) -> list[dict[str, Any]]:
    """Return what the page says of strips in words: times, or why there is none."""
    return [{"seconds": list(strip.seconds), "reason": strip.reason} for strip in strips]
