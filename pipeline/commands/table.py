"""`cinefeat table`."""

from pathlib import Path

import click

from cinefeat.pipeline.errors import InputError


@click.command()
@click.argument("folders", nargs=-1, metavar="[NAME=FOLDER]...")
@click.option("--markdown", is_flag=True, help="Print tables of Markdown.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write each result that counts into this folder, a small JSON file for each, which "
    "can be a FOLDER later.",
)
def table(folders: tuple[str, ...], markdown: bool, keep: Path | None) -> None:
    """Print the post's table: published accuracies, and what was measured here.

    Measured numbers come from the FOLDERs alone: stores of `cinefeat run`, or folders of results
    that --keep wrote. NAME says what data their videos are. A result counts if its recipe is the
    shipped one, no setting changed.

    \b
    Examples:
      cinefeat table --markdown Weizmann=store
      cinefeat table Weizmann=store --keep measured/weizmann
    """
    from cinefeat.pipeline import measurements, post_table

    if keep is not None and len(folders) != 1:
        raise InputError(f"--keep takes the results of one NAME=FOLDER, not of {len(folders)}")
    found = measurements.read_measurements(dict(_named(text) for text in folders))
    rows, beside = post_table.table_rows(found), post_table.rows_beside(found)
    as_told = post_table.as_markdown if markdown else post_table.as_text
    click.echo(as_told(rows, beside), nl=False)
    if keep is not None:
        written = measurements.keep_measurements(found, keep)
        click.echo(f"kept {len(written)} results in {keep}", err=True)


def _named(text: str) -> tuple[str, Path]:
    name, sign, folder = text.partition("=")
    if not sign or not name or not folder:
        raise InputError(f"{text!r} is not NAME=FOLDER, as Weizmann=store")
    return name, Path(folder)
