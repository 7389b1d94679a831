"""A whole recipe as job arrays of a real Slurm, disturbed, against the same recipe run here.

Starts a Slurm of three nodes on this machine (tests/cluster/slurm.sh; needs root, Debian's slurm-wlm
and munge), submits the recipe in six shards, cancels two tasks of the first array, kills one with
SIGKILL and requeues one while it runs, asks `cinefeat status` what is missing, submits the same line
once more, and compares every array and the accuracy with those of a local run. Ends with status 1 if
anything differs.

    python benchmarks/slurm_run.py ../shared/data/weizmann/manifest.csv --recipe idt-fv --work /tmp/work

The folder of --work must not have been used before. About half an hour on two cores.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SCRIPT = Path(__file__).parents[1] / "tests/cluster/slurm.sh"
N_NODES, N_SHARDS, PORT = 3, 6, 23100
CANCELLED, KILLED, REQUEUED = (0, 5), 1, 2
Environment = dict[str, str]


@contextmanager
def slurm() -> Iterator[Environment]:
    """Start the cluster; give the environment in which its programs find it."""
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        call = [str(SCRIPT), "start", folder, str(PORT), str(N_NODES), "1"]
        try:
            subprocess.run(call, check=True)
            yield {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf", "OMP_NUM_THREADS": "1"}
        finally:
            subprocess.run([str(SCRIPT), "stop", folder], check=True)


def cinefeat(env: Mapping[str, str], *arguments: object) -> str:
    """Run the program and return what it prints."""
    call = [sys.executable, "-m", "cinefeat.pipeline", *map(str, arguments)]
    return subprocess.run(call, stdout=subprocess.PIPE, text=True, env=env, check=True).stdout


def ask(env: Environment, *call: str) -> str:
    """Run a program of Slurm and return what it prints."""
    return subprocess.run(call, stdout=subprocess.PIPE, text=True, env=env, check=True).stdout


def wait_for(condition: Callable[[], object]) -> None:
    """Look twice a second until a condition holds."""
    while not condition():
        time.sleep(0.5)


def disturb(env: Environment, job: str) -> None:
    """Cancel, kill and requeue tasks of the first array once three of them run."""
    running = "squeue", "--noheader", "--states=R", "--format=%K", f"--jobs={job}"
    wait_for(lambda: len(ask(env, *running).split()) == N_NODES)
    time.sleep(5)
    ask(env, "scancel", *(f"{job}_{task}" for task in CANCELLED))
    ask(env, "scancel", "--signal=KILL", "--full", f"{job}_{KILLED}")
    ask(env, "scontrol", "requeue", f"{job}_{REQUEUED}")


def finish(env: Environment) -> float:
    """Wait until no job is left; return the seconds."""
    started = time.perf_counter()
    wait_for(lambda: not ask(env, "squeue", "--noheader"))
    return time.perf_counter() - started


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a product by name."""
    found: dict[str, np.ndarray] = {}

    def take(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = np.asarray(node[()])

    with h5py.File(path) as file:
        file.visititems(take)
    return found


def different(there: Path, here: Path) -> list[str]:
    """Return the products that only one of two stores has, or whose arrays differ."""
    products = [{str(p.relative_to(store)) for p in store.rglob("*.h5")} for store in (there, here)]
    found = sorted(products[0] ^ products[1])
    for name in sorted(products[0] & products[1]):
        one, other = arrays_of(there / name), arrays_of(here / name)
        same = one.keys() == other.keys() and all(
            np.array_equal(one[key], other[key], equal_nan=one[key].dtype.kind == "f")
            for key in one
        )
        found += [] if same else [name]
    return found


def accuracy_of(store: Path) -> float:
    """Return the accuracy that the only report of a store tells."""
    (path,) = store.glob("reports/*/result.json")
    return float(json.loads(path.read_text())["accuracy"])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the recipe here and there; return the figures."""
    work: Path = options.work
    recipe = (options.recipe, "--manifest", options.manifest)
    here, there = work / "here", work / "there"
    started = time.perf_counter()
    cinefeat({**os.environ, "OMP_NUM_THREADS": "1"}, "run", *recipe, "--store", here, "--jobs", 2)
    found: dict[str, Any] = {"local run, s": round(time.perf_counter() - started)}
    line = (*recipe, "--store", there, "--shards", N_SHARDS)
    with slurm() as env:
        first = re.findall(r"^\w+ +(\d+)", cinefeat(env, "submit", *line), re.MULTILINE)[0]
        disturb(env, first)
        found["disturbed submission, s"] = round(finish(env))
        lost = [
            row for row in json.loads(cinefeat(env, "status", *line, "--json")) if row["missing"]
        ]
        found["shards that status names"] = lost[0]["shards"]
        found["resubmitted"] = cinefeat(env, "submit", *line).splitlines()[0]
        found["resubmission, s"] = round(finish(env))
        left = json.loads(cinefeat(env, "status", *line, "--json"))
        found["missing or failed after it"] = sum(row["missing"] + row["failed"] for row in left)
        found["submitted a third time"] = cinefeat(env, "submit", *line).strip()
    found["products"] = sum(1 for _ in there.rglob("*.h5"))
    found["products that differ"] = different(there, here)
    found["temporary files"] = sum(1 for _ in there.rglob("*.tmp"))
    found["accuracy there, here"] = accuracy_of(there), accuracy_of(here)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--recipe", default="idt-fv")
    parser.add_argument("--work", type=Path, required=True, help="folder of both stores")
    found = measure(parser.parse_args())
    for name, value in found.items():
        print(f"{name:28} {value}")
    there, here = found["accuracy there, here"]
    expected = sorted([*CANCELLED, KILLED])
    sys.exit(
        bool(found["products that differ"])
        or there != here
        or found["shards that status names"] != expected
        or found["missing or failed after it"] > 0
    )


if __name__ == "__main__":
    main()
