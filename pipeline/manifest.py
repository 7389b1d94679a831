"""The manifest: a CSV file with one row per clip, read and written whole.

Columns: ``clip,path,label,group,split``, then the probe of the video. A hand-written file needs
only the first three. ``split`` is described in `cinefeat.pipeline.protocol`; the probe in
`cinefeat.pipeline.video`.
"""

import csv
import gc
import io
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from cinefeat.pipeline.disk import explain
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.store import temporary_name

if TYPE_CHECKING:
    from _csv import Reader

STATUSES = ("", "ok", "short", "unreadable")

# A part becomes a file name with a suffix and, while it is written, with the host's name as well.
_MAX_PART_BYTES = 150
_ID_RULES = (
    (re.compile(r"^$"), "must not be empty"),
    (re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"), "must not hold a control character"),
    (re.compile(r"[\ud800-\udfff]"), "must be valid Unicode"),
    (re.compile(r"\\"), "must not hold a backslash"),
    (re.compile(r"^/"), "must be relative"),
    (re.compile(r"//|/$"), "must not have an empty part"),
    # '.' and '..' leave the folder, and hidden names are a store's unfinished files
    (re.compile(r"(?:^|/)\."), "must not have a part that starts with '.'"),
    (re.compile(r"\.h5(?:/|$)"), "must not have a part that ends in '.h5'"),
)
# Nearly every id is plain, breaks no rule and need not be held against each.
_PLAIN_ID = re.compile(r"\w[\w -]{0,40}(?:/\w[\w -]{0,40})*", re.ASCII).fullmatch
_ROWS_PER_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of a manifest: a video with its label, and what was found when it was probed.

    Unknown numbers are None and unknown texts are empty.

    Parameters
    ----------
    id : str
        Name of everything that is computed from the clip: a relative path without extension.
    path : Path
        The video; absolute.
    label, group, split : str
        The action; who or what must not be on both sides of a fold; and the side it is on.
    frames_declared, frames_decoded : int or None
        What the container says, and what came out of the decoder.
    fps : float or None
        Frames per second, as the container declares it. Times never come from it.
    width, height : int or None
        Of a frame in pixels, after rotation.
    rotation : int or None
        Degrees clockwise, as stored in the container; already applied to the frames.
    duration : float or None
        Seconds, from the frames' own times.
    codec, sha256 : str
        Four-character code of the video stream; digest of the file in hexadecimal.
    bytes, mtime_ns : int or None
        Size of the file and its time of modification, to tell whether it changed.
    status, reason : str
        ``ok``, ``short``, ``unreadable`` or empty (never probed), and why.
    """

    id: str
    path: Path
    label: str
    group: str = ""
    split: str = ""
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


COLUMNS = ("clip", *(field.name for field in fields(Clip)[1:]))
_REQUIRED = ("clip", "path", "label")


def check_id(clip_id: str) -> None:
    """Refuse a clip id that is not a safe relative path.

    Raises
    ------
    InputError
        Naming the id and the rule that it breaks.

    Examples
    --------
    >>> check_id("walk/daria, 2nd take")
    >>> check_id("../daria")
    Traceback (most recent call last):
    cinefeat.pipeline.errors.InputError: clip id '../daria' must not have a part that starts with '.'
    """
    for pattern, rule in _ID_RULES:
        if pattern.search(clip_id):
            raise InputError(f"clip id {clip_id!r} {rule}")
    if any(len(part.encode()) > _MAX_PART_BYTES for part in clip_id.split("/")):
        rule = f"must not have a part of more than {_MAX_PART_BYTES} bytes"
        raise InputError(f"clip id {clip_id!r} {rule}")


def read_manifest(path: Path | str) -> tuple[Clip, ...]:
    """Read a manifest, in the order of its rows.

    The file is CSV in UTF-8, with or without a byte order mark, with any line endings. Blank lines
    are skipped; spaces around labels, groups and splits are dropped. A relative video path starts
    at the manifest's folder. Whether the videos exist is not looked at.

    Raises
    ------
    InputError
        If the file cannot be read, a column is unknown, twice there or missing, a row has
        another number of fields than the header, an id is unsafe or comes twice, a label or a
        path is empty, or a value of the probe is of the wrong kind. The message names the line.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file, _no_collection():
            reader = csv.reader(file, strict=True)
            clips = tuple(_read_rows(reader, path))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}: check its quotes") from error
    except OSError as error:
        raise InputError(f"cannot read the manifest {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the manifest {path} is not UTF-8 text: save it as UTF-8") from error
    if not clips:
        raise InputError(f"the manifest {path} has no row below its header: add a row per clip")
    return clips


