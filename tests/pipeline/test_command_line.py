"""Manners of the command line: help, exit statuses, quiet and verbose, no colours."""

import logging
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from cinefeat.pipeline import cli
from cinefeat.pipeline.cli import COMMANDS, cinefeat, main
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.progress import track
from cinefeat.pipeline.stopping import Stopped


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """Leave the logger as it was."""
    logger = logging.getLogger("cinefeat")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_and_no_colour(name: str) -> None:
    done = CliRunner().invoke(cinefeat, [name, "--help"], color=True)
    assert done.exit_code == 0
    assert "Example" in done.stdout
    assert f"cinefeat {name}" in done.stdout.partition("Example")[2]
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("raised", "status", "told"),
    [
        (None, 0, ""),
        (InputError("clips is -1; it is above 0"), 2, "cinefeat: clips is -1; it is above 0\n"),
        (Stopped("SIGTERM came"), 75, "run the same line again to go on"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (ZeroDivisionError("of ours"), 70, "Traceback"),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_exit_statuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    raised: BaseException | None, status: int, told: str,
) -> None:  # fmt: skip
    def command(*_: object, **__: object) -> int:
        if raised is not None:
            raise raised
        return 0

    monkeypatch.setattr(cli.cinefeat, "main", command)
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == status
    assert told in capsys.readouterr().err


def test_an_unknown_option_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--loud"])
    assert ended.value.code == 2
    assert "No such option" in capsys.readouterr().err


def test_quiet_and_verbose_exclude_each_other() -> None:
    done = CliRunner().invoke(cinefeat, ["--quiet", "--verbose", "doctor"])
    assert done.exit_code == 2
    assert "exclude each other" in done.stderr


@pytest.mark.parametrize(
    ("options", "level"),
    [(["-q"], logging.WARNING), ([], logging.NOTSET), (["-v"], logging.DEBUG)],
)
def test_how_much_is_told(options: list[str], level: int) -> None:
    logging.getLogger("cinefeat").setLevel(logging.NOTSET)
    assert CliRunner().invoke(cinefeat, [*options, "recipes"]).exit_code == 0
    assert logging.getLogger("cinefeat").level == level


def test_quiet_progress_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("cinefeat").setLevel(logging.WARNING)
    assert list(track(range(3), 3, "flow", seconds=0.001)) == [0, 1, 2]
    assert caplog.records == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered(shell: str) -> None:
    done = CliRunner().invoke(
        cinefeat, prog_name="cinefeat", env={"_CINEFEAT_COMPLETE": f"{shell}_source"}
    )
    assert done.exit_code == 0
    assert "_CINEFEAT_COMPLETE" in done.stdout
