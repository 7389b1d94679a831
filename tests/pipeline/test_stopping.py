"""Ending early: what asks for it, what is begun then (nothing), and what becomes of clips at hand."""

import os
import signal
import threading
import time

import pytest

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.stopping import Stop, Stopped, parse_duration, stop_on_signals
from cinefeat.pipeline.workers import Task, WorkerPool


def tasks(function: str, *arguments: object) -> list[Task]:
    return [Task(f"task_functions:{function}", a, f"{function} {a}") for a in arguments]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_a_request_and_the_handler_of_before_returns(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.reason
        os.kill(os.getpid(), number)
        assert stop.reason == f"{number.name} came"
        assert not stop.is_overdue
    assert signal.getsignal(number) == before


def test_the_clip_at_hand_is_finished_and_no_other_is_begun() -> None:
    stop, values = Stop(), []

    def take_all() -> None:
        with WorkerPool(1, stop=stop) as pool:
            for outcome in pool.run(tasks("nap", 0.0, 2.0, 0.2, 0.3, 0.4)):
                values.append(outcome.value)
                if len(values) == 1:
                    # between two clips the next one is given at once: it is then at hand
                    threading.Timer(0.5, stop.ask, ("asked", 20.0)).start()

    with pytest.raises(Stopped, match="asked; 3 tasks are left"):
        take_all()
    assert values == [0.0, 2.0]


def test_a_clip_that_outlasts_the_grace_is_abandoned() -> None:
    stop = Stop()
    started = time.monotonic()
    threading.Timer(0.2, stop.ask, ("asked", 0.5)).start()
    with WorkerPool(1, stop=stop) as pool, pytest.raises(Stopped, match="1 tasks are left"):
        list(pool.run(tasks("hang", None)))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("budget, last_start", [(50, 45), (36000, 35900)])
def test_a_budget_ends_before_it_is_over(
    budget: float, last_start: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("cinefeat.pipeline.stopping.time.monotonic", lambda: now)
    stop = Stop(budget)
    now += last_start - 0.1
    assert not stop.reason
    now += 0.1
    assert stop.reason == "the time budget is spent"
    now = 1000 + budget - 0.1
    assert not stop.is_overdue
    now += 0.1
    assert stop.is_overdue


def test_workers_leave_the_signals_of_a_job_to_their_parent() -> None:
    with WorkerPool(1) as pool:
        (outcome,) = pool.run(tasks("signal_itself", [signal.SIGTERM, signal.SIGUSR1]))
    assert outcome.value == "alive"


@pytest.mark.parametrize(
    "text, seconds",
    [("90", 90), ("0.5h", 1800), ("2d", 172800), ("00:30:00", 1800), ("1-12:00:00", 129600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(None) is None


@pytest.mark.parametrize("text", ["0", "-1", "an hour", "1:2", "", "nan", "00:00:00"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--time-budget is"):
        parse_duration(text)
