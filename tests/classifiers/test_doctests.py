import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import cinefeat.classifiers

MODULES = sorted(m.name for m in pkgutil.iter_modules(cinefeat.classifiers.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name):
    module = importlib.import_module(f"cinefeat.classifiers.{name}")
    result = doctest.testmod(module, extraglobs={"np": np})
    assert result.failed == 0
