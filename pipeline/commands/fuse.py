"""`cinefeat fuse`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cinefeat.pipeline.errors import InputError

RULES = "raw, l2, softmax, relu-l1"


@click.command()
@click.argument("systems", nargs=-1, required=True, metavar="SYSTEM...")
@click.option("--weights", help="One number per system: 1,1.5. Default: all equal.")
@click.option("--learn-weights", is_flag=True, help="Learn them on the clips of other folds.")
@click.option(
    "--normalise",
    default="raw",
    show_default=True,
    help=f"Of the scores of each clip, one rule for all systems or one for each: {RULES}.",
)
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="Manifest CSV with labels and groups."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Or a CSV clip,label[,group[,split]], or a folder of official lists.",
)
@click.option("--protocol", help="Judge only the clips that this protocol tests, as in `run`.")
@click.option(
    "--names",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Clip names, one a line in the order of the rows, for files without names: one list for "
    "all of them, or once for each in turn.",
)
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    multiple=True,
    help="The same for the columns; UCF101's classInd.txt will do.",
)
@click.option("--common", is_flag=True, help="Judge only the clips that every system scores.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder to write the report into; can itself be a SYSTEM.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def fuse(systems: tuple[str, ...], output: Path | None, as_json: bool, **options: Any) -> int:
    """Fuse the scores of several SYSTEMs late, and compare the result with each of them.

    A SYSTEM is a report folder of `cinefeat run` or `cinefeat fuse`, or a file of scores: .csv, .h5,
    .mat or .npy; FILE:MATRIX where it holds several. Clips and classes are joined by their names.

    \b
    Normalisation, clip by clip:
      raw      as they are
      l2       unit Euclidean length
      softmax  positive, of unit sum
      relu-l1  negatives to 0, then unit sum

    With --learn-weights, weights that are multiples of 0.05 and sum to 1 are learned once per fold of
    the protocol on the clips of the other folds; where there is one fold, on the other groups' clips.
    No clip, nor any of its group, has a say in its own weights.

    \b
    Examples:
      cinefeat fuse store/reports/idt-fv-* store/reports/dt-bow-* --normalise l2
      cinefeat fuse rgb.mat flow.mat --names testlist01.txt --classes classInd.txt \\
        --labels ucfTrainTestlist --weights 1,1.5 --normalise relu-l1 -o two-stream
    """
    from cinefeat.pipeline import fusing
    from cinefeat.pipeline.manifest import read_manifest
    from cinefeat.pipeline.protocol import folds as folds_of

    if options["weights"] and options["learn_weights"]:
        raise InputError("give --weights or --learn-weights, not both")
    if options["manifest"] and options["labels"]:
        raise InputError("give --manifest or --labels, not both")
    rules = _rules(options["normalise"], len(systems))
    weights = _weights(options["weights"], len(systems))
    scores = _read(systems, options["names"], options["classes"])
    truth = read_manifest(options["manifest"]) if options["manifest"] else None
    truth = fusing.read_labels(options["labels"]) if options["labels"] else truth
    protocol = options["protocol"] or ""
    if protocol and truth is None:
        raise InputError("--protocol needs --manifest or --labels")
    folds = folds_of(truth, protocol) if truth and protocol else ()
    judged = fusing.judge(scores, truth, folds, common=options["common"])
    if options["learn_weights"]:
        fused, used = fusing.fuse_by_learned_weights(judged, rules, folds)
    else:
        fused, used = fusing.fuse(judged, rules, weights), {"all": weights}
    figures = fusing.figures(judged, fused, rules, used, protocol)
    _print(figures, as_json)
    if output is not None:
        _write(output, figures, judged.evaluation(fused))
        figures["report"] = str(output)
    if as_json:
        click.echo(json.dumps(figures))
    return 0


def _rules(text: str, n: int) -> list[str]:
    from cinefeat.pipeline.fusing import RULES as KNOWN

    rules = text.split(",")
    unknown = [rule for rule in rules if rule not in KNOWN]
    if unknown or len(rules) not in (1, n):
        raise InputError(
            f"--normalise is {text!r}; it is one of {RULES}, or {n} of them with commas between"
        )
    return rules * n if len(rules) == 1 else rules


def _weights(text: str | None, n: int) -> list[float]:
    if text is None:
        return [1.0] * n
    try:
        weights = [float(word) for word in text.split(",")]
    except ValueError:
        weights = []
    if len(weights) != n or not all(0 <= weight < float("inf") for weight in weights):
        raise InputError(f"--weights is {text!r}; it is {n} numbers of at least 0, such as 1,1.5")
    if not any(weights):
        raise InputError("--weights are all 0: nothing is left to judge by")
    return weights


def _read(systems: Sequence[str], names: Sequence[Path], classes: Sequence[Path]) -> list[Any]:
    from cinefeat.pipeline.score_files import read_table
    from cinefeat.pipeline.scores import name_table, read_list

    tables = [read_table(system) for system in systems]
    rows = _spread("--names", names, [table.clips is None for table in tables])
    columns = _spread("--classes", classes, [table.classes is None for table in tables])
    return [
        name_table(
            name,
            table,
            None if row is None else read_list(row),
            None if column is None else read_list(column),
        )
        for name, table, row, column in zip(
            _short_names(systems), tables, rows, columns, strict=True
        )
    ]


def _spread(option: str, paths: Sequence[Path], needed: Sequence[bool]) -> list[Path | None]:
    """Give the lists to the systems that need one."""
    n_needed = sum(needed)
    if len(paths) > 1 and len(paths) != n_needed:
        raise InputError(f"{option} is there {len(paths)} times for {n_needed} files without names")
    left = list(paths) * n_needed if len(paths) == 1 else list(paths)
    return [left.pop(0) if need and left else None for need in needed]


def _short_names(systems: Sequence[str]) -> list[str]:
    """Return the systems' names without folder and extension, or whole where these are not unique."""
    short = [Path(system).stem for system in systems]
    return short if len(set(short)) == len(short) else list(systems)


def _print(figures: dict[str, Any], as_json: bool) -> None:
    rows = [*figures["systems"], {"name": "fusion", **figures}]
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'':<{width}}  accuracy  of classes  precision"]
    lines += [
        f"{row['name']:<{width}}{row['accuracy']:>10.2%}{row['mean_class_accuracy']:>12.2%}"
        f"{row['mean_average_precision']:>11.2%}"
        for row in rows
    ]
    low, high = figures["accuracy_interval"]
    lines.append(
        f"{figures['n_test']} clips; 95 % of the fusion's accuracy: {low:.2%} to {high:.2%}"
    )
    for fold, weights in figures["weights"].items():
        lines.append(f"weights ({fold}): {', '.join(f'{weight:g}' for weight in weights)}")
    for one in figures.get("against", ()):
        low, high = one["difference_interval"]
        lines.append(
            f"against {one['system']}: {one['difference']:+.2%} (95 %: {low:+.2%} to {high:+.2%}); "
            f"McNemar: {one['only_fusion_right']} clips by the fusion alone, "
            f"{one['only_system_right']} by the system alone, p = {one['mcnemar_p']:.3g}"
        )
    click.echo("\n".join(lines), err=as_json)


def _write(folder: Path, figures: dict[str, Any], evaluation: Any) -> None:
    from cinefeat.pipeline.report import write_folder

    known = folder / "result.json"
    same = json.dumps(figures, indent=2) + "\n"
    if folder.exists() and not (known.is_file() and known.read_text(encoding="utf-8") == same):
        raise InputError(f"{folder} is there and holds something else: name another folder")
    write_folder(folder, figures, evaluation, {})
