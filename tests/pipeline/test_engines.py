"""Engines: a cluster of two Dask workers gives what this process gives, also if one is killed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from faults import assert_same_arrays, call, line, write_work

from cinefeat.classifiers import PCA, DiagonalGMM, KernelSVM, KMeansCodebook, LinearSVM, to_arrays
from cinefeat.classifiers.linear import column_blocks
from cinefeat.classifiers.spreading import hold, spread
from cinefeat.classifiers.threads import one_blas_thread
from cinefeat.pipeline.engines import parse_engine, use_engine
from cinefeat.pipeline.errors import InputError

pytestmark = pytest.mark.xdist_group("dask")
Process = subprocess.Popen


def start(*arguments: str, **settings: str) -> Process:
    call = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
    environment = {**os.environ, **{f"DASK_DISTRIBUTED__{k}": v for k, v in settings.items()}}
    null = subprocess.DEVNULL
    return subprocess.Popen(call, stdout=null, stderr=null, env=environment)


def start_scheduler(**settings: str) -> tuple[Process, int]:
    """Start a scheduler on a free port; it drops spare copies of data at once, not after 2 s."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings["SCHEDULER__ACTIVE_MEMORY_MANAGER__INTERVAL"] = "20ms"
    return start("scheduler", "--host", "127.0.0.1", "--port", str(port), **settings), port


def start_worker(port: int) -> Process:
    return start("worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-nanny")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[int]:
    """The port of a scheduler without workers."""
    pytest.importorskip("distributed", reason="the extra [dask] is not installed")
    process, port = start_scheduler()
    yield port
    process.kill()
    process.wait()


@pytest.fixture
def workers(scheduler: int) -> Iterator[list[Process]]:
    """Two workers, all that the scheduler knows."""
    processes = [start_worker(scheduler) for _ in range(2)]
    await_workers(scheduler, processes)
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def sample(rng: np.random.Generator) -> np.ndarray:
    centres = 4 * rng.standard_normal((40, 24))
    rows = centres[rng.integers(40, size=5000)] + rng.standard_normal((5000, 24))
    return rows.astype(np.float32)


def fit_everything(sample: np.ndarray) -> dict[str, np.ndarray]:
    features, labels = sample[:120], np.arange(120) % 5
    fitted: dict[str, Any] = {
        "k-means": KMeansCodebook(40, n_init=4, random_state=0).fit(sample),
        "gmm": DiagonalGMM(16, max_iter=5, tol=0, random_state=0).fit(sample),
        "pca": PCA(0.5).fit(sample),
        "linear": LinearSVM(10.0).fit_blocks(lambda: column_blocks(features, 7), labels),
        "kernel": KernelSVM(10.0).fit(np.abs(features), labels),
    }
    return {
        f"{name}/{key}": array
        for name, estimator in fitted.items()
        for key, array in to_arrays(estimator).items()
    }


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_two_workers_give_what_one_process_gives(
    scheduler: int, workers: list[Process], sample: np.ndarray
) -> None:
    local = fit_everything(sample)
    before = transitions(scheduler)
    with use_engine(f"dask://127.0.0.1:{scheduler}"):
        assert_same(fit_everything(sample), local)
    assert transitions(scheduler) > before + 40  # it was not this process that computed


def transitions(scheduler: int) -> int:
    """Changes of state of all tasks that the scheduler has seen."""
    from distributed import Client

    with Client(f"tcp://127.0.0.1:{scheduler}", set_as_default=False) as client:
        return client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)


def await_workers(scheduler: int, processes: list[Process], seconds: float = 60) -> None:
    """Wait until the workers of the scheduler are these, those of the test before forgotten."""
    from distributed import Client

    deadline = time.monotonic() + seconds
    with Client(f"tcp://127.0.0.1:{scheduler}", set_as_default=False) as client:
        client.wait_for_workers(len(processes), timeout=seconds)
        while set(client.run(os.getpid, on_error="ignore").values()) != {p.pid for p in processes}:
            assert time.monotonic() < deadline, "the workers did not come"
            time.sleep(0.05)


