"""Blocks of rows on several threads, each with products of its own.

The number of threads is what BLAS may use (OMP_NUM_THREADS and the like). While blocks run, BLAS is
held to one thread a call: its own threads would wait in spin loops between short products, and the
rounding of a product could depend on their number. The cut into blocks never depends on the
threads.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

B = TypeVar("B")
T = TypeVar("T")
_MOST_BLOCKS = 16
_LEAST_ROWS = 1024  # of a block


def map_blocks(task: Callable[[B], T], blocks: Sequence[B]) -> list[T]:
    """Call `task` on every block, on as many threads as BLAS may use; return results in order."""
    with one_blas_thread() as n_threads:
        if n_threads == 1 or len(blocks) < 2:
            return [task(block) for block in blocks]
        with ThreadPoolExecutor(min(n_threads, len(blocks))) as pool:
            return list(pool.map(task, blocks))


def row_blocks(n_rows: int) -> list[slice]:
    """Cut rows into at most 16 near-equal blocks of about 1024 rows or more.

    Examples
    --------
    >>> row_blocks(2500)
    [slice(0, 1250, None), slice(1250, 2500, None)]
    """
    n = min(_MOST_BLOCKS, max(1, n_rows // _LEAST_ROWS))
    ends = [n_rows * i // n for i in range(n + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


_lock = threading.Lock()
# what each caller inside found; the first is to be restored
_held: list[list[tuple[Any, int]]] = []


@contextmanager
def one_blas_thread() -> Iterator[int]:
    """Hold BLAS to one thread; yield how many threads the caller may use instead."""
    libraries = _blas(len(sys.modules))
    with _lock:
        found = [(library, library.num_threads) for library in libraries]
        _held.append(found)
        _set_threads([(library, 1) for library in libraries])
    try:
        yield max((count for _, count in found), default=1)
    finally:
        with _lock:
            before = _held[0]
            _held.pop()
            if not _held:
                _set_threads(before)


def _set_threads(counts: list[tuple[Any, int]]) -> None:
    for library, count in counts:
        if library.num_threads != count:
            library.set_num_threads(count)


@lru_cache(maxsize=1)
def _blas(n_modules: int) -> list[Any]:
    """Return the BLAS libraries of this process; an import may bring another."""
    return ThreadpoolController().select(user_api="blas").lib_controllers
