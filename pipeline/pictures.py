"""Pictures put side by side, with lines of text, and written as PNG files or films.

Pictures are RGB and uint8. A `View` yields one per frame of a video.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cinefeat.extractors.timeline import PAPER
from cinefeat.pipeline.errors import ClipError, InputError
from cinefeat.pipeline.store import temporary_name, write_bytes
from cinefeat.pipeline.video import VideoReader

STRIP: Final = 20  # pixels of a line of text
_FPS = 25.0  # where the video does not tell
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """Pictures of a video.

    Parameters
    ----------
    pictures : iterator of ndarray of shape (H, W, 3), uint8
        One per frame that is shown, in order.
    n_pictures : int
    fps : float
        Of the video.
    """

    pictures: Iterator[Picture]
    n_pictures: int
    fps: float


@dataclass(frozen=True)
class Measures:
    """The length of a video in frames, its rate, and the size of a frame in pixels."""

    n_frames: int
    fps: float
    width: int
    height: int


def measure(video: Path) -> Measures:
    """Decode a video once and count its frames.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    n_frames = sum(1 for _ in frames_of(video))
    with VideoReader(video) as reader:
        return Measures(n_frames, reader.fps or _FPS, reader.width, reader.height)


def frames_of(video: Path) -> Iterator[Picture]:
    """Yield the frames of a video; one that cannot be read is an `InputError`."""
    try:
        with VideoReader(video) as reader:
            for frame, _, _ in reader:
                yield frame
    except ClipError as error:
        raise InputError(f"{video} {error}") from error


def fit(picture: Picture, height: int) -> Picture:
    """Scale a picture to a height, keeping its proportions."""
    if picture.shape[0] == height:
        return picture
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    how = cv2.INTER_AREA if height < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)


def over(*pictures: Picture) -> Picture:
    """Put pictures one above the other, filled up with paper to the widest."""
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate([padded(picture, width) for picture in pictures])


def padded(picture: Picture, width: int) -> Picture:
    """Fill a picture up with paper on its right."""
    more = ((0, 0), (0, width - picture.shape[1]), (0, 0))
    return np.pad(picture, more, constant_values=PAPER)


def text_line(text: str, width: int) -> Picture:
    """Return a line of text on paper, no wider than `width`."""
    strip = np.full((STRIP, width, 3), PAPER, np.uint8)
    put_text(strip, text, (4, STRIP - 6), 0.4)
    return strip


def put_text(picture: Picture, text: str, place: tuple[int, int], scale: float) -> None:
    """Write text into a picture; `place` is its lower left corner."""
    black = (0, 0, 0)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, black, 1, cv2.LINE_AA)


def write_picture(path: Path, picture: Picture) -> None:
    """Write one picture as a PNG file, whole or not at all."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    assert done
    write_bytes(path, data.tobytes())


def write_film(path: Path, view: View) -> int:
    """Write pictures as a film (VP9 in MP4), whole or not at all; return how many there were.

    VP9 is what this OpenCV can write and browsers can play.
    """
    folder = temporary_name(path)
    n_written = 0
    try:
        folder.mkdir(parents=True)
        writer: Any = None
        for picture in view.pictures:
            picture = picture[
                : len(picture) // 2 * 2, : picture.shape[1] // 2 * 2
            ]  # as codecs want
            if writer is None:
                writer = _open_film(folder / path.name, view.fps, picture.shape)
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
            n_written += 1
        if writer is None:
            raise InputError("there is no frame to show")
        writer.release()
        (folder / path.name).replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return n_written


def _open_film(path: Path, fps: float, shape: tuple[int, ...]) -> Any:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"vp09"), fps, (shape[1], shape[0]))
    if not writer.isOpened():
        raise InputError("this OpenCV cannot write VP9 films: give a .png file instead")
    return writer


def picture_at(view: View, index: int) -> Picture:
    """Return one picture of a view, counted from 0."""
    picture = next(islice(view.pictures, index, None), None)
    if picture is None:
        raise InputError(f"--frame is {index}; there are pictures 0 to {view.n_pictures - 1}")
    return picture
