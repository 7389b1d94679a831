"""The examples in docstrings run as written."""

import doctest
import importlib

import numpy as np
import pytest
from test_architecture import MODULES, _name


@pytest.mark.parametrize("name", [_name(path) for path in MODULES])
def test_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, extraglobs={"np": np})
    assert outcome.failed == 0
