"""Calls that may run elsewhere: in this process, or on the joblib backend that is active.

Whoever fits an estimator chooses the backend, with ``joblib.parallel_config``. The work is cut into
the same calls wherever they run, each on one BLAS thread, so the results are those of a run in this
process, bit by bit where the processors are alike.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend

from cinefeat.classifiers.threads import one_blas_thread
from cinefeat.classifiers.types import Array

T = TypeVar("T")


class _Held:
    """Arrays on the workers of a cluster, each known by its identity here."""

    def __init__(self, client: Any, arrays: tuple[Array, ...]) -> None:
        self.client, self.arrays = client, arrays
        self.send()

    def send(self) -> None:
        """Send the arrays to all workers, as if for the first time."""
        try:
            sent = self.client.scatter(list(self.arrays), broadcast=True, hash=False)
        except (OSError, KeyError):  # a worker died on the way; the scheduler says it either way
            sent = []
        self.futures = {id(x): future for x, future in zip(self.arrays, sent, strict=False)}


_held: ContextVar[_Held | None] = ContextVar("held", default=None)


def is_spread() -> bool:
    """Say whether calls run on a joblib backend rather than one by one in this process."""
    backend, n_jobs = get_active_backend()
    # a backend that is named without a number takes its own: all workers of a cluster
    return (backend.default_n_jobs if n_jobs is None else n_jobs) != 1


def spread(task: Callable[..., T], calls: Iterable[tuple[Any, ...]]) -> Iterator[T]:
    """Call `task` with each tuple of arguments; yield the results in order.

    Parameters
    ----------
    task : callable
        A function of a module, so that it can be sent.
    calls : iterable of tuple
        Where calls run one by one, the next is taken when the result before has been used; on a
        cluster, when fewer than two for each of its threads are under way.

    Notes
    -----
    When a worker of a cluster dies, its calls run on another: their arguments are sent with them,
    and what was `hold`-ed is sent again if its last copy died too.

    Examples
    --------
    >>> list(spread(divmod, [(7, 2), (9, 5)]))
    [(3, 1), (1, 4)]
    """
    if not is_spread():
        return (task(*call) for call in calls)
    client = _cluster()
    if client is None:
        return iter(Parallel()(delayed(_call)(task, call) for call in calls))
    return _on_cluster(client, task, calls, _held.get())


def _cluster() -> Any:
    """Return the Dask client of the backend that is active, or None of another backend."""
    return getattr(get_active_backend()[0], "client", None)


def _on_cluster(
    client: Any, task: Callable[..., T], calls: Iterable[tuple[Any, ...]], held: _Held | None
) -> Iterator[T]:
    """Run the calls on a cluster, two at once for each of its threads: one works, one is on its way.

    Not by way of joblib, which waits without end for a call that was given up as it killed workers.
    """
    n_at_once = 2 * max(1, sum(client.nthreads().values()))
    pending: deque[_Sent] = deque()
    for call in calls:
        pending.append(_send(client, task, call, {} if held is None else held.futures))
        if len(pending) == n_at_once:
            yield _result(client, task, pending.popleft(), held)
    while pending:
        yield _result(client, task, pending.popleft(), held)


class _Sent(NamedTuple):
    call: tuple[Any, ...]
    futures: Mapping[int, Any]  # that stood for arrays of the call
    result: Any


def _send(
    client: Any, task: Callable[..., Any], call: tuple[Any, ...], futures: Mapping[int, Any]
) -> _Sent:
    arguments = tuple(futures.get(id(x), x) for x in call)
    return _Sent(call, futures, client.submit(_call, task, arguments, pure=False))


def _result(client: Any, task: Callable[..., T], sent: _Sent, held: _Held | None) -> T:
    try:
        found: T = sent.result.result()
    except CancelledError:
        if held is None:
            raise
        if sent.futures is held.futures:  # the first to find that they are lost
            held.send()
        found = _send(client, task, sent.call, {}).result.result()
    return found


def _call(task: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    # what comes over a network may lie anywhere in memory; products of unaligned arrays round
    # differently
    aligned = (
        np.require(x, requirements=["ALIGNED"]) if isinstance(x, np.ndarray) else x
        for x in arguments
    )
    with one_blas_thread():
        return task(*aligned)


@contextmanager
def hold(*arrays: Array) -> Iterator[None]:
    """On a cluster, send arrays to all workers once, for the calls within the block.

    A call has them when it is given these very objects.
    """
    client = _cluster()
    if client is None or not arrays:
        yield
        return
    token = _held.set(_Held(client, arrays))
    try:
        yield
    finally:
        _held.reset(token)