@contextlib.contextmanager
def killed_at_work(scheduler: int, worker: Process, seconds: float = 60) -> Iterator[None]:
    """Kill a worker within the block while the scheduler counts tasks on it."""
    ready = threading.Event()
    arguments = (scheduler, worker, ready, seconds)
    killer = threading.Thread(target=kill_at_work, args=arguments, daemon=True)
    killer.start()
    assert ready.wait(seconds)
    yield
    killer.join()
    assert worker.wait(10) == -signal.SIGKILL


def kill_at_work(scheduler: int, worker: Process, ready: threading.Event, seconds: float) -> None:
    from distributed import Client

    with Client(f"tcp://127.0.0.1:{scheduler}", set_as_default=False) as client:
        pids = client.run(os.getpid)
        address = next(address for address, pid in pids.items() if pid == worker.pid)
        ready.set()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if client.processing([address]).get(address):
                worker.kill()
                return
            time.sleep(0.005)


@pytest.mark.parametrize(
    "learn",
    [
        lambda x: KMeansCodebook(100, n_init=10, max_iter=40, tol=0, random_state=0).fit(x),
        lambda x: DiagonalGMM(16, max_iter=40, tol=0, random_state=0).fit(x),
    ],
    ids=["k-means", "gmm"],
)
def test_a_worker_that_is_killed_in_the_middle_is_survived(
    scheduler: int, workers: list[Process], sample: np.ndarray, learn: Callable[[np.ndarray], Any]
) -> None:
    local = to_arrays(learn(sample))
    with (
        use_engine(f"dask://127.0.0.1:{scheduler}"),
        killed_at_work(scheduler, workers[0]),
    ):
        found = to_arrays(learn(sample))
    assert_same(found, local)


def gram(x: np.ndarray) -> np.ndarray:
    return x @ x.T


