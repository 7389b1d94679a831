"""Jobs of Slurm: what is submitted, and what the script makes of signals and statuses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.slurm import Step, call_slurm, plan_steps, sbatch_call, script, submit_steps

STAGES = [("flow", "clip"), ("describe", "clip"), ("fit", "corpus"), ("encode", "clip"),
          ("train", "corpus")]  # fmt: skip
ALL = {"flow": 4, "describe": 4, "fit": 5, "encode": 12, "train": 3}


@pytest.mark.parametrize(
    "missing, shards, steps",
    [
        (
            ALL,
            {"flow": [0, 1, 2], "describe": [0, 1, 2], "encode": [0, 1, 2]},
            [("flow", (0, 1, 2)), ("describe", (0, 1, 2)), ("fit", None), ("encode", (0, 1, 2)),
             ("train", None)],
        ),
        # what encode lacks is not known before fit has ended
        (
            {**ALL, "flow": 0, "describe": 1, "encode": 1},
            {"describe": [1], "encode": [1]},
            [("describe", (1,)), ("fit", None), ("encode", (0, 1, 2)), ("train", None)],
        ),
        (
            {**ALL, "flow": 0, "describe": 0, "fit": 0, "encode": 2},
            {"encode": [0, 2]},
            [("encode", (0, 2)), ("train", None)],
        ),
        (dict.fromkeys(ALL, 0), {}, []),
    ],
)  # fmt: skip
def test_what_is_done_is_left_out(
    missing: dict[str, int], shards: dict[str, list[int]], steps: list[object]
) -> None:
    assert plan_steps(STAGES, missing, shards, 3) == steps


def test_an_array_waits_for_the_one_before_and_names_its_shards() -> None:
    step = Step("flow", (0, 3, 4, 5), ("--shards", "6"), ("--gpus-per-task=1",))
    call = sbatch_call(Path("/s/a%b/stage.sh"), "dt-1", step, "17")
    assert call == [
        "sbatch", "--parsable", "--job-name=dt-1-flow", "--output=/s/a%%b/logs/%x-%A_%a.log",
        "--gpus-per-task=1", "--array=0,3-5", "--dependency=afterok:17",
        "--kill-on-invalid-dep=yes", "/s/a%b/stage.sh", "flow", "--shards", "6",
    ]  # fmt: skip


def test_a_single_job_without_a_job_before() -> None:
    call = sbatch_call(Path("/s/stage.sh"), "dt-1", Step("fit", None), None)
    assert not [word for word in call if word.startswith(("--array", "--dependency"))]
    assert call[-2:] == ["/s/stage.sh", "fit"]


def test_without_slurm_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match=r"no sbatch here: .*--dry-run"):
        call_slurm(["sbatch"])


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_a_step_that_is_refused_takes_those_before_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "sbatch", '[[ "$*" != *fit* ]] || { echo "no such partition" >&2; exit 1; }\n'
            "echo 7")  # fmt: skip
    program(tmp_path, "scancel", f'echo "$*" > {tmp_path}/cancelled')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(InputError, match="sbatch refused: no such partition"):
        submit_steps(Path("/s/stage.sh"), "dt", [Step("flow", (0,)), Step("fit", None)])
    assert (tmp_path / "cancelled").read_text() == "7\n"


# stands for cinefeat: waits to be stopped, or ends at once with the status that it is given
FAKE = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print(sys.argv[1:], flush=True)
if sys.argv[1] != "wait":
    sys.exit(int(sys.argv[1]))
time.sleep(30)
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The script, with a stand-in for cinefeat and for scontrol beside it."""
    (tmp_path / "fake.py").write_text(FAKE)
    program(tmp_path, "scontrol", f'echo "$*" >> {tmp_path}/requeued')
    command = ([sys.executable, f"{tmp_path}/fake.py"], ["a recipe's.toml", "--jobs", "1"])
    path = tmp_path / "stage.sh"
    path.write_text(script("Words\nand $(touch x)", command, ["--partition=short"]))
    return path


def start(job: Path, *arguments: str, **env: str) -> subprocess.Popen:
    before = {"PATH": f"{job.parent}:{os.environ['PATH']}", "SLURM_JOB_ID": "9", **env}
    return subprocess.Popen(["bash", job, *arguments], env=before, cwd=job.parent,
                            stdout=subprocess.PIPE, text=True)  # fmt: skip


def requeued(job: Path) -> str:
    path = job.parent / "requeued"
    return path.read_text() if path.exists() else ""


def test_the_script_is_read_by_sbatch_and_by_people(job: Path) -> None:
    lines = job.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert lines[1].startswith("# Words and $(touch x): one stage")
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert directives == [
        "#SBATCH --partition=short", "#SBATCH --open-mode=append", "#SBATCH --requeue",
        "#SBATCH --signal=B:USR1@120",
    ]  # fmt: skip
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(lines.index(line) < first_command for line in directives)


@pytest.mark.parametrize("status, ends_with", [(0, 0), (1, 0), (2, 2), (70, 70), (75, 75)])
def test_clips_that_failed_do_not_break_the_chain(job: Path, status: int, ends_with: int) -> None:
    process = start(job, str(status), "--shards", "6")
    out, _ = process.communicate(timeout=20)
    assert (
        out == f"{[str(status), '--shards', '6', 'a recipe' + chr(39) + 's.toml', '--jobs', '1']}\n"
    )
    assert process.returncode == ends_with
    assert not requeued(job)


@pytest.mark.parametrize(
    "number, env, call",
    [
        (signal.SIGUSR1, {}, "requeue 9\n"),
        (
            signal.SIGUSR1,
            {"SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "0"},
            "requeue 9_0\n",
        ),
        (signal.SIGUSR1, {"SLURM_RESTART_COUNT": "20"}, ""),
        (signal.SIGTERM, {}, ""),
    ],
)
def test_out_of_time_it_goes_back_to_the_queue_and_cancelled_it_does_not(
    job: Path, number: signal.Signals, env: dict[str, str], call: str
) -> None:
    process = start(job, "wait", **env)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(20) == 75
    assert requeued(job) == call
