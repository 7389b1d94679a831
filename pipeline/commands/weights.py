"""`cinefeat weights list|fetch|convert|export|check`."""

from pathlib import Path

import click


@click.group()
def weights() -> None:
    """List, fetch, convert, export and check the weights of networks.

    Nothing is downloaded unless `fetch` is asked to. Weight files are safetensors, which run no
    code; checkpoints that hold code are refused.

    \b
    Examples:
      cinefeat weights fetch i3d-kinetics400-rgb
      cinefeat weights COMMAND --help
    """


@weights.command(name="list")
def list_weights() -> None:
    """List the weights that can be fetched by name."""
    from cinefeat.pipeline.weights_cache import list_known

    for entry in list_known():
        state = f"in {entry.path}" if entry.is_fetched else "not fetched"
        click.echo(f"{entry.name}  {entry.known.network}  {state}")


@weights.command()
@click.argument("name")
def fetch(name: str) -> None:
    """Fetch the known weights NAME into the cache (CINEFEAT_CACHE or ~/.cache/cinefeat)."""
    from cinefeat.pipeline.weights_cache import fetch as fetch_weights

    click.echo(str(fetch_weights(name)))


@weights.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_name",
    required=True,
    help="Origin of the checkpoint; an unknown name lists those that are known.",
)
@click.option("--network", help="Which network, where several share the format.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The weight file to write.")
def convert(file: Path, format_name: str, network: str | None, output: Path | None) -> None:
    """Convert the community checkpoint FILE into a weight file."""
    from cinefeat.pipeline.weights_cache import convert as convert_checkpoint

    click.echo(str(convert_checkpoint(file, format_name, network=network, out=output)))


@weights.command()
@click.argument("product", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def export(product: Path, output: Path) -> None:
    """Write a network that `cinefeat fit-network` trained as a weight file.

    PRODUCT is a file that the command names. What comes out serves wherever weights are named: a
    MotionNet as the flow of a recipe, other networks in [embed].

    \b
    Example:
      cinefeat weights export store/flow/network/0f3c/motion.h5 -o motionnet.safetensors
      [flow]
      method = "motionnet"
      weights = "motionnet.safetensors"
    """
    from cinefeat.pipeline.trained_weights import export_weights

    click.echo(str(export_weights(product, output)))


@weights.command()
@click.argument("name_or_file")
def check(name_or_file: str) -> None:
    """Check that a weight file is whole and fits its network."""
    from cinefeat.pipeline.weights_cache import check as check_weights

    found = check_weights(name_or_file)
    known = "the published values" if found.is_known else "values of unknown origin"
    click.echo(f"{found.path}: {found.n_parameters} parameters, {known}, sha256 {found.sha256}")