def write_manifest(path: Path | str, clips: Iterable[Clip]) -> None:
    """Write a manifest whole or not at all; leave the file alone where nothing changed.

    Videos below the manifest's folder get paths relative to it, so that the folder can be moved;
    others get absolute paths. The folder is created where it is missing.

    Raises
    ------
    InputError
        If an id is unsafe or comes twice, a label is empty, a path is not valid Unicode, or
        the file cannot be written.
    """
    path = Path(path)
    content = _render(tuple(clips), path)
    try:
        if path.is_file() and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    except OSError as error:
        reason = explain(error, path) or f"cannot write the manifest {path}: {error.strerror}"
        raise InputError(reason) from error


@contextmanager
def _no_collection() -> Iterator[None]:
    """Spare the garbage collector the growing heap of rows, none of which is part of a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()  # nor need it look through them ever after
    finally:
        if was_on:
            gc.enable()


def _read_rows(reader: "Reader", path: Path) -> Iterator[Clip]:
    """Yield the clips, parsed block by block and column by column: twice as fast as by cell."""
    header = [name.strip() for name in next(reader, [])]
    _check_header(header, path)
    parsers = _parsers(header, Path(os.path.abspath(path)).parent)
    at = header.index("clip")
    seen: set[str] = set()
    while block := list(islice(reader, _ROWS_PER_BLOCK)):
        n_seen, rows = len(seen), [row for row in block if row]
        try:
            clips = _parse(parsers, rows)
            seen.update(row[at] for row in rows)
            is_good = len(seen) == n_seen + len(clips)
        except (ValueError, InputError):
            is_good = False
        if not is_good:
            raise _first_error(parsers, path)
        yield from clips


def _parse(parsers: "_Parsers", rows: Sequence[Sequence[str]]) -> list[Clip]:
    values: dict[str, Iterable[object]] = {
        field.name: repeat(field.default) for field in fields(Clip)
    }
    if rows:
        cells = zip(parsers, zip(*rows, strict=True), strict=True)
        values |= {name: _parse_column(parsers[name], column) for name, column in cells}
        values["id"] = values.pop("clip")
    clips = [Clip.__new__(Clip) for _ in rows]
    for name, column in values.items():
        # through the slot itself: a frozen record's own __init__ takes four times as long
        deque(map(getattr(Clip, name).__set__, clips, column), maxlen=0)
    return clips


def _parse_column(parse: Callable[[str], object], column: Sequence[str]) -> list[object]:
    if parse is _parse_count and all(column):
        together = "".join(column)
        if together.isascii() and together.isdigit():
            return list(map(int, column))
    return list(map(parse, column))


def _first_error(parsers: "_Parsers", path: Path) -> InputError:
    """Read a manifest that has an error again, row by row, and say where it is and what."""
    at = list(parsers).index("clip")
    seen: set[str] = set()
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        next(reader)
        for row in filter(None, reader):
            error = _row_error(parsers, row)
            if not error and row[at] in seen:
                error = f"clip id {row[at]!r} comes twice: every id must be unique"
            if error:
                return InputError(f"{path}, line {reader.line_num}: {error}")
            seen.add(row[at])
    return InputError(f"{path} changed while it was read: try again")


def _row_error(parsers: "_Parsers", row: Sequence[str]) -> str:
    if len(row) != len(parsers):
        return (
            f"the row has {len(row)} fields where the header has {len(parsers)}: "
            "put quotes around a value that holds a comma"
        )
    for (name, parse), value in zip(parsers.items(), row, strict=True):
        try:
            parse(value)
        except ValueError as error:
            return f"{name} is {value!r}: it must be {error}"
        except InputError as error:
            return str(error)
    return ""


def _check_header(header: Sequence[str], path: Path) -> None:
    for name in header:
        if name not in COLUMNS:
            rule = f"unknown column {name!r}: remove or rename it (known: {', '.join(COLUMNS)})"
            raise InputError(f"{path}, line 1: {rule}")
        if header.count(name) > 1:
            raise InputError(f"{path}, line 1: column {name!r} comes twice: keep one")
    for name in _REQUIRED:
        if name not in header:
            found = ", ".join(header) or "nothing"
            rule = f"column {name!r} is missing: the header must name it (found {found})"
            raise InputError(f"{path}, line 1: {rule}")


_Parsers = dict[str, Callable[[str], object]]


def _parsers(header: Sequence[str], folder: Path) -> _Parsers:
    """Return the function from text to value of every column in `header`, in its order."""
    table: _Parsers = dict.fromkeys(COLUMNS, _parse_count)
    table |= dict.fromkeys(("group", "split", "codec", "reason"), _memo(str.strip))
    table |= dict.fromkeys(("fps", "duration"), _memo(_parse_number))
    table |= {"label": _memo(_parse_label), "status": _memo(_parse_status)}
    place = lru_cache(maxsize=4096)(folder.joinpath)
    table |= {"clip": _parse_id, "path": partial(_parse_path, place), "sha256": str}
    return {name: table[name] for name in header}


def _memo(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Keep equal values in memory once: a column of a million rows holds few different ones."""
    return lru_cache(maxsize=4096)(parse)


