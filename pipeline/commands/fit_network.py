"""`cinefeat fit-network`."""

import os
from pathlib import Path

import click

from cinefeat.pipeline.commands.options import (
    choose_folds,
    load_clips,
    parse_device,
    refresh,
    shared_options,
)
from cinefeat.pipeline.recipe import load_recipe
from cinefeat.pipeline.stopping import parse_duration


@click.command(name="fit-network")
@shared_options
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Worker processes. Default: one per processor."
)
@click.option(
    "--device", default="cpu", show_default=True, help="Where to compute: cpu, cuda or cuda:K."
)
@click.option(
    "--time-budget",
    metavar="DURATION",
    help="End before it is over, with status 75, and go on by the same line: 90m, 8h, 1-12:00:00. "
    "Under torchrun it does nothing.",
)
def fit_network(
    recipe: str,
    videos: Path | None,
    group_pattern: str | None,
    manifest: Path | None,
    store: Path,
    protocol: str | None,
    jobs: int | None,
    device: str,
    time_budget: str | None,
) -> int:
    """Train the networks of RECIPE, one for each fold and stream, and nothing that comes after.

    What is missing before (flow, features) is made first. A training that was stopped goes on in
    the middle of its epoch, and ends at the weights of an undisturbed one; SIGTERM and SIGUSR1 end
    it with status 75. Under torchrun several processes train together. Learning curves lie beside
    each network, as PNG and in its HDF5 file.

    \b
    Examples:
      cinefeat fit-network action-vlad --videos videos --store store
      torchrun --nproc-per-node 4 -m cinefeat.pipeline fit-network action-vlad \\
        --manifest clips.csv --store store --device cuda
    """
    from cinefeat.pipeline.run import Request, default_jobs
    from cinefeat.pipeline.training import train_networks

    chosen, place, n_jobs = load_recipe(recipe), parse_device(device), jobs or default_jobs()
    budget = parse_duration(time_budget)
    clips = refresh(load_clips(videos, group_pattern, manifest, store, n_jobs))
    _, folds = choose_folds(chosen, clips, protocol, "network")
    judged = {clip_id for fold in folds for side in (fold.train, fold.test) for clip_id in side}
    used = tuple(clip for clip in clips if clip.id in judged)
    request = Request(chosen, used, store, folds, None, n_jobs, place)
    summary, products = train_networks(request, budget)
    if os.environ.get("RANK", "0") == "0":
        click.echo(f"{summary.made.get('network', 0)} networks trained", err=True)
        for product in products:
            click.echo(f"{product}\n{product.with_suffix('.png')}")
    return 1 if summary.failures else 0
