"""What the tests of the worker pool have workers do; importable by name in a spawned process."""

import os
import resource
import signal
import time
from pathlib import Path

from cinefeat.pipeline.errors import ClipError, InputError
from cinefeat.pipeline.video import probe


def double(x: int) -> int:
    return 2 * x


def fail_as_clip(reason: str) -> None:
    raise ClipError(reason)


def fail_as_input(reason: str) -> None:
    raise InputError(reason)


def fail(reason: str) -> None:
    raise ZeroDivisionError(reason)


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def leave(code: int) -> None:
    os._exit(code)


def hang(_: object) -> None:
    time.sleep(3600)


def eat(gigabytes: float) -> int:
    """Fill memory bit by bit, as a decoder does that a header misleads."""
    eaten = [
        bytearray(b"x" * 20_000_000) for _ in range(int(gigabytes * 50)) if not time.sleep(0.03)
    ]
    return len(eaten)


def die_once(path: str) -> str:
    if Path(path).exists():
        return "second"
    Path(path).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "first"


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def signal_itself(numbers: list[int]) -> str:
    for number in numbers:
        os.kill(os.getpid(), number)
    return "alive"


def environment(name: str) -> str | None:
    return os.environ.get(name)


def probe_and_peak(path: Path) -> tuple[str, int]:
    """Return the status of a video, and the most memory this process has had."""
    status = probe(path).status
    return status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
