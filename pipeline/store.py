"""The file contract: one HDF5 file per clip and product, complete if it exists.

A product is written under a temporary name in its own folder and renamed with `os.replace` when it
is whole, so readers, resumed runs and concurrent processes need no locks. Files use h5py's default
format and gzip or no filter, so that every HDF5 library reads them. Only hard links are followed:
a file of unknown origin cannot make a reader open another one.
"""

import csv
import io
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from cinefeat.pipeline.disk import DiskFile, explained
from cinefeat.pipeline.errors import InputError

SCHEMA = 1
"""Version of the file contract; it rises when attributes or their meaning change."""

_TEMPORARY = ".tmp"
_ABANDONED_SECONDS = 7 * 24 * 3600.0
_GZIP_LEVEL = 4
_CHUNK_BYTES = 256 * 1024


class ProductWriter:
    """Write one product: arrays whole or row by row, then appear under its name at once.

    Leaving the `with` block normally flushes the file to disk and renames it to `path`; leaving it
    by an exception removes the temporary file, and nothing appears.

    Parameters
    ----------
    path : Path
        The product. Missing folders are made.
    attrs : mapping
        Attributes of the file: strings, numbers, or anything that JSON holds (stored as JSON text).
    """

    def __init__(self, path: Path, attrs: Mapping[str, Any]) -> None:
        self.path = path
        self._temporary = temporary_name(path)
        self._attrs = attrs

    def __enter__(self) -> Self:
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._disk = DiskFile(self._temporary, self.path)
        self._file = h5py.File(self._disk, "w")
        try:
            self.set_attrs({"schema": SCHEMA, **self._attrs})
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
            self._disk.close()
            if kind is None:
                self._disk.check()
                with explained(self.path):
                    os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def set_attrs(self, attrs: Mapping[str, Any], name: str = "/") -> None:
        """Set attributes of the file, or of the array or group `name`."""
        target = self._file[name]
        for key, value in attrs.items():
            target.attrs[key] = _attribute(value)

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def write(self, name: str, array: np.ndarray, *, compress: bool = False) -> None:
        """Write one array whole; `name` may contain slashes."""
        array = np.asarray(array)
        _require_finite(name, array)
        if array.dtype.kind == "U":
            self._file.create_dataset(name, data=array.astype(h5py.string_dtype()))
        else:
            self._file.create_dataset(name, data=array, **_filters(array.size if compress else 0))
        self._disk.check()

    def append(self, name: str, rows: np.ndarray, *, compress: bool = False) -> None:
        """Append rows along the first axis; the first call fixes dtype and row shape.

        Large rows (a flow field) are one chunk each; small ones share chunks of about 256 KiB.
        """
        _require_finite(name, rows)
        if name not in self._file:
            row_bytes = max(1, rows.itemsize * int(np.prod(rows.shape[1:])))
            chunk = (max(1, _CHUNK_BYTES // row_bytes), *rows.shape[1:])
            self._file.create_dataset(
                name,
                shape=(0, *rows.shape[1:]),
                maxshape=(None, *rows.shape[1:]),
                dtype=rows.dtype,
                chunks=tuple(max(1, c) for c in chunk),
                **_filters(compress),
            )
        dataset = self._file[name]
        start = len(dataset)
        dataset.resize(start + len(rows), axis=0)
        dataset[start:] = rows
        self._disk.check()


def write_product(path: Path, arrays: Mapping[str, np.ndarray], attrs: Mapping[str, Any]) -> None:
    """Write named arrays and attributes as one product, atomically."""
    with ProductWriter(path, attrs) as product:
        for name, array in arrays.items():
            product.write(name, array)


def read_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read the named arrays of a product, or all of them.

    Raises
    ------
    InputError
        If the file is not readable HDF5, lacks a name, or reaches an array through a soft or
        external link.
    """
    with open_product(path) as file:
        wanted = array_names(file) if names is None else names
        return {name: _value(dataset(file, name)) for name in wanted}


def read_attrs(path: Path) -> dict[str, Any]:
    """Read the attributes of a product, JSON texts as they are."""
    with open_product(path) as file:
        return {key: _plain(value) for key, value in file.attrs.items()}


def open_product(path: Path) -> h5py.File:
    """Open a product for reading; an unreadable file is an `InputError` that names it."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if not path.exists():
            raise InputError(f"{path} does not exist") from error
        raise InputError(f"{path} is not a readable HDF5 file: {error}") from error


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return the array `name`, reached through hard links alone."""
    node: Any = file
    for part in name.strip("/").split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            raise InputError(f"{file.filename} has no array {name!r}; it has {array_names(file)}")
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{file.filename}: {name!r} is a link to elsewhere; not followed")
        node = node[part]
    if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external:
        raise InputError(f"{file.filename}: {name!r} is not an array stored in the file itself")
    return node


def array_names(group: h5py.Group, prefix: str = "") -> list[str]:
    """Return the names of all arrays below `group` that hard links reach, in the file's order."""
    names: list[str] = []
    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            continue
        node = group[key]
        names += array_names(node, f"{prefix}{key}/") if isinstance(node, h5py.Group) else []
        names += [prefix + key] if isinstance(node, h5py.Dataset) else []
    return names


def iter_rows(path: Path, name: str, block: int = 64) -> Iterator[np.ndarray]:
    """Yield the rows of one array one by one, reading `block` rows at a time."""
    with open_product(path) as file:
        rows = dataset(file, name)
        for start in range(0, len(rows), block):
            yield from rows[start : start + block]


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically; a file that holds the same text is left alone."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that is not a product atomically; it is on the disk before it has its name."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def csv_text(rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as CSV text with Unix line endings."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def temporary_name(path: Path) -> Path:
    """Return the name under which this process writes `path` before renaming it."""
    return path.with_name(f".{path.name}.{_HOST}.{_process(os.getpid())}{_TEMPORARY}")


def remove_stale_temporaries(folder: Path, *, below: bool = True) -> int:
    """Remove what dead processes left half-written in `folder`; return how much that was.

    Folders below it are cleaned as well, unless `below` is false. Whether a process lives can be
    told on its own host alone: what another host left goes when nothing has been written to it for
    a week. Other processes may clean at the same time.
    """
    removed = 0
    for place, folders, files in os.walk(folder):
        stale = [name for name in (*folders, *files) if _is_stale(Path(place, name))]
        for name in stale:
            path = Path(place, name)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        removed += len(stale)
        folders[:] = [name for name in folders if below and not name.endswith(_TEMPORARY)]
    return removed


def _is_stale(path: Path) -> bool:
    if not (path.name.startswith(".") and path.name.endswith(_TEMPORARY)):
        return False
    words = path.name.removesuffix(_TEMPORARY).rsplit(".", 2)
    if len(words) < 3:
        return False  # not a name of ours: leave it alone
    _, host, process = words
    if host == _HOST:
        return not _is_alive(process)
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
    except FileNotFoundError:
        return False


def _host() -> str:
    """Return a name of where process numbers mean what they mean here: host and PID namespace."""
    name = socket.gethostname().replace(".", "-")
    try:
        return f"{name}-{os.stat('/proc/self/ns/pid').st_ino:x}"
    except OSError:
        return name


_HOST = _host()


def _process(pid: int) -> str:
    """Return a name of a living process that no later one gets: its number and its start."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        return f"{pid}-0"
    state, start = fields[0], fields[19]
    return "" if state in "ZX" else f"{pid}-{start}"  # a zombie has stopped writing


def _is_alive(process: str) -> bool:
    number = process.partition("-")[0]
    if not number.isdigit():
        return True  # not a name of ours: leave it alone
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return _process(int(number)) in (process, f"{number}-0")  # the start is not shown everywhere


def _require_finite(name: str, array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"array {name!r} holds NaN or infinity: a bug, not a clip's fault")


def _filters(compress: int | bool) -> dict[str, Any]:
    return {"compression": "gzip", "compression_opts": _GZIP_LEVEL} if compress else {}


def _attribute(value: Any) -> Any:
    if isinstance(value, str | int | float | bool | np.generic):
        return value
    return json.dumps(value, sort_keys=True)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _value(node: h5py.Dataset) -> np.ndarray:
    return node.asstr()[...] if h5py.check_string_dtype(node.dtype) else node[...]
