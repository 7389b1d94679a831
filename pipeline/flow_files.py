"""Flow as the files that other programs read: two grey images a field, or one .flo file.

The images are those of dense_flow, TSN and mmaction2: ``flow_x_00001.jpg`` and ``flow_y_00001.jpg``
in a folder per clip, numbered from 0 or 1, codes ``round(255 (v + bound) / (2 bound))``
(`cinefeat.extractors.encode_tsn`). A .flo file (Middlebury) holds one field as floats:
``flow_00001.flo``. Which stage reads or writes them is not known here.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.store import temporary_name

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Format = Literal["jpg", "png", "flo"]

FLO_MAGIC = b"PIEH"  # the float32 202021.25, low byte first
FLO_UNKNOWN = 1e9  # px; what Middlebury's files write for pixels without ground truth is above
JPEG_QUALITY = 95  # OpenCV's default, which dense_flow writes
_NAME = re.compile(r"flow_(?:([xy])_)?(\d+)\.(jpg|png|flo)")


@dataclass(frozen=True)
class FlowLayout:
    """How the files of a clip are written.

    Parameters
    ----------
    format : {"jpg", "png", "flo"}
    start_index : {0, 1}
        Number of the first field: 1 for TSN and dense_flow, 0 for denseflow.
    quality : int
        Of JPEG, 1 to 100.
    """

    format: Format
    start_index: int = 1
    quality: int = JPEG_QUALITY


@dataclass(frozen=True)
class FlowFolder:
    """The flow files of one clip, looked through and found whole.

    Parameters
    ----------
    path : Path
    format : {"jpg", "png", "flo"}
    first : int
        Number of the first field, 0 or 1.
    n_digits : int
        Digits of a number.
    n_fields : int
    size : (int, int)
        H and W of every field.
    """

    path: Path
    format: str
    first: int
    n_digits: int
    n_fields: int
    size: tuple[int, int]

    @property
    def holds_codes(self) -> bool:
        """Whether the files hold 8-bit codes rather than pixels."""
        return self.format != "flo"

    def read(self, index: int) -> Uint8 | Float32:
        """Read field `index`, from 0: (H, W, 2) uint8 codes or float32 pixels, x then y.

        Raises
        ------
        ClipError
            If a file is damaged, or of another size than the first.
        """
        field = _read_field(self.path, self.format, f"{index + self.first:0{self.n_digits}d}")
        if field.shape[:2] != self.size:
            (height, width), (h, w) = self.size, field.shape[:2]
            raise ClipError(
                f"{self.path}: field {index + self.first} is of {w}x{h}, the first of "
                f"{width}x{height}; all fields of a clip have one size"
            )
        return field


def encode_flo(flow: Float32) -> bytes:
    """Return the bytes of a .flo file: magic, W, H, then x and y of each pixel, row by row.

    Parameters
    ----------
    flow : ndarray of shape (H, W, 2), float32
        Pixels. The file holds the same numbers, little-endian.

    Examples
    --------
    >>> encode_flo(np.zeros((1, 2, 2), np.float32))[:12].hex(" ", 4)
    '50494548 02000000 01000000'
    """
    height, width = flow.shape[:2]
    header = np.array([width, height], "<i4").tobytes()
    return FLO_MAGIC + header + np.ascontiguousarray(flow, "<f4").tobytes()


def decode_flo(data: bytes) -> Float32:
    """Return the field of a .flo file: (H, W, 2) float32.

    Raises
    ------
    ValueError
        If the bytes are not a whole .flo file, or hold unknown pixels (Middlebury marks them by
        values above 1e9), NaN or infinity.
    """
    if data[:4] != FLO_MAGIC or len(data) < 12:
        raise ValueError("does not begin as a .flo file does; is it flow?")
    width, height = (int(n) for n in np.frombuffer(data, "<i4", 2, offset=4))
    n_bytes = 12 + 8 * width * height
    if width < 1 or height < 1 or len(data) != n_bytes:
        raise ValueError(f"has {len(data)} bytes; {width}x{height} flow has {n_bytes}: cut short?")
    flow = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)
    if not (np.abs(flow) < FLO_UNKNOWN).all():
        raise ValueError("has unknown pixels; flow must be known everywhere")
    return flow


def encode_image(codes: Uint8, layout: FlowLayout) -> bytes:
    """Return one component (H, W) as the bytes of a grey JPEG or PNG file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, layout.quality] if layout.format == "jpg" else []
    done, data = cv2.imencode(f".{layout.format}", codes, options)
    if not done:
        raise RuntimeError(f"OpenCV cannot write .{layout.format} files of shape {codes.shape}")
    return data.tobytes()


