"""A pool of spawned worker processes that survives what a clip does to one of them.

A decoder may crash, hang or eat all memory; that costs the task at hand and nothing else. The parent
hands one task at a time to each worker and watches both its pipe and its life. Workers are spawned,
never forked (OpenCV and OpenMP hang after a fork), and compute in one thread each, so that results
do not depend on how many there are.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from cinefeat.pipeline.disk import explain
from cinefeat.pipeline.errors import ClipError, InputError
from cinefeat.pipeline.limits import NO_LIMITS, Limits
from cinefeat.pipeline.stopping import Stop, Stopped

# read by OpenMP, OpenBLAS, MKL and numba when a worker starts
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# sent to whole jobs; only the parent says what they mean
_PARENTS_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_POLL_SECONDS = 0.2  # a process fills some hundred megabytes of memory meanwhile


@dataclass(frozen=True)
class Task:
    """One call in a worker: `function` is ``module:name`` and gets `argument`, both picklable."""

    function: str
    argument: Any
    label: str
    limits: Limits = NO_LIMITS


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its value, or the reason why it failed.

    `was_killed` says that somebody else killed its worker, such as the kernel for want of memory.
    """

    task: Task
    value: Any = None
    failure: str | None = None
    seconds: float = 0.0
    was_killed: bool = False


class WorkerError(RuntimeError):
    """A task raised something that is not a clip's fault; the worker's traceback is the message."""


class WorkerPool:
    """Run tasks in `n_workers` spawned processes.

    Parameters
    ----------
    n_workers : int
        Processes at most; they start when the first tasks come and stay until the pool is left.
    stop : Stop or None
        Asked whether to go on.

    Attributes
    ----------
    n_lost : int
        Workers that died, or were killed at a limit, with whatever they were writing.
    """

    def __init__(self, n_workers: int, stop: Stop | None = None) -> None:
        self.n_lost = 0
        self._n_workers = n_workers
        self._stop = stop or Stop()
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.stop(at_once=kind is not None)

    def abandon(self) -> None:
        """Kill all workers, whatever they are at."""
        for worker in self._workers:
            worker.stop(at_once=True)
        self._workers = []

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Yield one outcome per task, in the order in which they finish.

        A task whose worker was killed from outside is tried once more.

        Raises
        ------
        Stopped
            If it was asked to stop before all tasks were done; the workers are killed.
        InputError
            If a task found that the user's input is at fault.
        WorkerError
            If a task raised anything but `ClipError`; the other workers are stopped.
        """
        waiting = list(reversed(tasks))
        tried_again: set[int] = set()
        while waiting or any(worker.task for worker in self._workers):
            while waiting and not self._stop.reason and (worker := self._idle_worker()):
                worker.give(waiting.pop())
            busy = [worker for worker in self._workers if worker.task]
            if self._stop.is_overdue or (self._stop.reason and not busy):
                self.abandon()
                raise Stopped(f"{self._stop.reason}; {len(waiting) + len(busy)} tasks are left")
            wait([handle for worker in busy for handle in worker.handles], _POLL_SECONDS)
            for worker in busy:
                outcome = worker.poll()
                self.n_lost += not worker.is_alive
                if outcome and outcome.was_killed and id(outcome.task) not in tried_again:
                    tried_again.add(id(outcome.task))
                    waiting.append(outcome.task)
                elif outcome:
                    yield outcome
            self._workers = [worker for worker in self._workers if worker.is_alive]

    def _idle_worker(self) -> "_Worker | None":
        for worker in self._workers:
            if worker.task is None:
                return worker
        if len(self._workers) < self._n_workers:
            self._workers.append(_Worker())
            return self._workers[-1]
        return None


class _Worker:
    """One process, its pipe, and the task that it is at."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, remote = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(remote,), daemon=True)
        with _environment(dict.fromkeys(_ONE_THREAD, "1")), _held_signals():
            self._process.start()
        remote.close()
        self.task: Task | None = None
        self.is_alive = True
        self._since = 0.0

    @property
    def handles(self) -> tuple[Any, ...]:
        return (self._pipe, self._process.sentinel)

    def give(self, task: Task) -> None:
        self.task, self._since = task, time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # it died while idle: poll() says so
            self._pipe.send((task.function, task.argument))

    def poll(self) -> Outcome | None:
        """Return the outcome of the task at hand, or None while it runs."""
        assert self.task is not None
        task, seconds = self.task, time.monotonic() - self._since
        if self._pipe.poll():
            try:
                kind, value = self._pipe.recv()
            except (EOFError, OSError):  # it died before, or while, it answered
                return self._died(task, seconds)
            self.task = None
            return _outcome(task, kind, value, seconds)
        if not self._process.is_alive():
            return self._died(task, seconds)
        if broken := task.limits.broken(seconds, self._process.pid or 0):
            self.stop(at_once=True)
            return Outcome(task, failure=broken, seconds=seconds)
        return None

    def _died(self, task: Task, seconds: float) -> Outcome:
        self._process.join()
        code = self._process.exitcode or 0
        self.stop(at_once=True)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return Outcome(
            task,
            failure=f"its worker process {how}",
            seconds=seconds,
            was_killed=code == -signal.SIGKILL,
        )

    def stop(self, *, at_once: bool) -> None:
        self.is_alive, self.task = False, None
        if at_once:
            self._process.kill()
        self._pipe.close()
        self._process.join()


def _outcome(task: Task, kind: str, value: Any, seconds: float) -> Outcome:
    if kind == "clip":
        return Outcome(task, failure=value, seconds=seconds)
    if kind == "input":
        raise InputError(value)
    if kind == "error":
        raise WorkerError(f"{task.label}:\n{value}")
    return Outcome(task, value=value, seconds=seconds)


def _serve(pipe: Connection) -> None:
    """Answer calls until the parent closes the pipe or dies."""
    for number in _PARENTS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PARENTS_SIGNALS)
    _use_one_thread()
    while True:
        try:
            function, argument = pipe.recv()
        except EOFError:
            return
        try:
            answer = ("done", resolve(function)(argument))
        except ClipError as error:
            answer = ("clip", str(error))
        except InputError as error:
            answer = ("input", str(error))
        except OSError as error:
            sentence = explain(error)
            answer = ("input", sentence) if sentence else ("error", traceback.format_exc())
        except Exception:  # noqa: BLE001 - told to the parent, which stops the run with it
            answer = ("error", traceback.format_exc())
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return


def resolve(function: str) -> Any:
    """Import the function that ``module:name`` names."""
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)


def _use_one_thread() -> None:
    import cv2

    cv2.setNumThreads(0)


@contextlib.contextmanager
def _held_signals() -> Iterator[None]:
    """Hold back the parent's signals from processes that start within the block.

    A job's signal may come while a worker still imports, before it knows to ignore it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PARENTS_SIGNALS)
    try:
        resource_tracker.ensure_running()  # which unblocks two of them on its first call
        signal.pthread_sigmask(signal.SIG_BLOCK, _PARENTS_SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _environment:
    """Set environment variables for the processes that start within the block."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def __enter__(self) -> None:
        self._before = {key: os.environ.get(key) for key in self._values}
        os.environ.update(self._values)

    def __exit__(self, *exception: object) -> None:
        for key, value in self._before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
