"""`cinefeat status`."""

import json
from pathlib import Path
from typing import Any

import click

from cinefeat.pipeline.commands.options import add_digests, choose_folds, load_clips, shared_options
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.job_arrays import ranges
from cinefeat.pipeline.recipe import load_recipe


@click.command()
@shared_options
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    help="Name the shards of N that lack clips: those to submit again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def status(
    recipe: str,
    videos: Path | None,
    group_pattern: str | None,
    manifest: Path | None,
    store: Path,
    protocol: str | None,
    shards: int | None,
    as_json: bool,
) -> int:
    """Show, per stage of RECIPE, how many products are done, failed and missing.

    Nothing is computed but the digests of videos that a manifest lacks. Without --videos or
    --manifest, the store's own manifest is read.

    \b
    Example:
      cinefeat status dt-bow --store store --shards 16
    """
    if videos is None and manifest is None:
        manifest = store / "manifest.csv"
        if not manifest.exists():
            raise InputError(f"{store} has no manifest.csv: give --videos or --manifest")
    # what is learned is known by the digests of its clips: those that the manifest lacks are made
    clips = add_digests(load_clips(videos, group_pattern, manifest, store, 1))
    chosen = load_recipe(recipe)
    _, every = choose_folds(chosen, clips, protocol)
    rows = stage_rows(chosen, clips, store, every, shards)
    if as_json:
        click.echo(json.dumps(rows))
    else:
        _print_table(rows)
    return 0


def stage_rows(
    recipe: Any, clips: Any, store: Path, folds: Any, shards: int | None
) -> list[dict[str, Any]]:
    """Return one row per stage: its counts over all folds, and the shards that lack clips."""
    from cinefeat.pipeline.plan import progress, shard_of, stages_of
    from cinefeat.pipeline.run import Request, nodes_of

    request = Request(recipe, clips, store, folds)
    rows = []
    for stage in stages_of(recipe):
        states = [progress(node) for node in nodes_of(request, stage.name)]
        row: dict[str, Any] = {
            "stage": stage.name,
            "done": sum(len(state.done) for state in states),
            "failed": sum(len(state.failed) for state in states),
            "missing": sum(len(state.missing) for state in states),
        }
        if shards and stage.per == "clip":
            names = {name for state in states for name in state.missing}
            row["shards"] = sorted({shard_of(name, shards) for name in names})
        rows.append(row)
    return rows


def _print_table(rows: list[dict[str, Any]]) -> None:
    click.echo(f"{'stage':<10}{'done':>9}{'failed':>9}{'missing':>9}")
    for row in rows:
        shards = ranges(row.get("shards", ()))
        tail = f"  shards {shards}" if shards else ""
        click.echo(f"{row['stage']:<10}{row['done']:>9}{row['failed']:>9}{row['missing']:>9}{tail}")
