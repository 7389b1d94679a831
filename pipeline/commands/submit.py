"""`cinefeat submit`."""

import hashlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cinefeat.pipeline.commands.options import (
    choose_folds,
    engine_option,
    load_clips,
    refresh,
    shared_options,
)
from cinefeat.pipeline.commands.status import stage_rows
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.job_arrays import ranges
from cinefeat.pipeline.manifest import Clip, write_manifest
from cinefeat.pipeline.plan import stages_of
from cinefeat.pipeline.recipe import load_recipe, to_toml
from cinefeat.pipeline.settings import Recipe
from cinefeat.pipeline.slurm import (
    Step,
    job_name,
    plan_steps,
    sbatch_call,
    script,
    submit_steps,
    unfinished_jobs,
)
from cinefeat.pipeline.stages import STAGES
from cinefeat.pipeline.store import write_text

_USES_GPU = ("flow", "describe", "embed", "network", "fit")


@click.command()
@shared_options
@engine_option
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    required=True,
    help="Tasks of each array: the clips are cut into so many shards.",
)
@click.option("--partition", help="Partition to submit to. Default: the cluster's.")
@click.option("--time", help="Time limit of each job, as Slurm writes it: 02:00:00, 1-00:00:00.")
@click.option("--gpus", type=click.IntRange(min=1), help="GPUs of each task that computes on them.")
@click.option(
    "--cpus",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processors, and worker processes, of each task.",
)
@click.option(
    "--sbatch-option",
    "sbatch_options",
    multiple=True,
    metavar="OPTION",
    help="A further option of sbatch, such as --sbatch-option=--mem=8G; may be given many times.",
)
@click.option("--dry-run", is_flag=True, help="Print the script and the calls; submit nothing.")
def submit(recipe: str, dry_run: bool, **options: Any) -> int:
    """Compute all stages of RECIPE as jobs of a Slurm cluster.

    Each stage per clip is a job array of --shards tasks, each stage per corpus (fit, train,
    evaluate) one job; each stage waits for the one before. What is done is left out, so the same
    line again finishes what is missing, once the jobs of before have ended. Clips that failed stop
    nothing: `cinefeat status` counts them, and the ledger gives the reasons.

    Two minutes before its time limit a task ends cleanly and goes back to the queue. The script,
    the recipe, the manifest and the logs lie in STORE/jobs.

    \b
    Examples:
      cinefeat submit idt-fv --videos videos --store store --shards 16 --time 04:00:00
      cinefeat status idt-fv --store store --shards 16
    """
    chosen = load_recipe(recipe)
    store: Path = options["store"].absolute()
    clips = refresh(
        load_clips(options["videos"], options["group_pattern"], options["manifest"], store, 1)
    )
    protocol, folds = choose_folds(chosen, clips, options["protocol"])
    count = options["shards"]
    rows = {row["stage"]: row for row in stage_rows(chosen, clips, store, folds, count)}
    stages = [(stage.name, stage.per) for stage in stages_of(chosen)]
    missing = {name: row["missing"] for name, row in rows.items()}
    shards = {name: row.get("shards", ()) for name, row in rows.items()}
    steps = _steps(plan_steps(stages, missing, shards, count), options)
    if not steps:
        click.echo("all stages are done")
        return 0
    batch = _batch(chosen, clips, protocol, store, count, options)
    if dry_run:
        _print_plan(batch, steps)
    else:
        _submit(batch, steps)
    return 0


@dataclass(frozen=True)
class _Batch:
    """What the jobs of one submission read and run, and where that lies."""

    name: str
    folder: Path
    script: str
    recipe: Recipe
    clips: tuple[Clip, ...]


def _batch(
    recipe: Recipe,
    clips: tuple[Clip, ...],
    protocol: str,
    store: Path,
    count: int,
    options: dict[str, Any],
) -> _Batch:
    """Describe a submission; the same recipe, clips, protocol and shards have the same folder."""
    about = [to_toml(recipe), protocol, str(count), *sorted(clip.id for clip in clips)]
    name = f"{recipe.name}-{hashlib.sha256(chr(10).join(about).encode()).hexdigest()[:8]}"
    folder = store / "jobs" / name
    before = (sys.executable, "-m", "cinefeat.pipeline", "stage")
    after = [str(folder / "recipe.toml"), "--manifest", str(folder / "manifest.csv")]
    after += ["--store", str(store), "--jobs", str(options["cpus"])]
    after += ["--protocol", protocol] if protocol else []
    header = [f"--cpus-per-task={options['cpus']}"]
    header += [f"--{key}={options[key]}" for key in ("partition", "time") if options[key]]
    header += options["sbatch_options"]
    text = script(recipe.title, (before, after), header)
    return _Batch(name, folder, text, recipe, clips)


def _steps(
    planned: Sequence[tuple[str, tuple[int, ...] | None]], options: dict[str, Any]
) -> list[Step]:
    steps, gpus = [], options["gpus"]
    for stage, shards in planned:
        on_gpu = gpus is not None and stage in _USES_GPU
        # what learns from the corpus may spread further; what does not is cut into shards
        name, value = (
            ("engine", options["engine"]) if shards is None else ("shards", options["shards"])
        )
        arguments = [f"--{name}", str(value)]
        arguments += ["--device", "cuda"] if on_gpu else []
        asked = (f"--gpus-per-task={gpus}",) if on_gpu else ()
        steps.append(Step(stage, shards, tuple(arguments), asked))
    return steps


def _print_plan(batch: _Batch, steps: Sequence[Step]) -> None:
    path = batch.folder / "stage.sh"
    click.echo(f"# {path}\n{batch.script}")
    before = None
    for step in steps:
        call = shlex.join(sbatch_call(path, batch.name, step, before and "BEFORE"))
        click.echo(f"{step.stage}=$({call.replace('BEFORE', f'${before}')})")
        before = step.stage


def _submit(batch: _Batch, steps: Sequence[Step]) -> None:
    """Write what the jobs read, submit them, and print their ids."""
    names = [job_name(batch.name, stage.name) for stage in STAGES]
    if unfinished := unfinished_jobs(names):
        raise InputError(
            f"jobs {', '.join(unfinished)} of the same line wait or run: let them end, or "
            f"scancel {' '.join(unfinished)}"
        )
    (batch.folder / "logs").mkdir(parents=True, exist_ok=True)
    write_text(batch.folder / "recipe.toml", to_toml(batch.recipe))
    write_text(batch.folder / "stage.sh", batch.script)
    write_manifest(batch.folder / "manifest.csv", batch.clips)
    ids = submit_steps(batch.folder / "stage.sh", batch.name, steps)
    for step in steps:
        tasks = "" if step.shards is None else f"  shards {ranges(step.shards)}"
        click.echo(f"{step.stage:<10}{ids[step.stage]:>9}{tasks}")
    click.echo(f"script, manifest and logs: {batch.folder}")