def decode_image(data: bytes) -> Uint8:
    """Return the grey image (H, W) uint8 of a JPEG or PNG file.

    Raises
    ------
    ValueError
        If the bytes are not an image, or one of several channels or of 16 bits.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if image is None:
        raise ValueError("is not an image that OpenCV can read")
    if image.ndim != 2 or image.dtype != np.uint8:
        raise ValueError(
            f"has shape {image.shape} and dtype {image.dtype}; flow images are grey, of 8 bits"
        )
    return np.asarray(image, np.uint8)


def write_flow_folder(folder: Path, fields: Iterable[NDArray], layout: FlowLayout) -> int:
    """Write the fields of one clip as files; the folder appears when it is whole.

    Parameters
    ----------
    folder : Path
        An older one is replaced.
    fields : iterable of ndarray of shape (H, W, 2)
        uint8 codes for images, float32 pixels for .flo.
    layout : FlowLayout

    Returns
    -------
    int
        Fields written.
    """
    temporary = temporary_name(folder)
    temporary.mkdir(parents=True)
    n_fields = 0
    try:
        for field in fields:
            _write_field(temporary, layout, f"{n_fields + layout.start_index:05d}", field)
            n_fields += 1
        _replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return n_fields


def _write_field(folder: Path, layout: FlowLayout, number: str, field: NDArray) -> None:
    names = _names(layout.format, number)
    if layout.format == "flo":
        (folder / names[0]).write_bytes(encode_flo(field))
        return
    for component, name in enumerate(names):
        codes = np.ascontiguousarray(field[..., component])
        (folder / name).write_bytes(encode_image(codes, layout))


def _replace_folder(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; what lay there is set aside whole, and removed afterwards."""
    old = temporary_name(folder.with_name(f"{folder.name}.old"))
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, old)
    os.rename(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def open_flow_folder(folder: Path) -> FlowFolder:
    """Look through the flow files of one clip; files of other names are passed over.

    Raises
    ------
    ClipError
        If there are none, or of several formats, or one of a pair is missing, or the numbers do
        not run from 0 or 1 without a gap.
    """
    names = set(os.listdir(folder)) if folder.is_dir() else set()
    matches = [match for name in names if (match := _NAME.fullmatch(name))]
    if not matches:
        raise ClipError(f"{folder} has no files such as flow_x_00001.jpg or flow_00001.flo")
    (kind, n_digits), *others = {(match[3], len(match[2])) for match in matches}
    if others:
        raise ClipError(f"{folder} has flow files named in several ways; keep those of one program")
    numbers = {int(match[2]) for match in matches}
    first = min(*numbers, 1)
    for number in range(first, first + len(numbers)):
        for name in _names(kind, f"{number:0{n_digits}d}"):
            if name not in names:
                raise ClipError(f"{folder} has no {name}; numbers run from 0 or 1 without a gap")
    height, width = _read_field(folder, kind, f"{first:0{n_digits}d}").shape[:2]
    return FlowFolder(folder, kind, first, n_digits, len(numbers), (height, width))


def _names(kind: str, number: str) -> tuple[str, ...]:
    """Return the names of the files of one field."""
    if kind == "flo":
        return (f"flow_{number}.flo",)
    return (f"flow_x_{number}.{kind}", f"flow_y_{number}.{kind}")


def _read_field(folder: Path, kind: str, number: str) -> Uint8 | Float32:
    parts = [_read(folder / name) for name in _names(kind, number)]
    if len(parts) == 1:
        return parts[0]
    x, y = parts
    if x.shape != y.shape:
        raise ClipError(f"{folder}: the x and y images of field {int(number)} differ in size")
    field: Uint8 = np.stack([x, y], axis=-1)
    return field


def _read(path: Path) -> Uint8 | Float32:
    try:
        data = path.read_bytes()
        return decode_flo(data) if path.suffix == ".flo" else decode_image(data)
    except (OSError, ValueError) as error:
        raise ClipError(f"{path} {error}") from error