def _parse_id(value: str) -> str:
    if not _PLAIN_ID(value):
        check_id(value)
    return value


def _parse_path(place: Callable[[str], Path], value: str) -> Path:
    if not value or "\0" in value:
        raise ValueError("the path of a video")
    parent, slash, name = value.rpartition("/")
    return place(parent + slash) / name  # many videos share a folder, which is the longer part


def _parse_label(value: str) -> str:
    label = value.strip()
    if not label:
        raise ValueError("the action in the clip, not empty")
    return label


def _parse_status(value: str) -> str:
    if value not in STATUSES:
        raise ValueError(f"one of {', '.join(STATUSES[1:])}, or empty")
    return value


def _parse_count(value: str) -> int | None:
    if value == "":
        return None
    if not (value.isascii() and value.isdigit()):
        raise ValueError("a whole number of at least 0, or empty")
    return int(value)


def _parse_number(value: str) -> float | None:
    if value == "":
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ValueError("a number of at least 0, or empty")
    return number


def _render(clips: Sequence[Clip], path: Path) -> bytes:
    folder = os.path.join(os.path.abspath(path.parent), "")
    seen: set[str] = set()
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip in clips:
        check_id(clip.id)
        if clip.id in seen:
            raise InputError(f"clip id {clip.id!r} comes twice: every id must be unique")
        if not clip.label.strip():
            raise InputError(f"clip {clip.id!r} has no label: every clip needs one")
        seen.add(clip.id)
        video = os.path.abspath(clip.path).removeprefix(folder)
        rest = (getattr(clip, name) for name in COLUMNS[2:])
        writer.writerow([clip.id, video, *("" if value is None else value for value in rest)])
    try:
        return text.getvalue().encode()
    except UnicodeEncodeError as error:
        bad = ascii(error.object[error.start - 40 : error.end])
        raise InputError(f"a manifest is UTF-8 text, which cannot hold {bad}: rename it") from error


def _replace(path: Path, content: bytes) -> None:
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
