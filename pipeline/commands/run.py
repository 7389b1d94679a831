"""`cinefeat run` and `cinefeat stage`."""

import json
import logging
from pathlib import Path
from typing import Any

import click

from cinefeat.pipeline.commands.options import (
    STAGE_NAMES,
    choose_folds,
    choose_limits,
    choose_shard,
    compute_options,
    engine_option,
    load_clips,
    parse_device,
    refresh,
    shared_options,
)
from cinefeat.pipeline.engines import parse_engine
from cinefeat.pipeline.recipe import load_recipe
from cinefeat.pipeline.stopping import parse_duration, stop_on_signals

_log = logging.getLogger(__name__)


@click.command()
@shared_options
@compute_options
@engine_option
@click.option("--only", metavar="STAGE", help=f"Run this stage alone: {STAGE_NAMES}.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def run(recipe: str, as_json: bool, **options: Any) -> int:
    """Do everything that RECIPE says, and report the accuracy.

    RECIPE is the name of a shipped recipe (see: cinefeat recipes) or a TOML file. What is there
    already is not done again; a run that was stopped goes on where it was.

    \b
    Examples:
      cinefeat run dt-bow --videos videos --store store
      cinefeat run my.toml --manifest clips.csv --store store --protocol k-fold:5 --jobs 8
    """
    return _execute(recipe, as_json=as_json, **options)


@click.command()
@click.argument("name", metavar="STAGE")
@shared_options
@compute_options
@engine_option
def stage(name: str, recipe: str, **options: Any) -> int:
    """Run STAGE of RECIPE alone: the batch form, for job arrays.

    STAGE is one of flow, describe, embed, fit, encode, train, network, evaluate.

    In a job array, --shards 16 takes the shard from the scheduler's variable: the index from 0 of
    Slurm, PBS and AWS Batch, the index from 1 of SGE and LSF. The number of shards is always given:
    an array of some tasks, submitted again, does just their clips.

    \b
    Examples:
      cinefeat stage flow dt-bow --manifest clips.csv --store store --shard 3/16
      cinefeat stage flow dt-bow --manifest clips.csv --store store --shards 16
    """
    return _execute(recipe, only=name, as_json=False, **options)


def _execute(
    name: str,
    *,
    store: Path,
    videos: Path | None,
    group_pattern: str | None,
    manifest: Path | None,
    protocol: str | None,
    shard: str | None,
    shards: int | None,
    jobs: int | None,
    device: str,
    engine: str,
    clip_seconds: float,
    clip_gb: float | None,
    time_budget: str | None,
    only: str | None,
    as_json: bool,
) -> int:
    from cinefeat.pipeline.run import Request, default_jobs
    from cinefeat.pipeline.run import run as run_stages

    recipe, part, place = load_recipe(name), choose_shard(shard, shards), parse_device(device)
    n_jobs, budget = jobs or default_jobs(), parse_duration(time_budget)
    clips = load_clips(videos, group_pattern, manifest, store, n_jobs)
    clips = refresh(clips)
    chosen, every = choose_folds(recipe, clips, protocol, only)
    judged = {clip_id for fold in every for side in (fold.train, fold.test) for clip_id in side}
    used = tuple(clip for clip in clips if clip.id in judged)
    limits = choose_limits(clip_seconds, clip_gb)
    request = Request(
        recipe,
        used,
        store,
        every,
        part,
        n_jobs,
        place,
        only,
        limits=limits,
        engine=parse_engine(engine),
    )
    with stop_on_signals(budget) as stop:
        summary = run_stages(request, stop)
    _say_what_was_made(summary.made, summary.seconds)
    if "evaluate" in summary.made:
        _report(request, chosen, summary, as_json)
    return _status(summary.failures, store)


def _say_what_was_made(made: dict[str, int], seconds: dict[str, float]) -> None:
    if not _log.isEnabledFor(logging.INFO):
        return
    for stage_name, n_products in made.items():
        if n_products:
            spent = seconds[stage_name]
            rate = f"{n_products / spent:.3g} a second" if spent else "at once"
            click.echo(f"{stage_name}: {n_products} products in {spent:.1f} s, {rate}", err=True)
    if not any(made.values()):
        click.echo("nothing was missing", err=True)


def _report(request: Any, protocol: str, summary: Any, as_json: bool) -> None:
    from cinefeat.pipeline.report import gather, result, write_report
    from cinefeat.pipeline.run import nodes_of

    nodes = nodes_of(request, "evaluate")
    evaluation = gather(nodes)
    figures = result(request.recipe, protocol, len(request.clips), evaluation, summary.failures)
    folder = write_report(
        request.store, request.recipe, nodes, figures, evaluation, summary.failures
    )
    click.echo((folder / "confusion.txt").read_text(encoding="utf-8"), err=True)
    click.echo(
        f"accuracy {figures['accuracy']:.1%}, mean class accuracy "
        f"{figures['mean_class_accuracy']:.1%} on {figures['n_test']} clips "
        f"({figures['failures']} failed)\nreport: {folder}",
        err=as_json,
    )
    if as_json:
        times = {name: round(seconds, 3) for name, seconds in summary.seconds.items()}
        click.echo(json.dumps({**figures, "seconds_per_stage": times, "report": str(folder)}))


def _status(failures: dict[tuple[str, str], str], store: Path) -> int:
    from cinefeat.pipeline.cli import OK, SOME_CLIPS_FAILED

    if not failures:
        return OK
    n_clips = len({clip for clip, _ in failures})
    click.echo(f"{n_clips} clips failed: see {store / 'failures.csv'}", err=True)
    return SOME_CLIPS_FAILED
