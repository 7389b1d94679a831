"""Videos: streaming their frames with times, and probing what a file really holds.

OpenCV's FFmpeg backend does the decoding: with one thread and no hardware, so that a frame is the
same on every machine; of the first video stream; colours as 8 bit RGB. Where a packet is damaged,
decoding goes on with the next, and the frames' times show the gap. OpenCV scales frames of another
size to that of the first.
"""

import hashlib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cinefeat.pipeline.errors import ClipError

# FFmpeg and OpenCV write to standard error what is said here by statuses and reasons.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_FATAL)

# Reads that fail in a row before a video counts as over: one damaged packet fails one read.
_PATIENCE = 64
# A duration in a header covers every stream: sound may end a little after the last frame.
_SLACK_SECONDS = 1.0
_DECODE = [cv2.CAP_PROP_N_THREADS, 1, cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_NONE]
_DEMUX = [cv2.CAP_PROP_FORMAT, -1]
_CODEC_NAMES = {"AV01": "AV1", "av01": "AV1", "VVC1": "H.266", "vvc1": "H.266"}


class VideoFrame(NamedTuple):
    """One frame of a video.

    Parameters
    ----------
    frame : ndarray of shape (H, W, 3), uint8
        RGB, upright: the container's rotation is applied. Nobody else holds or changes it.
    index : int
        Position among the decoded frames, from 0.
    seconds : float
        When the frame is shown, from the start of the stream; increases from frame to frame.
    """

    frame: NDArray[np.uint8]
    index: int  # type: ignore[assignment]  # the name is worth more than tuple.index
    seconds: float


class VideoReader:
    """Stream the frames of a video, once, in the order in which they are shown.

    Times come from the container. A frame for which it has none, or none later than the frame
    before, follows that frame by the last interval known (``1 / fps`` before any is known, 0 s for
    the very first frame); `times_filled` counts these. Frames are one at a time in memory.

    Parameters
    ----------
    path : Path or str
        The video.

    Attributes
    ----------
    frames_declared : int or None
        Number of frames by the container's header, which may be an estimate, or None.
    frames_decoded, times_filled, gaps : int
        Counts so far, final after the last frame; `gaps` are places where damage was passed over.
    fps : float or None
        Frames per second by the header, or None.
    width, height : int
        Of a frame in pixels, after rotation.
    rotation : int
        Degrees clockwise, 0 to 359, that the container asks for and that is applied.
    codec : str
        Four-character code of the stream.

    Raises
    ------
    ClipError
        On opening: no file, an empty one, or nothing that FFmpeg takes for a video. While
        iterating: no frame can be decoded.

    Examples
    --------
    ::

        with VideoReader("walk.avi") as video:
            for frame, index, seconds in video:
                ...
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._capture = _open(self._path)
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        declared = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.frames_declared = int(declared) if 1 <= declared < 2**53 else None
        self.fps = fps if 0 < fps < math.inf else None
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.rotation = int(self._capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        self.codec = _codec(self._capture)
        self.frames_decoded = 0
        self.times_filled = 0
        self.gaps = 0
        self._is_started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[VideoFrame]:
        if self._is_started:
            raise RuntimeError(f"{self._path} is read once per VideoReader: open another")
        self._is_started = True
        return self._frames()

    def _frames(self) -> Iterator[VideoFrame]:
        before, interval = -math.inf, 1 / self.fps if self.fps else 0.04
        for bgr, is_after_gap in _read_on(self._capture):
            self.gaps += is_after_gap
            seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not before < seconds < math.inf:
                seconds = before + interval if self.frames_decoded else 0.0
                self.times_filled += 1
            elif self.frames_decoded:
                interval = seconds - before
            before = seconds
            index = self.frames_decoded
            self.frames_decoded += 1
            yield VideoFrame(_to_rgb(bgr), index, seconds)
        if self.frames_decoded == 0:
            raise ClipError(self._describe_no_frame())

    def _describe_no_frame(self) -> str:
        if self.codec in _CODEC_NAMES:
            return _describe_codec(self.codec)
        return f"no frame could be decoded: codec {self.codec!r}, damaged or not supported"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a file holds; the fields are those of `cinefeat.pipeline.manifest.Clip`."""

    frames_declared: int | None = None
    frames_decoded: int | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    duration: float | None = None
    codec: str = ""
    sha256: str = ""
    bytes: int | None = None
    mtime_ns: int | None = None
    status: str = ""
    reason: str = ""


