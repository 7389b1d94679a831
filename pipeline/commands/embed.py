"""`cinefeat embed`: network features without a recipe file."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from cinefeat.pipeline.commands.options import (
    choose_limits,
    choose_shard,
    compute_options,
    load_clips,
    parse_device,
    refresh,
)
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.stopping import parse_duration, stop_on_signals


@click.command()
@click.option("--network", required=True, help="Name of a network, such as i3d-rgb or c3d.")
@click.option("--weights", required=True, help="A name of `cinefeat weights list`, or a file.")
@click.option("--layers", default="", help="Layers to store beside the features: A,B,C.")
@click.option("--segments", type=click.IntRange(min=1), help="Windows spread evenly over a clip.")
@click.option("--stride", type=click.IntRange(min=1), help="Or frames between dense windows.")
@click.option("--window", type=click.IntRange(min=1), help="Frames of a window.")
@click.option("--crops", type=click.Choice(["1", "10"]), default="1", help="Centre, or ten crops.")
@click.option("--half", is_flag=True, help="Store float16.")
@click.option("--top", type=click.IntRange(min=1), help="Print the N best classes of each clip.")
@click.option("--videos", type=click.Path(path_type=Path), help="Folder of videos.")
@click.option("--group-pattern", help="With --videos: regex; its first group is the group.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Or a manifest CSV.")
@click.option("--store", type=click.Path(path_type=Path), required=True, help="Folder of products.")
@compute_options
def embed(top: int | None, **options: Any) -> int:
    """Compute network features of every clip, and name the classes that the network sees.

    \b
    Example:
      cinefeat weights fetch i3d-kinetics400-rgb
      cinefeat embed --network i3d-rgb --weights i3d-kinetics400-rgb --videos videos --store store --top 5
    """
    from cinefeat.pipeline.plan import plan
    from cinefeat.pipeline.protocol import Fold
    from cinefeat.pipeline.run import Request, default_jobs, run

    recipe = _recipe(options)
    jobs = options["jobs"] or default_jobs()
    place = parse_device(options["device"])
    clips = refresh(
        load_clips(
            options["videos"], options["group_pattern"], options["manifest"], options["store"], jobs
        )
    )
    fold = Fold("all", train=tuple(clip.id for clip in clips), test=())
    request = Request(
        recipe,
        clips,
        options["store"],
        (fold,),
        choose_shard(options["shard"], options["shards"]),
        jobs,
        place,
        limits=choose_limits(options["clip_seconds"], options["clip_gb"]),
    )
    with stop_on_signals(parse_duration(options["time_budget"])) as stop:
        summary = run(request, stop)
    node = plan(recipe, options["store"], clips, fold)["embed"]
    click.echo(f"features: {node.folder}")
    if top is not None:
        for clip in node.clips:
            if node.product(clip.id).exists():
                click.echo(f"{clip.id}: {_best(node.product(clip.id), options['network'], top)}")
    return 1 if summary.failures else 0


def _recipe(options: dict[str, Any]) -> Any:
    from cinefeat.pipeline.settings import EmbedSettings, NetworkSettings, Recipe

    if options["segments"] and options["stride"]:
        raise InputError("give --segments or --stride, not both")
    layers = tuple(name for name in options["layers"].split(",") if name)
    network = NetworkSettings(network=options["network"], weights=options["weights"], layers=layers)
    table = EmbedSettings(
        networks=(network,),
        segments=options["segments"],
        stride=options["stride"],
        window=options["window"],
        crops=10 if options["crops"] == "10" else 1,
        storage="float16" if options["half"] else "float32",
    )
    return Recipe(name="embed", title="Network features", source="command line", embed=table)


def _best(path: Path, network: str, top: int) -> str:
    """Return the classes of greatest mean probability of one clip."""
    import json

    from cinefeat.pipeline.store import open_product

    with open_product(path) as file:
        classes = json.loads(file[network].attrs["classes"])
        if f"{network}/logits" not in file or not classes:
            raise InputError(f"--top: the weights of {network} name no classes")
        logits = file[f"{network}/logits"][:].astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    mean = (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)
    best = np.argsort(-mean, kind="stable")[:top]
    return ", ".join(f"{classes[i]} {mean[i]:.3f}" for i in best)
