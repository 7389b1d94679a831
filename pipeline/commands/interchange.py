"""Files of other programs: flow, trajectories and features, out of a store and into one."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cinefeat.pipeline.commands.options import (
    choose_folds,
    choose_shard,
    clip_options,
    load_clips,
    refresh,
    worker_options,
)
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.recipe import load_recipe
from cinefeat.pipeline.settings import (
    ImportedFeatureSettings,
    ImportedFlowSettings,
    ImportedTrajectorySettings,
    Recipe,
    TrajectorySettings,
)

if TYPE_CHECKING:
    from cinefeat.pipeline.workers import Task

_folder = click.Path(path_type=Path, file_okay=False)


@click.command()
@clip_options
@worker_options
@click.option("-o", "--output", type=_folder, required=True, help="Folder to write; new or empty.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jpg", "png", "flo"]),
    default="jpg",
    show_default=True,
    help="Grey images of 8-bit codes, JPEG or exact PNG; or floats (Middlebury).",
)
@click.option(
    "--start-index",
    type=click.IntRange(0, 1),
    default=1,
    show_default=True,
    help="Number of the first file: 1 for TSN and dense_flow, 0 for denseflow.",
)
@click.option(
    "--bound",
    type=click.FloatRange(min=0, min_open=True),
    help="Pixels that the ends of the 8-bit range stand for. Default: the recipe's flow.bound.",
)
@click.option("--quality", type=click.IntRange(1, 100), help="Of JPEG. Default: 95.")
@click.option(
    "--which",
    type=click.Choice(["flow", "warped_flow"]),
    default="flow",
    show_default=True,
    help="The flow, or what remains of it without the camera's motion.",
)
def export_flow(
    recipe: str,
    output: Path,
    kind: Any,
    start_index: int,
    bound: float | None,
    quality: int | None,
    which: str,
    **options: Any,
) -> int:
    """Write the stored flow of RECIPE as files, in the layout that TSN and mmaction2 read.

    A clip becomes the folder OUTPUT/CLIP of flow_x_00001.jpg, flow_y_00001.jpg and so on, with codes
    round(255 (v + bound) / (2 bound)), or of flow_00001.flo. A video of N frames has N - 1 fields.
    What is there already is not written again; a clip's folder that is there is whole. JPEG of
    quality 95 errs by 0.1 codes on average, and by up to about 10 where motion changes abruptly.

    \b
    Examples:
      cinefeat export-flow dt-bow --store store -o flow_images
      cinefeat export-flow my.toml --store store -o flo --format flo --which warped_flow
    """
    from cinefeat.pipeline.exports import FlowExport
    from cinefeat.pipeline.flow_files import JPEG_QUALITY, FlowLayout
    from cinefeat.pipeline.workers import Task

    chosen = _upstream(load_recipe(recipe), "flow")
    assert chosen.flow is not None
    if which == "warped_flow" and not chosen.flow.warped:
        raise InputError("the recipe stores no warped_flow; set flow.warped = true and run it")
    if bound is not None and kind == "flo":
        raise InputError("--bound goes with images; .flo files hold pixels")
    if quality is not None and kind != "jpg":
        raise InputError("--quality goes with --format jpg")
    layout = FlowLayout(kind, start_index, quality or JPEG_QUALITY)
    limit = bound or chosen.flow.bound

    def task(product: Path, target: Path, clip_id: str) -> "Task":
        export = FlowExport(product, target, which, limit, layout)
        return Task("cinefeat.pipeline.exports:export_flow", export, clip_id)

    about = {
        "which": which,
        "format": kind,
        "start_index": start_index,
        "bound": None if kind == "flo" else limit,
        "quality": layout.quality if kind == "jpg" else None,
    }
    return _export(chosen, "flow", output, "", about, task, **options)


@click.command()
@click.argument("source", metavar="DIR", type=_folder)
@clip_options
@worker_options
@click.option(
    "--warped",
    type=_folder,
    help="Folder of the same layout with the flow without the camera's motion.",
)
def import_flow(source: Path, recipe: str, warped: Path | None, **options: Any) -> int:
    """Take the flow of RECIPE from the files in DIR, as products of its flow stage.

    The recipe says where the files come from and what they mean:

    \b
      [flow]
      method = "imported"
      name = "dense_flow, TV-L1"   # free text, part of the products' identity
      bound = 20.0                 # of images: pixels at the ends of the 8-bit range

    DIR has one folder per clip of the manifest, named by the clip id, with flow_x_00001.jpg and
    flow_y_00001.jpg (or .png), or flow_00001.flo, numbered from 0 or 1; one field less than the
    video has frames. A clip that was imported is not read again.

    \b
    Example:
      cinefeat import-flow flow_images my.toml --manifest clips.csv --store store
    """
    from cinefeat.pipeline.exports import export_in

    chosen = load_recipe(recipe)
    settings = chosen.flow
    if not isinstance(settings, ImportedFlowSettings):
        raise InputError(
            f"recipe {chosen.name} does not import its flow: give it a table [flow] with "
            'method = "imported" and a name'
        )
    if settings.warped != (warped is not None):
        raise InputError("--warped DIR goes with flow.warped = true; give both or neither")
    sources = {"flow": source} | ({"warped_flow": warped} if warped else {})
    for folder in sources.values():
        bound = (export_in(folder) or {}).get("bound")
        if bound not in (None, settings.bound):
            raise InputError(
                f"{folder} was written with bound {bound}; the recipe's flow.bound is "
                f"{settings.bound}"
            )
    return _import(chosen, "flow", sources, **options)


@click.command()
@clip_options
@worker_options
@click.option("-o", "--output", type=_folder, required=True, help="Folder to write; new or empty.")
@click.option("--gzip", "compress", is_flag=True, help="Write CLIP.txt.gz instead of CLIP.txt.")
def export_idt(recipe: str, output: Path, compress: bool, **options: Any) -> int:
    """Write the trajectories of RECIPE as text, in the layout of the authors' DT and iDT programs.

    A clip becomes OUTPUT/CLIP.txt: a line of 436 numbers per trajectory, a tab after each. The first
    ten and the order of the rows are exact; descriptors are stored as float16, which keeps 3 digits.
    What is there already is not written again; a file that is there is whole.

    \b
    Example:
      cinefeat export-idt idt-fv --store store -o idt_text --gzip
    """
    from cinefeat.pipeline.exports import TrajectoryExport
    from cinefeat.pipeline.idt_files import SUFFIXES
    from cinefeat.pipeline.workers import Task

    chosen = _upstream(load_recipe(recipe), "describe")
    if not isinstance(chosen.describe, TrajectorySettings | ImportedTrajectorySettings):
        raise InputError(f"recipe {chosen.name} describes clips by other means than trajectories")

    def task(product: Path, target: Path, clip_id: str) -> "Task":
        export = TrajectoryExport(product, target)
        return Task("cinefeat.pipeline.exports:export_trajectories", export, clip_id)

    suffix = SUFFIXES[compress]
    return _export(chosen, "describe", output, suffix, {"format": suffix}, task, **options)


@click.command()
@click.argument("source", metavar="DIR", type=_folder)
@clip_options
@worker_options
def import_idt(source: Path, recipe: str, **options: Any) -> int:
    """Take the trajectories of RECIPE from the text of the authors' DT or iDT program in DIR.

    The recipe says where the text comes from:

    \b
      [describe]
      extractor = "imported-idt"
      name = "iDT 1.0, with human boxes"   # free text, part of the products' identity

    DIR has one file per clip of the manifest, CLIP.txt or CLIP.txt.gz, a line of 436 numbers per
    trajectory. What follows in the recipe (fit, encode, train) then works as on our own. A clip that
    was imported is not read again.

    \b
    Example:
      cinefeat import-idt idt_text my.toml --manifest clips.csv --store store
    """
    chosen = load_recipe(recipe)
    if not isinstance(chosen.describe, ImportedTrajectorySettings):
        raise InputError(
            f"recipe {chosen.name} does not import its trajectories: give it a table [describe] "
            'with extractor = "imported-idt" and a name'
        )
    return _import(chosen, "describe", {"trajectories": source}, **options)


@click.command()
@click.argument("source", metavar="DIR", type=_folder)
@clip_options
@worker_options
def import_features(source: Path, recipe: str, **options: Any) -> int:
    """Take the features of RECIPE from files of another program in DIR, as products of embed.

    The recipe says where they come from and which files a clip has:

    \b
      [embed]
      method = "imported"
      name = "video_features, I3D"   # free text, part of the products' identity
      group = "i3d"                  # of the arrays: i3d/features
      files = "{clip}_rgb.npy"       # (M, D); or C3D's blobs, "{clip}/*.fc6-1"
      stride = 16                    # frames from a row of a .npy to the next
      window = 16

    What follows in the recipe (pool, train, network) then works as on our own. Pickles, as mmaction2
    writes, are refused: they can run any code. A clip that was imported is not read again.

    \b
    Example:
      cinefeat import-features i3d_arrays my.toml --manifest clips.csv --store store
    """
    from cinefeat.pipeline.comparing import refuse_pickle

    chosen = load_recipe(recipe)
    if not isinstance(chosen.embed, ImportedFeatureSettings):
        raise InputError(
            f"recipe {chosen.name} does not import its features: give it a table [embed] with "
            'method = "imported" and a name'
        )
    refuse_pickle(chosen.embed.files)
    return _import(chosen, "embed", {"features": source}, **options)


def _upstream(recipe: Recipe, stage: str) -> Recipe:
    """Return the recipe up to a stage: what comes later may need what is not there."""
    from cinefeat.pipeline.stages import STAGES, stage_named

    used, waiting = set(), [stage]
    while waiting:
        name = waiting.pop()
        used.add(name)
        waiting += stage_named(name).needs
    if getattr(recipe, stage) is None:
        raise InputError(f"recipe {recipe.name} has no stage {stage!r}")
    return recipe.model_copy(update={s.name: None for s in STAGES if s.name not in used})


def _clips(
    videos: Path | None, group_pattern: str | None, manifest: Path | None, store: Path, jobs: int
) -> Any:
    if videos is None and manifest is None:
        manifest = store / "manifest.csv"
        if not manifest.exists():
            raise InputError(f"{store} has no manifest.csv: give --videos or --manifest")
    return load_clips(videos, group_pattern, manifest, store, jobs)


def _export(
    recipe: Recipe,
    stage: str,
    output: Path,
    suffix: str,
    about: dict[str, Any],
    task: Callable[[Path, Path, str], "Task"],
    *,
    store: Path,
    jobs: int | None,
    shard: str | None,
    shards: int | None,
    **options: Any,
) -> int:
    """Write the products of a stage that are not written yet, and tell of those that cannot be."""
    from cinefeat.pipeline.exports import claim_folder, is_written
    from cinefeat.pipeline.plan import plan, progress
    from cinefeat.pipeline.run import default_jobs
    from cinefeat.pipeline.store import remove_stale_temporaries

    part, n_jobs = choose_shard(shard, shards), jobs or default_jobs()
    clips = _clips(store=store, jobs=n_jobs, **options)
    _, (fold,) = choose_folds(recipe, clips, None, stage)
    node = plan(recipe, store, clips, fold)[stage]
    state = progress(node)
    if not state.done:
        raise InputError(f"stage {stage} has no products yet; cinefeat stage {stage} makes them")
    targets = {name: output / f"{name}{suffix}" for name in _of_shard(node.parts(), part)}
    _refuse_folders_in_folders(targets)
    claim_folder(output, {"digest": node.digest, **about})
    remove_stale_temporaries(output)
    tasks = [
        task(node.product(name), target, name)
        for name, target in targets.items()
        if name in state.done and not is_written(target, node.product(name))
    ]
    failures = {name: f"stage {stage} failed: {reason}" for name, reason in state.failed.items()}
    failures |= dict.fromkeys(state.missing, f"stage {stage} has not been run for it")
    failures |= _run_tasks(tasks, n_jobs, f"export-{stage}")
    failures = {name: reason for name, reason in failures.items() if name in targets}
    click.echo(f"{len(targets) - len(failures)} clips in {output}")
    return _status(failures)


def _import(
    recipe: Recipe,
    stage: str,
    sources: dict[str, Path],
    *,
    store: Path,
    jobs: int | None,
    shard: str | None,
    shards: int | None,
    **options: Any,
) -> int:
    """Run a stage that reads files of another program instead of computing."""
    from cinefeat.pipeline.run import Request, default_jobs, run

    for folder in sources.values():
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder")
    part, n_jobs = choose_shard(shard, shards), jobs or default_jobs()
    clips = refresh(_clips(store=store, jobs=n_jobs, **options))
    chosen = _upstream(recipe, stage)
    _, every = choose_folds(chosen, clips, None, stage)
    request = Request(chosen, clips, store, every, part, n_jobs, only=stage, sources=sources)
    summary = run(request)
    click.echo(f"{summary.made[stage]} clips imported into {store}")
    return _status({clip: reason for (clip, _), reason in summary.failures.items()})


def _of_shard(names: tuple[str, ...], part: tuple[int, int] | None) -> list[str]:
    from cinefeat.pipeline.plan import shard_of

    return [name for name in names if part is None or shard_of(name, part[1]) == part[0]]


def _refuse_folders_in_folders(targets: dict[str, Path]) -> None:
    taken = set(targets.values())
    for name, target in targets.items():
        if any(parent in taken for parent in target.parents):
            raise InputError(f"the files of clip {name!r} would lie among those of another clip")


def _run_tasks(tasks: list["Task"], jobs: int, what: str) -> dict[str, str]:
    """Run the tasks, and return the reasons of those that failed by their labels."""
    from cinefeat.pipeline.progress import track
    from cinefeat.pipeline.workers import WorkerPool

    with WorkerPool(jobs) as pool:
        outcomes = list(track(pool.run(tasks), len(tasks), what))
    return {o.task.label: o.failure for o in outcomes if o.failure is not None}


def _status(failures: dict[str, str]) -> int:
    from cinefeat.pipeline.cli import OK, SOME_CLIPS_FAILED

    for clip, reason in failures.items():
        click.echo(f"{clip}: {reason}", err=True)
    if failures:
        click.echo(f"{len(failures)} clips failed", err=True)
    return SOME_CLIPS_FAILED if failures else OK
