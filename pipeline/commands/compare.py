"""`cinefeat compare`."""

from pathlib import Path

import click

_path = click.Path(path_type=Path)


@click.command()
@click.argument("first", metavar="A", type=_path)
@click.argument("second", metavar="B", type=_path)
@click.option("--array", help="Compare this array alone.")
@click.option("--rtol", type=click.FloatRange(min=0), default=0.0, help="Relative tolerance.")
@click.option("--atol", type=click.FloatRange(min=0), default=0.0, help="Absolute tolerance.")
@click.option("--rows", is_flag=True, help="Print the cosine of every row.")
def compare(
    first: Path, second: Path, array: str | None, rtol: float, atol: float, rows: bool
) -> int:
    """Compare the feature files A and B (.h5, .npz, .npy): cosine per row, first difference.

    Exit status 0 if every array is in both and equal within the tolerance, 1 if not.

    \b
    Examples:
      cinefeat compare old/dive.h5 new/dive.h5
      cinefeat compare theirs.npy ours.npy --rtol 1e-4 --rows
    """
    from cinefeat.pipeline.comparing import compare_arrays, missing_names, read_feature_file
    from cinefeat.pipeline.errors import InputError

    a, b = read_feature_file(first), read_feature_file(second)
    if array is not None:
        for path, arrays in ((first, a), (second, b)):
            if array not in arrays:
                raise InputError(f"{path} has no array {array!r}; it has {', '.join(arrays)}")
        a, b = {array: a[array]}, {array: b[array]}
    is_equal = True
    for path, names in zip((first, second), missing_names(a, b), strict=True):
        for name in names:
            is_equal = False
            click.echo(f"{name}: only in {path}")
    for name in (name for name in a if name in b):
        found = compare_arrays(name, a[name], b[name], rtol=rtol, atol=atol)
        is_equal &= found.is_equal
        click.echo(f"{name or 'array'}: {_words(found)}")
        for i, cosine in enumerate(found.cosines if rows else ()):
            click.echo(f"  row {i}: cosine {cosine:.8f}")
    return 0 if is_equal else 1


def _words(found: object) -> str:
    from cinefeat.pipeline.comparing import Comparison

    assert isinstance(found, Comparison)
    parts = []
    if len(found.cosines):
        parts.append(
            f"cosine of rows {found.cosines.min():.8f} at least, {found.cosines.mean():.8f} on average"
        )
        parts.append(f"largest difference {found.largest:.3g}")
    if found.values is None:
        return "; ".join(["equal", *parts])
    a, b = found.values
    where = "" if found.first is None else f" first at {list(found.first)}"
    return "; ".join([f"differs{where}: {a} and {b}", *parts])
