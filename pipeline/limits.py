"""What one clip may cost: seconds and memory, so that a bad file cannot take a machine."""

import os
from dataclasses import dataclass
from pathlib import Path

CLIP_SECONDS = 3600.0
"""Default time limit of a clip at one stage."""

_SHARE_OF_MACHINE = 0.8
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Limits:
    """What a task may take before its worker process is killed and replaced.

    Parameters
    ----------
    seconds : float or None
        Of wall time; None is no limit.
    gigabytes : float or None
        Of anonymous memory (files that are mapped do not count); None is no limit. It is looked at
        a few times a second, and only where the system has ``/proc``.
    """

    seconds: float | None = None
    gigabytes: float | None = None

    def broken(self, seconds: float, pid: int) -> str:
        """Return the limit that a process breaks which has worked for so long, in words."""
        if self.seconds is not None and seconds > self.seconds:
            return f"took longer than {self.seconds:g} s (--clip-seconds)"
        if self.gigabytes is not None and anonymous_bytes(pid) > self.gigabytes * _GIGABYTE:
            return f"took more than {self.gigabytes:g} GB of memory (--clip-gb)"
        return ""


NO_LIMITS = Limits()


def default_limits() -> Limits:
    """Return the limits of a clip where none are given: an hour, and most of the machine."""
    memory = machine_bytes()
    share = None if memory is None else round(_SHARE_OF_MACHINE * memory / _GIGABYTE, 2)
    return Limits(CLIP_SECONDS, share)


def anonymous_bytes(pid: int) -> int:
    """Return the anonymous memory that a process has in use; 0 where that is not known."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(sizes[0]) * 1024 if sizes else 0


def machine_bytes() -> int | None:
    """Return the memory that this process may use: the machine's, or less in a control group."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
    return min([physical, *_group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _group_limits(groups: Path, root: Path) -> list[int]:
    """Return the memory limits of the control groups of this process and of those around them."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        # version 2 has one hierarchy without a name; version 1 has one for memory
        if controllers not in ("", "memory"):
            continue
        top, name = (
            (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        )
        here = top / place.lstrip("/")
        for folder in (here, *here.parents):
            if folder.is_relative_to(top):
                limits += _read_number(folder / name)
    return limits


def _read_number(path: Path) -> list[int]:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() else []  # "max" is no limit
