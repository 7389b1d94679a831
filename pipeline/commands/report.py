"""`cinefeat report`."""

import json
from pathlib import Path

import click

from cinefeat.pipeline.errors import InputError


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The HTML file to write. Default: report.html in the folder of the first RUN.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Where the first run's products are. Default: the store that its folder lies in.",
)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="Manifest CSV with videos and groups. Default: the store's own, if it has one.",
)
@click.option(
    "--worst",
    type=click.IntRange(0, 100),
    default=12,
    show_default=True,
    help="How many of the worst clips to show.",
)
@click.option("--common", is_flag=True, help="Compare on the clips that every run tested.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures of the page as JSON.")
def report(
    runs: tuple[Path, ...],
    output: Path | None,
    store: Path | None,
    manifest: Path | None,
    worst: int,
    common: bool,
    as_json: bool,
) -> int:
    """Show the first RUN as one HTML page, compared with the others by McNemar's test.

    A RUN is a report folder of `cinefeat run` or `cinefeat fuse`. The page holds all it shows: accuracy
    with its interval, confusions, classes, the worst clips with frames and scores, time per stage,
    failures, learning curves, recipe and versions. It needs no network and no script.

    \b
    Examples:
      cinefeat report store/reports/dt-bow-leave-one-group-out-bbd431cc630e
      cinefeat report store/reports/idt-fv-* store/reports/dt-bow-* -o comparison.html
    """
    from cinefeat.pipeline.manifest import read_manifest
    from cinefeat.pipeline.reporting.figures import read_run
    from cinefeat.pipeline.reporting.page import write_page

    place = store or runs[0].resolve().parents[1]
    own = place / "manifest.csv"
    if manifest is None and own.is_file():
        manifest = own
    clips = {clip.id: clip for clip in read_manifest(manifest)} if manifest else {}
    group_of = {name: clip.group for name, clip in clips.items()}
    read = [read_run(folder, group_of) for folder in runs]
    path = output or runs[0] / "report.html"
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the HTML file to write")
    tree = write_page(path, read, clips, place, n_worst=worst, common=common)
    click.echo(f"report: {path} ({path.stat().st_size / 1024:.0f} KiB)", err=as_json)
    if as_json:
        click.echo(json.dumps(tree))
    return 0
