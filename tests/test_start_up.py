"""The command line starts without what only some commands need."""

import subprocess
import sys

import pytest

HEAVY = ["torch", "numba", "cv2", "h5py", "matplotlib", "sklearn", "scipy", "numpy", "pydantic"]
SCRIPT = """
import sys
from cinefeat.pipeline.cli import main
try:
    main({arguments})
except SystemExit as end:
    assert not end.code, end.code
print(*sorted(set({heavy}) & set(sys.modules)), file=sys.stderr)
"""


def _imported(*arguments: str) -> list[str]:
    script = SCRIPT.format(arguments=list(arguments), heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stderr.split()


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)], ids=str)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert _imported(*arguments) == []


@pytest.mark.parametrize("name", ["run", "recipes", "scan", "embed"])
def test_help_of_a_command_does_without_torch(name: str) -> None:
    assert not {"torch", "numba"} & set(_imported(name, "--help"))
