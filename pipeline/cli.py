"""The command line: a table of commands, each imported only when it is used.

Exit status: 0 done; 1 some clips failed, and the rest is done; 2 bad input, or a disk that is full
or refuses; 70 an error of the program; 75 stopped early, by SIGTERM, SIGUSR1 or --time-budget:
queue it again; 130 interrupted. Nothing is half-written in any case.
"""

import importlib
import logging
import sys
import traceback
from typing import Any

import click

from cinefeat.pipeline.disk import explain
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.stopping import Stopped

OK, SOME_CLIPS_FAILED, BAD_INPUT, PROGRAM_ERROR, REQUEUE, INTERRUPTED = 0, 1, 2, 70, 75, 130

# command -> (module of cinefeat.pipeline.commands, one line for the list of commands)
COMMANDS = {
    "run": ("run", "Do everything that a recipe says, and report the accuracy."),
    "scan": ("scan", "Write the manifest of a folder of videos."),
    "fit-network": ("fit_network", "Train the networks of a recipe, on one or several GPUs."),
    "stage": ("run", "Run one stage of a recipe alone."),
    "embed": ("embed", "Compute network features, and name the classes that are seen."),
    "show": ("show", "Show flow, tracks, windows or features of a video beside its frames."),
    "show-activations": ("activations", "Picture what maps of a network respond to in a video."),
    "weights": ("weights", "List, fetch, convert and check network weights."),
    "export-model": ("predict", "Pack what a recipe has learned into one file."),
    "predict": ("predict", "Label new videos by an exported model."),
    "fuse": ("fuse", "Fuse the scores of several systems, and compare them."),
    "submit": ("submit", "Compute all stages as job arrays of a Slurm cluster."),
    "table": ("table", "Print published accuracies beside what was measured here."),
    "status": ("status", "Show what is done, failed and missing."),
    "report": ("report", "Show a run, and how it compares with others, as one HTML page."),
    "recipes": ("recipes", "List the shipped recipes, or print one."),
    "describe": ("inspect", "Say in words what is in an HDF5 file."),
    "export-flow": ("interchange", "Write stored flow as images or .flo files."),
    "import-flow": ("interchange", "Take flow from the files of another program."),
    "export-idt": ("interchange", "Write trajectories as the text of the authors' program."),
    "import-idt": ("interchange", "Take trajectories from the text of the authors' program."),
    "import-features": ("interchange", "Take features from the arrays of another program."),
    "pack": ("pack", "Join one stage's products into one HDF5 file."),
    "export-arrays": ("pack", "Write one stage's products as .npz or .npy files, a clip each."),
    "export-table": ("pack", "Write packed encodings, or scores, as Parquet or Arrow."),
    "compare": ("compare", "Compare two feature files: cosine per row, first difference."),
    "verify": ("inspect", "Check that every file of a store is whole and what it claims to be."),
    "demo": ("scan", "Write a small synthetic action data set."),
    "doctor": ("doctor", "Check the installation."),
}


class _Commands(click.Group):
    """Commands of the table, imported when named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cinefeat.pipeline.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # from the table alone: the list of commands should not import what they need
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cinefeat")
@click.option("-q", "--quiet", is_flag=True, help="Tell of failures alone, not of progress.")
@click.option("-v", "--verbose", is_flag=True, help="Tell of every product when it is done.")
def cinefeat(quiet: bool, verbose: bool) -> None:
    """Offline optical flow, video features and classical action classifiers.

    Begin with:  cinefeat run dt-bow --videos VIDEOS --store STORE
    """
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other: give one of them")
    if quiet or verbose:
        level = logging.WARNING if quiet else logging.DEBUG
        logging.getLogger("cinefeat").setLevel(level)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    sys.exit(_status(arguments))


def _status(arguments: list[str] | None) -> int:
    try:
        value: Any = cinefeat.main(arguments, standalone_mode=False)
    except InputError as error:
        click.echo(f"cinefeat: {error}", err=True)
        return BAD_INPUT
    except click.ClickException as error:
        error.show()
        return BAD_INPUT
    except Stopped as stopped:
        click.echo(f"cinefeat: {stopped}; run the same line again to go on", err=True)
        return REQUEUE
    except (KeyboardInterrupt, click.Abort):
        click.echo("cinefeat: interrupted; run the same line again to go on", err=True)
        return INTERRUPTED
    except OSError as error:
        sentence = explain(error)
        if not sentence:
            traceback.print_exc()
            return PROGRAM_ERROR
        click.echo(f"cinefeat: {sentence}", err=True)
        return BAD_INPUT
    except Exception:  # noqa: BLE001 - shown whole: an error of the program, not of the user
        traceback.print_exc()
        return PROGRAM_ERROR
    return value if isinstance(value, int) else OK
