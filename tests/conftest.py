"""Fixtures shared by every test: where the research data lies, and seeds."""

import os
from pathlib import Path

import numpy as np
import pytest


def _data_root() -> Path | None:
    named = os.environ.get("CINEFEAT_TEST_DATA")
    candidates = [Path(named)] if named else [Path(__file__).resolve().parents[2] / "shared"]
    return next((c for c in candidates if (c / "data").is_dir()), None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with `data/` and `reference/`; skips where it is absent."""
    root = _data_root()
    if root is None:
        reason = "no research data: set CINEFEAT_TEST_DATA to a folder with data/ and reference/"
        if os.environ.get("CINEFEAT_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return root


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240613)
