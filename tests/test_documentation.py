"""What README.md and docs/ say holds: links, commands, sections, examples."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner
from test_architecture import ROOT

from cinefeat.pipeline.cli import cinefeat
from cinefeat.pipeline.network_models import MODELS
from cinefeat.pipeline.recipe import shipped_recipes

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PARTS = [
    path
    for folder in ("extractors", "encoders", "classifiers", "models")
    for path in sorted((ROOT / "docs" / folder).glob("*.md"))
]
SECTIONS = [
    "What the paper does",
    "What differs here",
    "Arguments",
    "Shapes and units",
    "Example",
    "Cost measured",
]
FENCE = re.compile(
    r"(?P<before>[^\n]*)\n```(?P<language>\w+)\n(?P<text>.*?)\n```$", re.DOTALL | re.MULTILINE
)
NOT_RUN = "<!-- not run: "


class Block(NamedTuple):
    """A fenced block of a page; `runs` unless the line before it gives a reason why not."""

    language: str
    text: str
    runs: bool


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _blocks(path: Path) -> list[Block]:
    return [
        Block(match["language"], match["text"], not match["before"].startswith(NOT_RUN))
        for match in FENCE.finditer("\n" + path.read_text(encoding="utf-8"))
    ]


def _prose(path: Path) -> str:
    return FENCE.sub("", "\n" + path.read_text(encoding="utf-8"))


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in headings}


def _commands(path: Path) -> Iterator[list[str]]:
    """Yield the words of every line that calls cinefeat, up to a pipe or redirection."""
    for block in _blocks(path):
        if block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == "cinefeat":
                    ends = [
                        i for i, word in enumerate(words) if word in {"|", "||", ">", ";", "&&"}
                    ]
                    yield words[1 : min(ends, default=len(words))]


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{_name(path)} links to {target}"
        if anchor:
            assert anchor in _anchors(file), f"{_name(path)} links to {target}"


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_commands_and_their_options_exist(path: Path) -> None:
    for words in _commands(path):
        command: click.Command = cinefeat
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            found = command.get_command(click.Context(command), words[0])
            assert found is not None, f"{_name(path)}: no command {words}"
            command, words = found, words[1:]
        context = click.Context(command)
        command.make_parser(context).parse_args(words)  # raises for an unknown option


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert listed == {str(path.relative_to(ROOT / "docs")) for path in PAGES[1:]}


@pytest.mark.parametrize("path", PARTS, ids=_name)
def test_pages_of_parts_have_the_same_sections(path: Path) -> None:
    assert re.findall(r"^## (.+)$", _prose(path), re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("path", PARTS, ids=_name)
def test_python_examples_run(path: Path) -> None:
    blocks = [block for block in _blocks(path) if block.language == "python"]
    assert blocks, f"{_name(path)} has no example"
    for block in blocks:
        exec(compile(block.text, _name(path), "exec"), {})  # noqa: S102 - the page is ours


def test_every_learned_model_has_a_page_that_tells_its_table() -> None:
    pages = "".join(p.read_text(encoding="utf-8") for p in PARTS if p.parent.name == "models")
    assert {name for name in MODELS if f'"{name}"' not in pages} == set()


def test_recipes_that_the_page_tells_of_exist() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} <= set(
        shipped_recipes()
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md"])
def test_the_blocks_of_a_page_run_in_order(name: str, tmp_path: Path) -> None:
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in _blocks(ROOT / name):
        if block.runs and block.language in {"sh", "python"}:
            shell = ["bash", "-euo", "pipefail", "-c"]
            start = shell if block.language == "sh" else [sys.executable, "-c"]
            done = subprocess.run(
                [*start, block.text],
                cwd=tmp_path,
                env={**os.environ, "PATH": tools},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block.text}\n{done.stderr}"


def test_the_table_of_the_readme_is_what_the_command_prints() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    folder = ROOT / "data/measured/weizmann"
    done = CliRunner().invoke(cinefeat, ["table", "--markdown", f"Weizmann={folder}"])
    _, _, rest = readme.partition("<!-- begin: cinefeat table -->\n")
    table, end, _ = rest.partition("<!-- end: cinefeat table -->")
    assert end, "README.md has no table"
    assert table == done.stdout, "run: make readme-table"
