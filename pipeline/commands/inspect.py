"""`cinefeat describe` and `cinefeat verify`."""

from pathlib import Path

import click

from cinefeat.pipeline.errors import InputError


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def describe(file: Path) -> None:
    """Say in words what is in the HDF5 FILE: attributes, arrays, shapes, units and ranges.

    \b
    Example:
      cinefeat describe store/describe/0f3c5a7b9d1e/walk/clip01.h5
    """
    from cinefeat.pipeline.description import describe_file

    click.echo(describe_file(file), nl=False)


@click.command()
@click.option("--store", type=click.Path(path_type=Path), required=True, help="Folder to check.")
def verify(store: Path) -> int:
    """Check that every file of a store is readable and of the digest that it claims.

    Exit status 1 if a file is not; nothing is changed.

    \b
    Example:
      cinefeat verify --store store
    """
    from cinefeat.pipeline.description import problem_of

    if not store.is_dir():
        raise InputError(f"{store} is not a folder")
    files = sorted(store.rglob("*.h5"))
    problems = {file: problem for file in files if (problem := problem_of(file, store))}
    for file, problem in problems.items():
        click.echo(f"{file}: {problem}")
    click.echo(f"{len(files)} files, {len(problems)} with a problem")
    return 1 if problems else 0
