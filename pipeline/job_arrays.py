"""Which shard a task of a job array is, by the variable that its scheduler sets.

The number of shards is never taken from the scheduler: when only some tasks are submitted again, the
array is smaller, and the clips of a shard must stay what they were.
"""

import os
from collections.abc import Mapping, Sequence

from cinefeat.pipeline.errors import InputError

# scheduler, variable of a task's index, and the index that is shard 0. The arrays of SGE and LSF
# cannot begin before 1; the others begin where the user says, and shard 0 is index 0
ARRAYS = (
    ("Slurm", "SLURM_ARRAY_TASK_ID", 0),
    ("PBS", "PBS_ARRAY_INDEX", 0),
    ("Torque", "PBS_ARRAYID", 0),
    ("SGE", "SGE_TASK_ID", 1),
    ("LSF", "LSB_JOBINDEX", 1),
    ("AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", 0),
)
_NO_ARRAY = {"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "0"}  # what single jobs find there


def array_variables(environ: Mapping[str, str] = os.environ) -> list[tuple[str, str, int]]:
    """Return the rows of `ARRAYS` whose variable says that this process is a task of an array."""
    return [row for row in ARRAYS if environ.get(row[1], "") not in ("", _NO_ARRAY.get(row[1]))]


def shard_of_task(count: int, environ: Mapping[str, str] = os.environ) -> int:
    """Return the shard of `count` that this task of a job array is.

    Parameters
    ----------
    count : int
        Shards in all.
    environ : mapping of str to str
        Where the scheduler's variables are.

    Raises
    ------
    InputError
        If no scheduler, or more than one, says which task this is, or the index is out of range.

    Examples
    --------
    >>> shard_of_task(6, {"SLURM_ARRAY_TASK_ID": "5"}), shard_of_task(6, {"SGE_TASK_ID": "6"})
    (5, 5)
    """
    found = array_variables(environ)
    if len(found) != 1:
        several = " and ".join(f"{name} of {who}" for who, name, _ in found)
        known = ", ".join(name for _, name, _ in ARRAYS)
        what = f"both {several} are set" if found else f"none of {known} is set"
        raise InputError(
            f"--shards {count} needs the task of a job array, but {what}: give --shard"
        )
    ((scheduler, name, first),) = found
    text = environ[name]
    last = first + count - 1
    if not text.isdecimal() or not first <= int(text) <= last:
        raise InputError(
            f"{name} is {text!r}; with --shards {count} the tasks of {scheduler} are "
            f"{first} to {last}: submit that range, or give --shard"
        )
    return int(text) - first


def ranges(numbers: Sequence[int]) -> str:
    """Write rising numbers as the schedulers do.

    Examples
    --------
    >>> ranges([0, 3, 4, 5, 9])
    '0,3-5,9'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)