def probe(path: Path | str) -> Probe:
    """Decode a video once, count what is there, and say whether it is whole.

    ``unreadable``
        It cannot be opened, or no frame can be decoded.
    ``short``
        It has good frames, but not all: fewer frames than pictures in the file (damage inside);
        or fewer than a header that counts them says (AVI, MP4, MOV: cut off, or trimmed by an
        edit list); or, where the header has only a duration (Matroska, WebM, MPEG, fragmented
        MP4), the last frame ends more than a second before it.
    ``ok``
        Anything else. A file that declares neither count nor duration is ``ok`` when all its
        pictures can be decoded, because nothing tells whether more were meant.

    Parameters
    ----------
    path : Path or str
        The file.

    Returns
    -------
    probe : Probe
        `reason` is a phrase in every status. `duration` is the time from the first frame to the
        last, and one mean interval (``1 / fps`` for a single frame).

    Notes
    -----
    Pictures in the file are counted without decoding. Placeholders of one byte at most, invisible
    VP8 frames and pictures before time 0 (cut by an edit list) show nothing and do not count.
    Damage that the decoder conceals without an error is not seen here.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            found = os.fstat(file.fileno())
    except OSError as error:
        return Probe(status="unreadable", reason=f"cannot be read: {error.strerror}")
    known = Probe(sha256=sha256, bytes=found.st_size, mtime_ns=found.st_mtime_ns)
    try:
        with VideoReader(path) as video:
            return _decode_all(video, path, known)
    except ClipError as error:
        return replace(known, status="unreadable", reason=str(error))


@cache
def backend_versions() -> dict[str, str]:
    """Return the versions of OpenCV and of the FFmpeg in it (its libavcodec), by name."""
    line = re.search(r"avcodec:\s+YES \(([\d.]+)\)", cv2.getBuildInformation())
    return {"opencv": cv2.__version__, "ffmpeg": f"avcodec {line[1]}" if line else "none"}


def _open(path: Path) -> cv2.VideoCapture:
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise ClipError(f"cannot be read: {error.strerror}") from error
    if is_empty:
        raise ClipError("the file is empty")
    capture = _capture(path, _DECODE)
    if not capture.isOpened():
        packets = _capture(path, _DEMUX)
        if packets.isOpened():
            raise ClipError(_describe_codec(_codec(packets)))
        raise ClipError("not a video that FFmpeg can open: another kind of file, or cut or damaged")
    return capture


def _capture(path: Path, settings: list[int]) -> cv2.VideoCapture:
    # FFmpeg takes what stands before a colon for a protocol, except in an absolute path
    return cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG, settings)


def _codec(capture: cv2.VideoCapture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(8, "little", signed=True)[:4]
    return "".join(chr(byte) for byte in code if 32 < byte < 127)


def _describe_codec(codec: str) -> str:
    name = _CODEC_NAMES.get(codec, "codec")
    return (
        f"{name} ({codec}) cannot be decoded by this OpenCV (FFmpeg's {backend_versions()['ffmpeg']}"
        "): re-encode the video, for example to H.264"
    )


def _read_on(capture: cv2.VideoCapture) -> Iterator[tuple[NDArray[np.uint8], bool]]:
    """Yield what the capture reads, and whether reads failed just before it.

    Goes on past damage until too many reads fail in a row.
    """
    failures = 0
    while failures < _PATIENCE:
        is_read, array = capture.read()
        if is_read:
            yield cast(NDArray[np.uint8], array), failures > 0
        failures = 0 if is_read else failures + 1


def _to_rgb(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cast(NDArray[np.uint8], cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _decode_all(video: VideoReader, path: Path, known: Probe) -> Probe:
    first = last = 0.0
    try:
        for _, index, seconds in video:
            first, last = (first if index else seconds), seconds
    except ClipError as error:
        duration, status, reason = None, "unreadable", str(error)
    else:
        n = video.frames_decoded
        interval = (last - first) / (n - 1) if n > 1 else 1 / video.fps if video.fps else None
        duration = None if interval is None else last - first + interval
        status, reason = _judge(video, path, last + (interval or 0))
    return replace(
        known,
        frames_declared=video.frames_declared,
        frames_decoded=video.frames_decoded,
        fps=video.fps,
        width=video.width,
        height=video.height,
        rotation=video.rotation,
        duration=duration,
        codec=video.codec,
        status=status,
        reason=reason,
    )


def _judge(video: VideoReader, path: Path, end_seconds: float) -> tuple[str, str]:
    """Return status and reason of a file of which at least one frame was decoded."""
    decoded, declared = video.frames_decoded, video.frames_declared
    is_counted = _counts_frames(path)
    n_packets, n_pictures = _count_packets(video, path) or (decoded, decoded)
    if not video.gaps and is_counted and declared and n_packets < declared:
        what = f"{n_packets} of the {declared} declared frames are in the file"
        return "short", f"cut off or trimmed: {what}, {decoded} could be decoded"
    if (
        not is_counted
        and declared
        and video.fps
        and declared / video.fps > end_seconds + _SLACK_SECONDS
    ):
        what = f"the last frame ends at {end_seconds:.1f} of {declared / video.fps:.1f} s"
        return "short", f"cut off, or another stream is longer: {what}"
    expected = max(n_pictures, declared or 0) if is_counted and video.gaps else n_pictures
    if decoded < expected:
        return "short", f"damaged: {decoded} of its {expected} frames could be decoded"
    if declared is None:
        return "ok", f"all {decoded} frames decoded; the container declares no number"
    if is_counted and decoded < declared:
        n_empty = declared - decoded
        return "ok", f"all {decoded} frames decoded; {n_empty} of {declared} declared are empty"
    if decoded == declared:
        return "ok", f"all {decoded} declared frames decoded"
    return "ok", f"all {decoded} frames decoded; the {declared} declared are an estimate"


def _count_packets(video: VideoReader, path: Path) -> tuple[int, int] | None:
    """Count the stream's packets, and those that hold a picture to show; None if not possible."""
    capture = _capture(path, _DEMUX)
    is_same_stream = (
        capture.isOpened()
        and _codec(capture) == video.codec
        and {capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)}
        == {video.width, video.height}
    )
    if not is_same_stream:
        return None
    n_packets = n_pictures = 0
    for packet, _ in _read_on(capture):
        data = packet.reshape(-1)
        is_invisible = video.codec == "VP80" and not data[0] & 0x10  # RFC 6386, 9.1: show_frame
        before_start = capture.get(cv2.CAP_PROP_POS_MSEC) < 0
        n_packets += 1
        n_pictures += len(data) > 1 and not is_invisible and not before_start
    return n_packets, n_pictures


def _counts_frames(path: Path) -> bool:
    """Whether the header holds a number of frames: AVI, and MP4 or MOV without fragments."""
    with path.open("rb") as file:
        if file.read(4) == b"RIFF":
            return True
        file.seek(0)
        kinds = set(_box_kinds(file))
    return b"moov" in kinds and b"moof" not in kinds


def _box_kinds(file: BinaryIO) -> Iterator[bytes]:
    """Yield the kinds of the top-level boxes of an MP4 or MOV (ISO 14496-12, 4.2)."""
    while len(header := file.read(8)) == 8 and header[4:].isalnum():
        size, start = int.from_bytes(header[:4], "big"), 8
        yield header[4:]
        if size == 1:
            size, start = int.from_bytes(file.read(8), "big"), 16
        if size < start:
            return
        file.seek(size - start, os.SEEK_CUR)
