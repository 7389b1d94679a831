"""`cinefeat recipes`."""

import click

from cinefeat.pipeline.recipe import load_recipe, shipped_recipes, to_toml


@click.command()
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the shipped recipes, or print NAME with every default filled in.

    \b
    Example: begin a recipe of one's own
      cinefeat recipes dt-bow > my.toml
    """
    if name is not None:
        click.echo(to_toml(load_recipe(name)), nl=False)
        return
    width = max(len(known) for known in shipped_recipes())
    for known in shipped_recipes():
        click.echo(f"{known:<{width}}  {load_recipe(known).title}")
