"""Progress for people and for log files: a bar on a terminal, one line a minute elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

LINE_SECONDS = 60.0
_log = logging.getLogger(__name__)


def track(
    items: Iterable[T],
    total: int,
    what: str,
    *,
    seconds: float = LINE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
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
        Between two log lines where standard error is not a terminal.
    clock : callable
        Monotonic seconds.
    """
    if sys.stderr.isatty():
        yield from _bar(items, total, what)
        return
    started = last = clock()
    for done, item in enumerate(items, start=1):
        yield item
        now = clock()
        if now - last >= seconds and done < total:
            left = (now - started) / done * (total - done)
            _log.info("%s: %d of %d, about %.0f s left", what, done, total, left)
            last = now


def _bar(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    from tqdm import tqdm

    bar: Any = tqdm(items, total=total, desc=what, unit="", dynamic_ncols=True)
    yield from bar
