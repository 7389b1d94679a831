"""Calls that may run elsewhere: in this process, or on the joblib backend that is active.

Whoever fits an estimator chooses the backend, with ``joblib.parallel_config``. The work is cut into
the same calls wherever they run, each on one BLAS thread, so the results are those of a run in this
process, bit by bit where the processors are alike.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.parallel import get_active_backend

from cinefeat.classifiers.threads import one_blas_thread
from cinefeat.classifiers.types import Array

T = TypeVar("T")
# identities of the arrays that the workers of a cluster have
_held: ContextVar[frozenset[int]] = ContextVar("held", default=frozenset())


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
        Where calls run one by one, the next is taken when the result before has been used.

    Notes
    -----
    Arguments travel with their call: when a worker of a cluster dies, its calls run on another.

    Examples
    --------
    >>> list(spread(divmod, [(7, 2), (9, 5)]))
    [(3, 1), (1, 4)]
    """
    if not is_spread():
        return (task(*call) for call in calls)
    held = _held.get()
    done = Parallel()(
        # joblib leaves what is large on one worker alone, but not what a tuple holds
        delayed(_call)(task, *(x if id(x) in held else (x,) for x in call))
        for call in calls
    )
    return iter(done)


def _call(task: Callable[..., T], *arguments: Any) -> T:
    """Call `task` with arguments of which some are wrapped in tuples of one."""
    with one_blas_thread():
        return task(*(x[0] if isinstance(x, tuple) else x for x in arguments))


@contextmanager
def hold(*arrays: Array) -> Iterator[None]:
    """On a cluster, send arrays to all workers once, for the calls within the block.

    A call has them when it is given these very objects.
    """
    client = getattr(get_active_backend()[0], "client", None)
    if client is None:
        yield
        return
    token = _held.set(frozenset(map(id, arrays)))
    try:
        with parallel_config("dask", client=client, scatter=list(arrays)):
            yield
    finally:
        _held.reset(token)