@pytest.mark.parametrize("offset", [1, 2, 4])
def test_where_a_worker_has_an_array_in_memory_changes_nothing(offset: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((50, 1320), np.float32)
    memory = np.zeros(x.nbytes + 64, np.uint8)
    moved = memory[offset : offset + x.nbytes].view(np.float32).reshape(x.shape)
    moved[:] = x
    with joblib.parallel_config("threading", n_jobs=2):
        (found,) = spread(gram, [(moved,)])
    with one_blas_thread():
        np.testing.assert_array_equal(found, gram(x))


def test_what_was_held_is_sent_again_when_its_last_copy_dies(
    scheduler: int, workers: list[Process], sample: np.ndarray
) -> None:
    calls = [(sample, np.float32(factor)) for factor in range(4)]
    local = list(spread(np.multiply, calls))
    with use_engine(f"dask://127.0.0.1:{scheduler}"), hold(sample):
        np.testing.assert_array_equal(list(spread(np.multiply, calls)), local)
        late = [start_worker(scheduler) for _ in range(2)]
        await_workers(scheduler, workers + late)
        for process in workers:
            process.kill()
            process.wait()
        workers += late
        for _ in range(2):  # as the scheduler finds its loss, and from the copies sent again
            np.testing.assert_array_equal(list(spread(np.multiply, calls)), local)


def test_calls_are_taken_as_workers_get_free(scheduler: int, workers: list[Process]) -> None:
    taken: list[int] = []

    def calls() -> Iterator[tuple[int]]:
        for i in range(20):
            taken.append(i)
            yield (-i,)

    with use_engine(f"dask://127.0.0.1:{scheduler}"):
        found = spread(abs, calls())
        for i in range(20):  # two threads: what a corpus is cut into is never in memory together
            assert next(found) == i
            assert len(taken) <= i + 4
    assert len(taken) == 20


@pytest.mark.parametrize("error", [OSError, KeyError])
def test_arrays_that_cannot_be_held_travel_with_their_calls(
    scheduler: int,
    workers: list[Process],
    sample: np.ndarray,
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error("tcp://127.0.0.1:1")

    monkeypatch.setattr("distributed.Client.scatter", fail)
    with use_engine(f"dask://127.0.0.1:{scheduler}"), hold(sample):
        (found,) = spread(np.multiply, [(sample, np.float32(2))])
    np.testing.assert_array_equal(found, sample * 2)


@pytest.fixture
def small() -> Iterator[tuple[Process, int]]:
    """A scheduler of the test's own with one worker, which gives up what kills a worker once."""
    pytest.importorskip("distributed", reason="the extra [dask] is not installed")
    process, port = start_scheduler(SCHEDULER__ALLOWED_FAILURES="0")
    worker = start_worker(port)
    yield process, port
    for each in (process, worker):
        each.kill()
        each.wait()


def test_a_call_that_kills_its_workers_is_given_up_with_a_sentence(
    small: tuple[Process, int],
) -> None:
    with (
        pytest.raises(InputError, match=r"given up, for 1 workers died at it, last tcp://127.*mem"),
        use_engine(f"dask://127.0.0.1:{small[1]}"),
    ):
        list(spread(os._exit, [(1,)]))


@pytest.mark.parametrize("seconds", [0, 6])  # while the client tries to reconnect, and after
@pytest.mark.parametrize("n_held", [0, 1])
def test_a_scheduler_that_is_lost_is_told_with_a_sentence(
    small: tuple[Process, int],
    sample: np.ndarray,
    seconds: float,
    n_held: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cinefeat.pipeline.engines._CONNECT_SECONDS", 4)
    process, port = small

    def lose() -> None:
        with use_engine(f"dask://127.0.0.1:{port}"), hold(*[sample] * n_held):
            list(spread(np.sum, [(sample,)]))
            process.kill()
            time.sleep(seconds)
            list(spread(np.sum, [(sample,)]))

    with pytest.raises(InputError, match="scheduler was lost: start it again"):
        lose()


def test_an_error_of_a_call_is_raised_as_it_is(scheduler: int, workers: list[Process]) -> None:
    with use_engine(f"dask://127.0.0.1:{scheduler}"), pytest.raises(ZeroDivisionError):
        list(spread(divmod, [(1, 0)]))
    with pytest.raises(ZeroDivisionError), use_engine(f"dask://127.0.0.1:{scheduler}"):
        list(spread(divmod, [(1, 0)]))


@pytest.mark.parametrize("name", ["dask", "dask://host", "dask://a b:1", "ray://host:1", ""])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="it is local or dask://HOST:PORT"):
        parse_engine(name)


def test_no_scheduler_and_no_workers_are_told_apart(
    scheduler: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cinefeat.pipeline.engines._CONNECT_SECONDS", 3)
    with pytest.raises(InputError, match="no workers: start dask worker"):
        parse_engine(f"dask://127.0.0.1:{scheduler}")
    with pytest.raises(InputError, match="no scheduler answers there"):
        parse_engine("dask://127.0.0.1:1")


def test_workers_of_another_version_are_refused(
    scheduler: int, workers: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0")
    with pytest.raises(InputError, match=r"its workers have cinefeat .*, here it is 0\.0"):
        parse_engine(f"dask://127.0.0.1:{scheduler}")


@pytest.mark.slow
def test_a_run_on_a_cluster_that_loses_a_worker_gives_the_store_of_a_local_run(
    scheduler: int, workers: list[Process], tmp_path: Path
) -> None:
    work = write_work(tmp_path)
    done = call(line(work, work / "local"))
    assert done.returncode == 0, done.stderr
    before = transitions(scheduler)
    with killed_at_work(scheduler, workers[0], 300):
        done = call(line(work, work / "spread", "--engine", f"dask://127.0.0.1:{scheduler}"))
    assert done.returncode == 0, done.stderr
    assert transitions(scheduler) > before
    assert_same_arrays(work / "local", work / "spread")
