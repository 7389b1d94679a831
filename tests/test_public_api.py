"""What the packages offer: small, documented, and shown at work."""

import importlib
import inspect
import re

import pytest
from test_architecture import ROOT

PACKAGES = ("cinefeat.extractors", "cinefeat.classifiers")
# what only holds values, or needs files to be shown
RECORDS = {
    "Features", "WarpedFlow", "Mixture", "Validation", "TrajectorySettings", "StipSettings",
    "CuboidSettings", "FlowSettings", "TrainingSettings", "DT_GRIDS",
}  # fmt: skip
OF_FILES = {"load_network", "MotionFlow"}
# functions of these take and give no arrays
WITHOUT_ARRAYS = {
    "TrajectorySettings", "StipSettings", "CuboidSettings", "FlowSettings", "flow_settings",
    "TrainingSettings", "Validation", "DT_GRIDS", "load_network", "change_spec", "find_weights",
    "from_arrays", "fit_network", "choose_c", "dense_starts",
}  # fmt: skip
# how docstrings give the shape of an array
SHAPES = ("of shape", "(N", "(T", "(H", "(n", "(M", "(D", "(K", "(...")


def _public() -> list[tuple[str, str]]:
    return [
        (package, name) for package in PACKAGES for name in importlib.import_module(package).__all__
    ]


def _docstring(package: str, name: str) -> str:
    found = getattr(importlib.import_module(package), name)
    own = inspect.getdoc(found) or ""
    # a record's or network's shapes may stand with its main method
    inner = [
        inspect.getdoc(getattr(found, m, None)) or ""
        for m in ("forward", "fit", "transform", "of_video")
    ]
    return own if not inspect.isclass(found) else "\n".join([own, *inner])


@pytest.mark.parametrize(("package", "name"), _public())
def test_every_public_name_is_documented_with_shapes(package: str, name: str) -> None:
    if name == "DT_GRIDS":  # a tuple has no docstring of its own
        return
    text = _docstring(package, name)
    assert len(text) > 20
    if name not in WITHOUT_ARRAYS:
        assert any(shape in text for shape in SHAPES), text


@pytest.mark.parametrize(("package", "name"), _public())
def test_every_public_name_that_computes_is_shown_at_work(package: str, name: str) -> None:
    if name not in RECORDS | OF_FILES:
        assert ">>> " in _docstring(package, name)


@pytest.mark.parametrize(("package", "name"), _public())
def test_every_parameter_is_told(package: str, name: str) -> None:
    found = getattr(importlib.import_module(package), name)
    text = inspect.getdoc(found) or ""
    if not callable(found) or "Parameters\n" not in text:
        return
    section = text.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    told = [line.partition(" : ")[0] for line in section.splitlines() if line[:1] != " "]
    names = set(re.findall(r"\w+", " ".join(told)))
    assert set(inspect.signature(found).parameters) - {"self"} <= names


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_sorted_out_and_exist(package: str) -> None:
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    assert set(module.__all__) <= set(dir(module))


def _summary(package: str, name: str) -> str:
    """Return the first sentence of a docstring, on one line."""
    text = inspect.getdoc(getattr(importlib.import_module(package), name)) or ""
    return " ".join(text.split("\n\n", maxsplit=1)[0].split()).replace("|", "\\|")


def test_the_page_of_the_api_lists_every_public_name() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    for package in (*PACKAGES, "cinefeat.pipeline.datasets"):
        names = sorted(importlib.import_module(package).__all__, key=str.lower)
        rows = [f"| `{n}` | {_summary(package, n)} |" for n in names if n != "DT_GRIDS"]
        _, _, after = page.partition(f"## {package}\n")
        table = [
            line for line in after.partition("\n## ")[0].splitlines() if line.startswith("| `")
        ]
        assert table == rows, f"docs/api.md: {package}"
