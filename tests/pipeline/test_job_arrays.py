"""The shard of a task: of every scheduler, from the fixed number of shards, or a clear refusal."""

import pytest

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.job_arrays import ARRAYS, array_variables, ranges, shard_of_task


@pytest.mark.parametrize("scheduler, name, first", ARRAYS)
def test_the_tasks_of_an_array_are_its_shards(scheduler: str, name: str, first: int) -> None:
    shards = [shard_of_task(6, {name: str(index)}) for index in range(first, first + 6)]
    assert shards == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("scheduler, name, first", ARRAYS)
@pytest.mark.parametrize("off", [-1, 6])
def test_a_task_out_of_range_is_refused(scheduler: str, name: str, first: int, off: int) -> None:
    if first + off == 0:
        pytest.skip("index 0 of SGE and LSF is no array at all")
    with pytest.raises(InputError, match=f"tasks of {scheduler} are {first} to {first + 5}"):
        shard_of_task(6, {name: str(first + off)})


def test_a_resubmission_of_two_tasks_has_the_shards_of_the_whole_array() -> None:
    resubmitted = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "0"}
    assert shard_of_task(4, {**resubmitted, "SLURM_ARRAY_TASK_ID": "3"}) == 3


@pytest.mark.parametrize(
    "environ, words",
    [
        ({}, "none of SLURM_ARRAY_TASK_ID"),
        ({"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "0"}, "none of"),
        ({"SLURM_ARRAY_TASK_ID": ""}, "none of"),
        ({"SLURM_ARRAY_TASK_ID": "1", "PBS_ARRAY_INDEX": "2"}, "both SLURM_ARRAY_TASK_ID of Slurm"),
        ({"SLURM_ARRAY_TASK_ID": "x"}, "is 'x'"),
        ({"SLURM_ARRAY_TASK_ID": "-1"}, "is '-1'"),
    ],
)
def test_what_is_no_task_or_not_one_is_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        shard_of_task(4, environ)


def test_single_jobs_of_sge_and_lsf_are_no_tasks() -> None:
    assert not array_variables({"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "0"})
    assert [row[0] for row in array_variables({"LSB_JOBINDEX": "1"})] == ["LSF"]


@pytest.mark.parametrize("text", ["", "7", "0-3", "0,2", "1-2,4,6-8"])
def test_ranges_are_read_back(text: str) -> None:
    parts = [part.split("-") for part in text.split(",") if part]
    numbers = [n for part in parts for n in range(int(part[0]), int(part[-1]) + 1)]
    assert ranges(numbers) == text
