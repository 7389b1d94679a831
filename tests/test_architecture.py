"""The rules of the tree: who imports whom, what is documented, what is packaged."""

import ast
import configparser
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cinefeat.pipeline.cli import COMMANDS
from cinefeat.pipeline.settings import Recipe
from cinefeat.pipeline.stages import STAGES

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("extractors", "classifiers", "pipeline")
SHELL_ONLY = {"h5py", "click", "argparse", "logging", "subprocess", "tomllib", "pydantic", "tqdm"}
FORBIDDEN = {
    "extractors": SHELL_ONLY | {"sklearn", "joblib", "cinefeat.pipeline", "cinefeat.classifiers"},
    "classifiers": SHELL_ONLY | {"cv2", "cinefeat.pipeline", "cinefeat.extractors"},
    "pipeline": {"sklearn"},
}
MODULES = [
    path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.name != "__main__.py"
]


def _name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[:2] == ["pipeline", "_top"]:
        return "cinefeat"
    return ".".join(["cinefeat", *(part for part in parts if part != "__init__")])


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""


def _public_functions(path: Path) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not any(isinstance(d, ast.Name) and d.id == "overload" for d in node.decorator_list):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_run_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in _imports(path):
        crossed = [bad for bad in FORBIDDEN[package] if name == bad or name.startswith(f"{bad}.")]
        assert not crossed, f"{_name(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_the_pure_packages_open_no_file(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] == "pipeline" or path.name == "weights.py":
        return
    calls = (
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )
    assert "open" not in calls
    assert "print" not in calls


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_every_public_name_says_what_it_is(path: Path) -> None:
    assert importlib.import_module(_name(path)).__doc__
    for node in _public_functions(path):
        assert ast.get_docstring(node), f"{_name(path)}.{node.name} has no docstring"


@pytest.mark.parametrize("path", [p for p in MODULES if "fastmath" in p.read_text()], ids=_name)
def test_kernels_of_fast_arithmetic_are_part_of_their_caller(path: Path) -> None:
    # else a process that has just compiled them runs another copy than one that loads its caller
    # from the cache, and copies round differently
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            names = {keyword.arg for keyword in node.keywords}
            assert "fastmath" not in names or "forceinline" in names, f"line {node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_functions_stay_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            doc = ast.get_docstring(node, clean=False)
            lines = (node.end_lineno or 0) - node.lineno + 1 - (doc.count("\n") + 1 if doc else 0)
            assert lines <= 60, f"{_name(path)}.{node.name} has {lines} lines of code"


@pytest.mark.parametrize("package", ["extractors", "classifiers"])
def test_every_public_name_of_a_package_is_there(package: str) -> None:
    module = importlib.import_module(f"cinefeat.{package}")
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name).__doc__, name


def test_every_folder_of_modules_is_packaged() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {_name(path) for path in MODULES if path.name == "__init__.py"}
    assert listed == found


def test_a_stage_needs_only_earlier_stages_and_has_a_table_and_a_function() -> None:
    seen: set[str] = set()
    for stage in STAGES:
        assert set(stage.needs) <= seen, stage.name
        assert stage.name in Recipe.model_fields
        module, function = stage.run.split(":")
        assert callable(getattr(importlib.import_module(module), function))
        assert (stage.per == "corpus") == bool(stage.reads) == bool(stage.product or stage.parts)
        seen.add(stage.name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_for_each_option(name: str) -> None:
    module = importlib.import_module(f"cinefeat.pipeline.commands.{COMMANDS[name][0]}")
    command = getattr(module, name.replace("-", "_"))
    assert command.help
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{name} {parameter.name} has no help"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_bare_name_of_a_source_folder_is_refused(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    with pytest.raises(ImportError, match=f"cinefeat.{package}"):
        importlib.import_module(package)
