"""Jobs of Slurm: one readable script, and one call of sbatch for each stage of a recipe.

A stage per clip is an array with one task per shard, a stage per corpus one job. Each waits until
the one before it has ended well (afterok), and is cancelled if it can never start
(kill-on-invalid-dep). Clips that failed are no reason not to go on: the script turns status 1 into 0.
"""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.job_arrays import ranges

LEAD_SECONDS = 120  # from SIGUSR1 to the end of the time limit
MOST_RESTARTS = 20  # of one task that queues itself again

_SCRIPT = """\
#!/bin/bash
# {title}: one stage, as the tasks of a job array or as one job.
# usage: sbatch [--array=SHARDS] THIS_SCRIPT STAGE [MORE OPTIONS OF cinefeat stage]
{header}

{command} &
pid=$!
# Slurm sends SIGUSR1 {lead} s before the time limit, and SIGTERM to cancel. Either makes cinefeat
# end cleanly, with status 75; out of time, the task goes back to the queue and goes on later.
signalled= out_of_time=
trap 'signalled=1 out_of_time=1; kill -USR1 $pid' USR1
trap 'signalled=1; kill -TERM $pid' TERM
wait $pid; status=$?
while [ $signalled ]; do signalled=; wait $pid; status=$?; done

task=$SLURM_JOB_ID
[ -z "$SLURM_ARRAY_TASK_ID" ] || task=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
if [ $status = 75 ] && [ $out_of_time ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {most} ]; then
    scontrol requeue "$task"
fi
# some clips failed: `cinefeat status` and the ledger tell of them, and the next stages do without
[ $status != 1 ] || status=0
exit $status
"""


@dataclass(frozen=True)
class Step:
    """One call of sbatch.

    Parameters
    ----------
    stage : str
    shards : tuple of int or None
        Tasks of the array; None is a single job.
    arguments : tuple of str
        Further arguments of ``cinefeat stage``.
    options : tuple of str
        Further options of sbatch.
    """

    stage: str
    shards: tuple[int, ...] | None
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def script(title: str, command: tuple[Sequence[str], Sequence[str]], options: Sequence[str]) -> str:
    """Return the text of the script that runs ``cinefeat stage STAGE`` in a job.

    Parameters
    ----------
    title : str
        Of the recipe.
    command : pair of sequences of str
        What stands before the script's own arguments (a stage and its options), and after them.
    options : sequence of str
        Options of sbatch for all jobs.
    """
    every = [
        *options,
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{LEAD_SECONDS}",
    ]
    return _SCRIPT.format(
        title=" ".join(title.split()),
        header="\n".join(f"#SBATCH {option}" for option in every),
        command=f'{shlex.join(command[0])} "$@" \\\n    {shlex.join(command[1])}',
        lead=LEAD_SECONDS,
        most=MOST_RESTARTS,
    )


def sbatch_call(path: Path, prefix: str, step: Step, after: str | None) -> list[str]:
    """Return the call of sbatch for one step that waits for the job `after`.

    The logs lie in the folder ``logs`` beside the script.
    """
    logs = str(path.with_name("logs")).replace("%", "%%")
    log = f"{logs}/%x-{'%j' if step.shards is None else '%A_%a'}.log"
    call = ["sbatch", "--parsable", f"--job-name={job_name(prefix, step.stage)}", f"--output={log}"]
    call += step.options
    if step.shards is not None:
        call.append(f"--array={ranges(step.shards)}")
    if after is not None:
        call += [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"]
    return [*call, str(path), step.stage, *step.arguments]


def job_name(prefix: str, stage: str) -> str:
    """Return the name of a stage's job."""
    return f"{prefix}-{stage}"


def submit_steps(path: Path, prefix: str, steps: Sequence[Step]) -> dict[str, str]:
    """Submit steps as a chain, and return the job id of each stage.

    Raises
    ------
    InputError
        If there is no sbatch, or it refuses a step; the steps before that one are cancelled.
    """
    ids: dict[str, str] = {}
    for step in steps:
        after = list(ids.values())[-1] if ids else None
        try:
            ids[step.stage] = call_slurm(sbatch_call(path, prefix, step, after)).split(";")[0]
        except InputError:
            if ids:
                call_slurm(["scancel", *ids.values()])
            raise
    return ids


def unfinished_jobs(names: Sequence[str]) -> list[str]:
    """Return the ids of the user's jobs of these names that wait or run."""
    answer = call_slurm(
        ["squeue", "--me", "--noheader", "--format=%A", f"--name={','.join(names)}"]
    )
    return sorted(set(answer.split()), key=int)


def call_slurm(call: Sequence[str]) -> str:
    """Run a program of Slurm and return what it says.

    Raises
    ------
    InputError
        If the program is not there, or refuses.
    """
    try:
        done = subprocess.run(call, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InputError(
            f"there is no {call[0]} here: submit on a machine of a Slurm cluster, or see the "
            "script with --dry-run"
        ) from error
    if done.returncode:
        raise InputError(f"{call[0]} refused: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def plan_steps(
    stages: Sequence[tuple[str, str]],
    missing: Mapping[str, int],
    shards: Mapping[str, Sequence[int]],
    count: int,
) -> list[tuple[str, tuple[int, ...] | None]]:
    """Return the stages to submit, in order, each with its shards, or None for a single job.

    What a stage before is still to give is not known yet: after a stage per corpus that is to learn
    anew, all is to be done.

    Parameters
    ----------
    stages : sequence of (str, str)
        Name and "clip" or "corpus", in data-flow order.
    missing : mapping of str to int
        Products that lack, per stage.
    shards : mapping of str to sequence of int
        Shards that lack clips, per stage per clip.
    count : int
        Shards in all.
    """
    steps: list[tuple[str, tuple[int, ...] | None]] = []
    learned_anew = False
    for name, per in stages:
        if per == "corpus":
            if missing[name] or steps:
                steps.append((name, None))
                learned_anew = True
        elif learned_anew:
            steps.append((name, tuple(range(count))))
        elif missing[name]:
            steps.append((name, tuple(shards[name])))
    return steps
