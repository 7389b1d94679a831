"""`cinefeat pack`, `export-arrays` and `export-table`: products for other projects."""

from pathlib import Path
from typing import Any

import click

from cinefeat.pipeline.commands.options import choose_folds, load_clips, shared_options
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.recipe import load_recipe


@click.command()
@click.argument("name", metavar="STAGE")
@shared_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The HDF5 file to write."
)
@click.option("--fold", help="For a stage that depends on the fold: the fold's name.")
@click.option("--scores", help="Add the scores of a report folder, or of another file of scores.")
def pack(
    name: str,
    recipe: str,
    videos: Path | None,
    group_pattern: str | None,
    manifest: Path | None,
    store: Path,
    protocol: str | None,
    output: Path,
    fold: str | None,
    scores: str | None,
) -> int:
    """Join what STAGE of RECIPE made into one HDF5 file for other projects.

    It holds clip, label, group and split of each clip, and with --protocol its side in each fold.
    Of encode and pool, features/NAME is a matrix with a row per clip; of other stages, clips/ID/NAME
    are the arrays of a clip. With --scores there are `scores`, a row per clip and a column per class,
    NaN for a clip without, and `classes`. Clips that failed or are missing are left out and counted.
    cinefeat.pipeline.datasets reads the file for scikit-learn and torch.

    \b
    Example:
      cinefeat pack describe dt-bow --store store -o bags.h5
      cinefeat pack pool i3d-rgb-svm --store store -o i3d.h5 --scores store/reports/i3d-rgb-svm-*
    """
    from cinefeat.pipeline.packing import pack_products
    from cinefeat.pipeline.plan import plan
    from cinefeat.pipeline.score_files import read_table

    if videos is None and manifest is None:
        manifest = store / "manifest.csv"
    clips = load_clips(videos, group_pattern, manifest, store, 1)
    chosen = load_recipe(recipe)
    told, every = choose_folds(chosen, clips, protocol, name)
    nodes = {f.name: plan(chosen, store, clips, f).get(name) for f in every}
    node = choose_node(nodes, name, fold)
    alike = {f for f, other in nodes.items() if other and other.digest == node.digest}
    sides = [f for f in every if told and f.name in alike and fold in (None, f.name)]
    table = read_table(scores) if scores else None
    n_packed = pack_products(node, sides, output, table)
    left_out = len(node.clips) - n_packed
    click.echo(f"{n_packed} clips in {output}" + (f", {left_out} left out" if left_out else ""))
    return 1 if left_out else 0


def choose_node(nodes: dict[str, Any], name: str, fold: str | None) -> Any:
    """Return the node of a stage per clip: the one of the fold named, or the one of all folds."""
    if None in nodes.values():
        raise InputError(f"the recipe has no stage {name!r}")
    if next(iter(nodes.values())).stage.per == "corpus":
        raise InputError(f"stage {name} has no product per clip")
    if fold is not None:
        if fold not in nodes:
            raise InputError(f"there is no fold {fold!r}; there are {', '.join(nodes)}")
        return nodes[fold]
    if len({node.digest for node in nodes.values()}) > 1:
        raise InputError(
            f"stage {name} differs between folds; choose one with --fold {'|'.join(nodes)}"
        )
    return next(iter(nodes.values()))


@click.command()
@click.argument("name", metavar="STAGE")
@shared_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write; new or empty.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["npz", "npy"]),
    default="npz",
    show_default=True,
    help="A file per clip, or a folder per clip with a file per array.",
)
@click.option("--fold", help="For a stage that depends on the fold: the fold's name.")
def export_arrays(
    name: str,
    recipe: str,
    videos: Path | None,
    group_pattern: str | None,
    manifest: Path | None,
    store: Path,
    protocol: str | None,
    output: Path,
    kind: str,
    fold: str | None,
) -> int:
    """Write what STAGE of RECIPE made as files of numpy, a clip each.

    npz: OUTPUT/CLIP.npz, with the arrays by name and "attributes", a text of JSON that says what
    made them. npy: OUTPUT/CLIP/ARRAY.npy, and OUTPUT/CLIP/attributes.json. What is there already is
    not written again; a clip that is there is whole.

    \b
    Examples:
      cinefeat export-arrays describe dt-bow --store store -o bags
      cinefeat export-arrays pool my.toml --store store -o features --format npy
    """
    from cinefeat.pipeline.array_files import export_product
    from cinefeat.pipeline.exports import claim_folder, is_written
    from cinefeat.pipeline.plan import plan

    if videos is None and manifest is None:
        manifest = store / "manifest.csv"
    clips = load_clips(videos, group_pattern, manifest, store, 1)
    chosen = load_recipe(recipe)
    _, every = choose_folds(chosen, clips, protocol, name)
    nodes = {f.name: plan(chosen, store, clips, f).get(name) for f in every}
    node = choose_node(nodes, name, fold)
    claim_folder(output, {"digest": node.digest, "format": kind})
    n_there = 0
    for clip in node.clips:
        product, target = node.product(clip.id), output / clip.id
        target = target.with_name(f"{target.name}.npz") if kind == "npz" else target
        if not product.exists():
            continue
        n_there += 1
        if not is_written(target, product):
            export_product(product, target)
    left_out = len(node.clips) - n_there
    click.echo(f"{n_there} clips in {output}" + (f", {left_out} left out" if left_out else ""))
    return 1 if left_out else 0


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A .parquet or .arrow file.",
)
def export_table(source: Path, output: Path) -> None:
    """Write SOURCE as a table of Apache Arrow, a row per clip (needs pyarrow).

    SOURCE is a file of `cinefeat pack` of encode or pool, whose vectors become columns of lists, or a
    report folder, whose scores become a column per class.

    \b
    Examples:
      cinefeat export-table encodings.h5 -o encodings.parquet
      cinefeat export-table store/reports/dt-bow-leave-one-group-out-bbd431cc630e -o scores.arrow
    """
    from cinefeat.pipeline.arrow_files import export_table as write

    click.echo(f"{write(source, output)} clips in {output}")
