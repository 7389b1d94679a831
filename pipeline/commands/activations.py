"""`cinefeat show-activations`."""

from pathlib import Path

import click

from cinefeat.pipeline.errors import InputError


@click.command(name="show-activations")
@click.argument("video", type=click.Path(path_type=Path))
@click.option("--network", default="c3d", show_default=True, help="A network of frames.")
@click.option("--weights", required=True, help="A name of `cinefeat weights list`, or a file.")
@click.option("--layer", default="conv5b", show_default=True, help="A convolution or a pool.")
@click.option("--maps", default="", help="Numbers of its maps: 3,7,12; the strongest by default.")
@click.option(
    "--n-maps", type=click.IntRange(min=1), default=4, show_default=True, help="Without --maps."
)
@click.option("--start", type=click.IntRange(min=0), help="First frame; the best by default.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A PNG file.")
def show_activations(
    video: Path,
    network: str,
    weights: str,
    layer: str,
    maps: str,
    n_maps: int,
    start: int | None,
    output: Path,
) -> None:
    """Picture which pattern of a VIDEO each map of a layer responds to.

    For every map the frames of the window where it responds most, and below them its strongest
    activation projected back to these frames: grey where they have no part in it.

    \b
    Example:
      cinefeat show-activations dive.avi --weights c3d.safetensors --layer conv5b -o dive.png
    """
    from cinefeat.pipeline.activations import draw_activations

    shown = draw_activations(
        video, network, weights, layer, _numbers(maps) or n_maps, start=start, out=output
    )
    for one in shown:
        click.echo(
            f"{layer} map {one.channel}: {one.activation:.4g} in frames {one.first}-{one.last}"
        )
    click.echo(str(output))


def _numbers(maps: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in maps.split(",") if number.strip())
    except ValueError as error:
        raise InputError(f"--maps is {maps!r}; give whole numbers: 3,7,12") from error
