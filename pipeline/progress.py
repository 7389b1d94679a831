"""Progress for people and for log files: a bar on a terminal, one line a minute elsewhere."""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

LINE_SECONDS = 60.0
_log = logging.getLogger(__name__)


def track(
    items: Iterable[T], total: int, what: str, *, seconds: float = LINE_SECONDS
) -> Iterator[T]:
    """Yield the items, showing on standard error how many have come.

    Parameters
    ----------
    items : iterable
    total : int
        How many there will be.
    what : str
        What is counted, such as the name of the stage.
    seconds : float
        Between two log lines where standard error is not a terminal; they come whether or not an
        item does, and show that the process lives. Nothing is shown where the logger is quiet.
    """
    if not _log.isEnabledFor(logging.INFO):
        yield from items
        return
    if sys.stderr.isatty():
        yield from _bar(items, total, what)
        return
    started, done = time.monotonic(), 0

    def say() -> None:
        elapsed = time.monotonic() - started
        left = f", about {elapsed / done * (total - done):.0f} s left" if done else ""
        _log.info("%s: %d of %d in %.0f s%s", what, done, total, elapsed, left)

    with _heartbeat(say, seconds):
        for item in items:
            yield item
            done += 1


@contextlib.contextmanager
def _heartbeat(say: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `say` every so many seconds, on a thread of its own, within the block."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(seconds):
            say()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _bar(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    from tqdm import tqdm

    bar: Any = tqdm(items, total=total, desc=what, unit="", dynamic_ncols=True)
    yield from bar
