"""A real Slurm for the tests, started by `slurm.sh` on free ports and in a folder of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("slurm.sh")
N_NODES = 3
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")


def _reason() -> str:
    """Say why Slurm cannot run here; empty if it can."""
    if os.geteuid() != 0:
        return "a Slurm of the tests' own needs root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"no {', '.join(absent)}: install slurm-wlm and munge" if absent else ""


def _free_ports(count: int) -> int:
    """Return the first of `count` neighbouring ports that nothing listens on."""
    for port in range(21000, 29000, 10):
        try:
            for offset in range(count):
                with socket.socket() as probe:
                    probe.bind(("", port + offset))
        except OSError:
            continue
        return port
    pytest.fail("no free ports from 21000 to 29000")


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which the programs of Slurm find a cluster of three nodes."""
    if reason := _reason():
        if os.environ.get("CINEFEAT_REQUIRE_SLURM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    # the path of a socket may have 107 bytes: pytest's folders are too deep
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        call = [SCRIPT, "start", folder, _free_ports(N_NODES + 1), N_NODES, 1]
        started = subprocess.run([*map(str, call)], capture_output=True, text=True, check=False)
        assert started.returncode == 0, started.stderr
        yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True)
        shutil.rmtree(folder)
