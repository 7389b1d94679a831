"""What a disk can do to a store: fill up, refuse, or not rename; each told in one sentence.

HDF5 must not see a write fail: it then leaves the file open and crashes when the process ends. So
its files are written through `DiskFile`, which keeps the error to itself until it can be told.
"""

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cinefeat.pipeline.errors import InputError

_AGAIN = "and run the same line again: what is done stays done"
# what the system says -> what to do; other errors of files are bugs
_REMEDIES = {
    errno.ENOSPC: f"free some space {_AGAIN}",
    errno.EDQUOT: f"free some of the quota {_AGAIN}",
    errno.EROFS: "name a folder that can be written to",
    errno.EACCES: f"allow it, or name another folder, {_AGAIN}",
    errno.EPERM: f"allow it, or name another folder, {_AGAIN}",
    errno.EIO: f"check the disk {_AGAIN}",
    errno.ESTALE: f"mount it anew {_AGAIN}",
    errno.EFBIG: "allow larger files (ulimit -f), or name another folder",
    errno.ENOTDIR: "name a folder, not a file",
    errno.EEXIST: "name a folder, not a file",  # where a folder was to be made
    errno.EISDIR: "name a file, not a folder",
}


def explain(error: OSError, path: Path | str | None = None) -> str:
    """Return in one sentence what went wrong and what to do, or "" for an error of the program."""
    if error.errno not in _REMEDIES:
        return ""
    where = path or error.filename or "the store"
    return f"cannot use {where}: {os.strerror(error.errno)}: {_REMEDIES[error.errno]}"


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the disk refuses within the block into an `InputError` about `path`."""
    try:
        yield
    except OSError as error:
        if sentence := explain(error, path):
            raise InputError(sentence) from error
        raise


class DiskFile(io.RawIOBase):
    """A new file for HDF5 to write, of which no operation fails.

    When the disk refuses a write, the file keeps the error, and in memory all that is written from
    then on: HDF5 closes in peace. Whoever writes calls `check` after every block, and at the end.

    Parameters
    ----------
    path : Path
        The file.
    name : Path
        What the file will be called when it is done; errors name that.
    """

    def __init__(self, path: Path, name: Path) -> None:
        self._name = name
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._error: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []
        self._position = self._size = 0

    def check(self) -> None:
        """Tell of the first write that the disk refused.

        Raises
        ------
        InputError
            If there was one; OSError, if it was for a reason that no user can mend.
        """
        if self._error is not None:
            with explained(self._name):
                raise self._error

    def close(self) -> None:
        """Close the file; by then everything that was written is on the disk."""
        if self.closed:
            return
        super().close()
        # a rename may reach the disk before the data it names: after a power cut the file would
        # be empty
        self._try(os.fsync, self._file)
        self._try(os.close, self._file)

    def _try(self, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            function(*arguments)
        except OSError as error:
            self._error = self._error or error

    def write(self, data: Any) -> int:
        """Write bytes at the position."""
        view = memoryview(data).cast("B")
        if self._error is None:
            self._try(_write_all, self._file, view, self._position)
        if self._error is not None:
            self._kept.append((self._position, bytes(view)))
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Read bytes from the position on."""
        view, start = memoryview(buffer).cast("B"), self._position
        found = os.pread(self._file, len(view), start)
        view[: len(found)] = found
        for place, data in self._kept:
            low, high = max(place, start), min(place + len(data), start + len(view))
            if low < high:
                view[low - start : high - start] = data[low - place : high - place]
        n_read = max(0, min(len(view), self._size - start))
        self._position += n_read
        return n_read

    def truncate(self, size: int | None = None) -> int:
        """Cut or lengthen the file."""
        self._size = self._position if size is None else size
        if self._error is None:
            self._try(os.ftruncate, self._file, self._size)
        return self._size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readable(self) -> bool:
        """Say yes."""
        return True

    def writable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True


def _write_all(file: int, view: memoryview, start: int) -> None:
    done = 0
    while done < len(view):
        done += os.pwrite(file, view[done:], start + done)
