"""`cinefeat export-model` and `cinefeat predict`."""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from cinefeat.pipeline.commands.options import (
    choose_folds,
    load_clips,
    parse_device,
    refresh,
    shared_options,
)
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.recipe import load_recipe

ALL = "all"

_OUTPUT = click.Path(path_type=Path)
_jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), help="Worker processes. Default: one per processor."
)
_device_option = click.option(
    "--device", default="cpu", show_default=True, help="Where to compute: cpu, cuda or cuda:K."
)


@click.command(name="export-model")
@shared_options
@click.option("--fold", help="Whose classifier, where the protocol has several folds.")
@click.option("-o", "--output", type=_OUTPUT, required=True, help="The model file to write.")
@_jobs_option
@_device_option
def export_model(
    recipe: str,
    videos: Path | None,
    group_pattern: str | None,
    manifest: Path | None,
    store: Path,
    protocol: str | None,
    fold: str | None,
    output: Path,
    jobs: int | None,
    device: str,
) -> int:
    """Pack what RECIPE learned on one fold into one file, for `cinefeat predict`.

    The protocol `all`, which is for this command alone, learns from all clips of the manifest and
    tests none: a model to be used rather than judged. What is missing in the store is made first;
    without --videos or --manifest, the store's own manifest is read.

    \b
    Example:
      cinefeat export-model idt-fv --store store --protocol all -o actions.h5
    """
    from cinefeat.pipeline.models import write_model
    from cinefeat.pipeline.plan import classifies, plan
    from cinefeat.pipeline.predicting import run_before_evaluation
    from cinefeat.pipeline.protocol import Fold
    from cinefeat.pipeline.run import Request, default_jobs

    chosen = load_recipe(recipe)
    if not classifies(chosen):
        raise InputError(
            f"recipe {chosen.name} has no table [train] or [network] that learns to classify"
        )
    if videos is None and manifest is None:
        manifest = store / "manifest.csv"
    n_jobs = jobs or default_jobs()
    clips = refresh(load_clips(videos, group_pattern, manifest, store, n_jobs))
    if protocol == ALL:
        folds: tuple[Fold, ...] = (Fold(ALL, tuple(clip.id for clip in clips), ()),)
    else:
        protocol, folds = choose_folds(chosen, clips, protocol)
    one = _choose(folds, fold)
    trained = set(one.train)
    used = tuple(clip for clip in clips if clip.id in trained)
    request = Request(chosen, used, store, (one,), None, n_jobs, parse_device(device))
    failures = run_before_evaluation(request)
    write_model(output, chosen, plan(chosen, store, used, one), protocol, one.name)
    click.echo(f"model of {len(one.train)} clips ({len(failures)} failed): {output}")
    return 1 if failures else 0


def _choose(folds: Any, name: str | None) -> Any:
    by_name = {fold.name: fold for fold in folds}
    if name is None and len(by_name) == 1:
        return folds[0]
    if name not in by_name:
        problem = "choose one of the folds" if name is None else f"there is no fold {name!r}"
        raise InputError(
            f"{problem} with --fold {'|'.join(by_name)}, or learn from all clips by --protocol {ALL}"
        )
    return by_name[name]


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Folder that keeps what is computed, so that a stopped run goes on. Default: none is kept.",
)
@click.option("-o", "--output", type=_OUTPUT, help="CSV of predictions and scores to write.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
@_jobs_option
@_device_option
def predict(
    model: Path,
    videos: tuple[Path, ...],
    store: Path | None,
    output: Path | None,
    as_json: bool,
    jobs: int | None,
    device: str,
) -> int:
    """Label new VIDEOS (files, or folders of them) by a MODEL of `cinefeat export-model`.

    Prints the label of greatest score for each clip. Scores are margins, or probabilities where the
    recipe says so. Exit status 1 if some clips failed; the others are labelled.

    \b
    Example:
      cinefeat predict actions.h5 new_videos -o predictions.csv
    """
    from cinefeat.pipeline.predicting import find_clips, label_clips, predictions_csv
    from cinefeat.pipeline.run import default_jobs
    from cinefeat.pipeline.store import write_text

    place = parse_device(device)
    clips = refresh(find_clips(videos))
    with ExitStack() as stack:
        if store is None:
            store = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cinefeat-")))
        found = label_clips(model, clips, store, jobs or default_jobs(), place)
    if output is not None:
        write_text(output, predictions_csv(found))
    for clip, label, scores in zip(found.clips, found.predicted, found.scores, strict=True):
        click.echo(f"{clip}: {label} {scores.max():.4g}", err=as_json)
    for clip, reason in found.failures.items():
        click.echo(f"{clip}: failed: {reason}", err=True)
    if as_json:
        click.echo(json.dumps(found.to_dict()))
    return 1 if found.failures else 0
