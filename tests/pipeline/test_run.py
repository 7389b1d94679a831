"""Which products are made at the same time, and what becomes of each."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.protocol import folds
from cinefeat.pipeline.recipe import load_recipe
from cinefeat.pipeline.run import Request, run
from cinefeat.pipeline.store import write_product
from cinefeat.pipeline.workers import Outcome, Task

CLIPS = tuple(
    Clip(id=f"{label}/{group}", path=Path(f"/v/{label}/{group}.avi"), label=label, group=group)
    for label in ("walk", "wave")
    for group in ("a", "b", "c")
)


class _Recorder:
    """A pool that writes products of nothing, last task first, and keeps what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[Task]] = []
        self.fails: tuple[str, str] | None = None  # stage and product, in the first fold alone
        self.n_lost = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        self.batches.append(list(tasks))
        hit = next((t for t in tasks if (t.argument.stage, t.argument.part) == self.fails), None)
        for task in reversed(tasks):
            job = task.argument
            if task is hit:
                yield Outcome(task, failure="no motion")
                continue
            write_product(job.target, {"x": np.zeros(1)}, job.attrs)
            yield Outcome(task)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> _Recorder:
    recorder = _Recorder()
    monkeypatch.setattr("cinefeat.pipeline.run.WorkerPool", lambda *_, **__: recorder)
    return recorder


def _request(store: Path, **values: Any) -> Request:
    every = folds(CLIPS, "leave-one-group-out")
    return Request(load_recipe("dt-bow"), CLIPS, store, every, **values)


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cpu", {"fit": [15], "train": [3]}), ("cuda", {"fit": [5, 5, 5], "train": [1, 1, 1]})],
)
def test_folds_are_learned_side_by_side_but_in_turn_on_a_gpu(
    tmp_path: Path, pool: _Recorder, device: str, expected: dict[str, list[int]]
) -> None:
    summary = run(_request(tmp_path, device=device))
    sizes: dict[str, list[int]] = {}
    for batch in pool.batches:
        sizes.setdefault(batch[0].argument.stage, []).append(len(batch))
    assert {stage: sizes[stage] for stage in expected} == expected
    assert summary.made | {"flow": 6, "fit": 15, "train": 3} == summary.made


def test_a_stage_is_done_for_every_fold_before_the_next_begins(
    tmp_path: Path, pool: _Recorder
) -> None:
    run(_request(tmp_path))
    stages = [{task.argument.stage for task in batch} for batch in pool.batches]
    assert all(len(names) == 1 for names in stages)
    assert len(stages) == len({name for names in stages for name in names})


def test_a_failed_clip_is_recorded_at_the_fold_that_it_failed_in(
    tmp_path: Path, pool: _Recorder
) -> None:
    pool.fails = ("encode", "wave/b")
    summary = run(_request(tmp_path))
    assert summary.failures == {("wave/b", "encode"): "no motion"}
    (encoded,) = (batch for batch in pool.batches if batch[0].argument.stage == "encode")
    targets = [task.argument.target for task in encoded if task.argument.part == "wave/b"]
    assert [path.with_name("b.failed.json").exists() for path in targets] == [True, False, False]
    assert [path.exists() for path in targets] == [False, True, True]
