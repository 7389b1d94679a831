"""`cinefeat table`."""

from pathlib import Path

import click

from cinefeat.pipeline.errors import InputError


@click.command()
@click.argument("stores", nargs=-1, metavar="[NAME=STORE]...")
@click.option("--markdown", is_flag=True, help="Print a table of Markdown.")
def table(stores: tuple[str, ...], markdown: bool) -> None:
    """Print the post's table: published accuracies, and what was measured here.

    Measured numbers come from the reports of the STOREs alone; NAME says what data a store's
    videos are. A report counts if its recipe is the shipped one, nothing changed.

    \b
    Example:
      cinefeat table --markdown Weizmann=store
    """
    from cinefeat.pipeline.post_table import as_markdown, as_text, read_measurements, table_rows

    rows = table_rows(read_measurements(dict(_named(text) for text in stores)))
    click.echo(as_markdown(rows) if markdown else as_text(rows), nl=False)


def _named(text: str) -> tuple[str, Path]:
    name, sign, store = text.partition("=")
    if not sign or not name or not store:
        raise InputError(f"{text!r} is not NAME=STORE, as Weizmann=store")
    return name, Path(store)
