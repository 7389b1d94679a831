"""Whether a store's file system renames as the file contract needs: at once, before all eyes."""

import functools
import os
from pathlib import Path

from cinefeat.pipeline.disk import explain, explained
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.store import temporary_name

# object stores that look like folders and copy where a file system renames
_COPYING = {"s3fs", "gcsfuse", "goofys", "rclone", "blobfuse", "blobfuse2", "mountpoint-s3"}
_REMEDY = "half-written files would look whole: name a folder on a local or network file system"


@functools.cache
def require_renaming(store: Path) -> None:
    """Make a store's folder where it is missing, and try there what every product relies on.

    A file that is renamed over another replaces it whole: who had the old one open keeps it, who
    opens it afterwards has the new one, and the name it came from is gone.

    Raises
    ------
    InputError
        If the folder cannot be written to, or files there are not replaced like that.
    """
    with explained(store):
        store.mkdir(parents=True, exist_ok=True)
        if name := _copying_system(store, Path("/proc/self/mountinfo")):
            raise InputError(f"{store} lies on {name}, which copies instead of renaming: {_REMEDY}")
        old, new = (temporary_name(store / f"rename-{which}") for which in ("old", "new"))
        try:
            old.write_bytes(b"old")
            new.write_bytes(b"new")
            is_good = _replaces(new, old)
        finally:
            old.unlink(missing_ok=True)
            new.unlink(missing_ok=True)
    if not is_good:
        raise InputError(f"{store}: a renamed file does not replace another at once: {_REMEDY}")


def _replaces(new: Path, old: Path) -> bool:
    with old.open("rb") as reader:
        try:
            os.replace(new, old)
        except OSError as error:
            if explain(error):
                raise
            return False
        kept = reader.read()
    return kept == b"old" and old.read_bytes() == b"new" and not new.exists()


def _copying_system(folder: Path, mounts: Path) -> str:
    """Return the name of the object store that a folder lies on, or ""."""
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    place, depth, found = folder.resolve(), -1, ""
    for line in lines:
        # proc(5): ... mount point (the fifth), options, optional fields, "-", type, source
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= depth:
            kind, source = right.split()[:2]
            names = {kind.removeprefix("fuse."), source} & _COPYING
            depth, found = len(point.parts), ", ".join(sorted(names))
    return found
