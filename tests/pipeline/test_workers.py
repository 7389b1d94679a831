"""The worker pool: order does not matter, and one bad task costs one task."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.limits import Limits
from cinefeat.pipeline.workers import Task, WorkerError, WorkerPool


def _task(function: str, argument: object) -> Task:
    limits = {"eat": Limits(gigabytes=0.4), "hang": Limits(seconds=3)}.get(function, Limits())
    return Task(f"task_functions:{function}", argument, f"{function} {argument}", limits)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(2) as pool:
        yield pool


def test_every_task_has_one_outcome(pool: WorkerPool) -> None:
    outcomes = list(pool.run([_task("double", i) for i in range(7)]))
    assert {o.task.argument: o.value for o in outcomes} == {i: 2 * i for i in range(7)}
    assert list(pool.run([])) == []


@pytest.mark.parametrize(
    "function, argument, reason",
    [
        ("fail_as_clip", "too short", "^too short$"),
        ("die", 11, "killed by SIGSEGV"),
        ("die", 9, "killed by SIGKILL"),
        ("leave", 3, "exited with 3"),
        ("hang", None, r"longer than 3 s \(--clip-seconds\)"),
        ("eat", 4.0, r"more than 0.4 GB of memory \(--clip-gb\)"),
    ],
)
def test_a_bad_task_fails_alone(
    pool: WorkerPool, function: str, argument: object, reason: str
) -> None:
    tasks = [_task("double", 1), _task(function, argument), *(_task("double", i) for i in (2, 3))]
    outcomes = {o.task.label: o for o in pool.run(tasks)}
    assert len(outcomes) == 4
    bad = outcomes.pop(f"{function} {argument}")
    assert bad.failure is not None
    assert re.search(reason, bad.failure)
    assert sorted(o.value for o in outcomes.values()) == [2, 4, 6]


def test_a_task_whose_worker_was_killed_from_outside_is_tried_once_more(
    pool: WorkerPool, tmp_path: Path
) -> None:
    path = tmp_path / "first"
    (outcome,) = pool.run([_task("die_once", str(path))])
    assert outcome.value == "second"


def test_other_tasks_have_the_limits_that_they_name(pool: WorkerPool) -> None:
    free = Task("task_functions:eat", 0.6, "eat")
    (outcome,) = pool.run([free])
    assert outcome.failure is None


def test_bad_input_found_by_a_worker_is_bad_input(pool: WorkerPool) -> None:
    with pytest.raises(InputError, match="fewer words"):
        list(pool.run([_task("fail_as_input", "fewer words")]))


def test_any_other_error_stops_with_the_task_and_its_traceback(pool: WorkerPool) -> None:
    with pytest.raises(WorkerError, match=r"(?s)fail oops.*ZeroDivisionError: oops"):
        list(pool.run([_task("fail", "oops")]))


def test_workers_compute_in_one_thread_and_the_parent_keeps_its_environment(
    pool: WorkerPool,
) -> None:
    before = dict(os.environ)
    (outcome,) = pool.run([_task("environment", "OMP_NUM_THREADS")])
    assert outcome.value == "1"
    assert dict(os.environ) == before
