"""Ending early and cleanly: when a signal comes, or the time that a run was given is up.

Nothing new is begun then. Clips at hand are finished if that takes no longer than the grace that the
sender can be expected to give, else abandoned; either way nothing is left half-written, and the same
line goes on where this run ended.
"""

import contextlib
import re
import signal
import time
from collections.abc import Iterator
from types import FrameType

from cinefeat.pipeline.errors import InputError

# schedulers kill a process about 30 s after SIGTERM; SIGUSR1 is sent ahead, by `submit` 120 s before
# the limit
GRACE_SECONDS = {signal.SIGTERM: 20.0, signal.SIGUSR1: 100.0}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Stopped(Exception):
    """A run ended before everything was done, as it was asked to; its message says why."""


class Stop:
    """Whether to end early, asked between clips.

    Parameters
    ----------
    budget : float or None
        Seconds from now that a run may take. Nothing is begun in the last part of it, a tenth but at
        most 100 s, which the clips at hand have to end.
    """

    def __init__(self, budget: float | None = None) -> None:
        self._reason = ""
        self._deadline = float("inf")
        self._end = float("inf") if budget is None else time.monotonic() + budget
        self._last_start = self._end - min((budget or 0) / 10, GRACE_SECONDS[signal.SIGUSR1])

    def ask(self, reason: str, grace: float) -> None:
        """Begin nothing more, and abandon what is still at hand after `grace` seconds."""
        self._reason = self._reason or reason
        self._deadline = min(self._deadline, time.monotonic() + grace)

    @property
    def reason(self) -> str:
        """Why nothing more is to be begun; empty while the run may go on."""
        if not self._reason and time.monotonic() >= self._last_start:
            self._reason, self._deadline = "the time budget is spent", self._end
        return self._reason

    @property
    def is_overdue(self) -> bool:
        """Whether what is still at hand is to be abandoned."""
        return bool(self.reason) and time.monotonic() >= self._deadline


@contextlib.contextmanager
def stop_on_signals(budget: float | None = None) -> Iterator[Stop]:
    """Turn SIGTERM and SIGUSR1 into a request to stop, within the block."""
    stop = Stop(budget)

    def ask(number: int, _: FrameType | None) -> None:
        stop.ask(f"{signal.Signals(number).name} came", GRACE_SECONDS[signal.Signals(number)])

    before = {number: signal.signal(number, ask) for number in GRACE_SECONDS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parse_duration(text: str | None) -> float | None:
    """Read a duration into seconds: a number with s, m, h or d, or as Slurm writes it, D-HH:MM:SS.

    Examples
    --------
    >>> parse_duration("90m"), parse_duration("1-00:30:00")
    (5400.0, 88200.0)
    """
    if text is None:
        return None
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text):
        seconds = float(match[1]) * _UNITS[match[2] or "s"]
    elif match := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = float(days * 86400 + hours * 3600 + minutes * 60 + rest)
    else:
        seconds = 0.0
    if seconds <= 0:
        raise InputError(
            f"--time-budget is {text!r}; it is above 0, in seconds or as 90m, 8h or 1-12:00:00"
        )
    return seconds
