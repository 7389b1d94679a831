"""`cinefeat scan` and `cinefeat demo`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from cinefeat.pipeline.limits import default_limits
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.progress import track
from cinefeat.pipeline.video import Probe
from cinefeat.pipeline.workers import Outcome, Task, WorkerPool


@click.command()
@click.argument("videos", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The manifest to write. An older one there saves probing unchanged videos again.",
)
@click.option(
    "--splits",
    type=click.Path(path_type=Path),
    help="Folder of the official UCF101, HMDB51 or KTH lists.",
)
@click.option("--labels", type=click.Path(path_type=Path), help="CSV file,label[,group[,split]].")
@click.option("--group-pattern", help="Regex searched in file names; its first group is the group.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Worker processes. Default: all processors."
)
def scan(
    videos: Path,
    output: Path,
    splits: Path | None,
    labels: Path | None,
    group_pattern: str | None,
    jobs: int | None,
) -> int:
    """Write the manifest of the folder VIDEOS: one row per clip, with its label and probe.

    \b
    Examples:
      cinefeat scan videos -o clips.csv
      cinefeat scan UCF-101 -o ucf101.csv --splits ucfTrainTestlist
      cinefeat scan videos -o clips.csv --group-pattern '(person\\d+)_'
    """
    from cinefeat.pipeline.manifest import read_manifest, write_manifest
    from cinefeat.pipeline.run import default_jobs

    previous = read_manifest(output) if output.exists() else ()
    n_jobs = jobs or default_jobs()
    clips = scan_videos(videos, splits, group_pattern, labels, previous, n_jobs)
    write_manifest(output, clips)
    counts = Counter(clip.status for clip in clips)
    found = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    click.echo(f"{len(clips)} clips ({found}): {output}")
    for clip in clips:
        if clip.status != "ok":
            click.echo(f"{clip.id}: {clip.status}: {clip.reason}", err=True)
    return 1 if counts["unreadable"] else 0


def scan_videos(
    videos: Path,
    splits: Path | None,
    group_pattern: str | None,
    labels: Path | None,
    previous: tuple[Clip, ...],
    jobs: int,
) -> tuple[Clip, ...]:
    """Scan a folder, probing in worker processes with progress shown."""
    from cinefeat.pipeline.scan import scan as scan_folder

    def probe_in_workers(_: Callable[[Path], Probe], paths: Iterable[Path]) -> Iterator[Probe]:
        limits = default_limits()
        tasks = [Task("cinefeat.pipeline.video:probe", path, str(path), limits) for path in paths]
        with WorkerPool(jobs) as pool:
            outcomes = list(track(pool.run(tasks), len(tasks), "scan"))
        found = {outcome.task.label: outcome for outcome in outcomes}
        return (_probe_of(found[task.label]) for task in tasks)

    return scan_folder(
        videos,
        splits=splits,
        group_pattern=group_pattern,
        labels=labels,
        previous=previous,
        mapper=probe_in_workers,
    )


def _probe_of(outcome: Outcome) -> Probe:
    if outcome.failure is None:
        probe: Probe = outcome.value
        return probe
    # the decoder took its process with it: whatever else the file is, it is not readable
    return Probe(status="unreadable", reason=f"decoding failed: {outcome.failure}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--actors", type=click.IntRange(min=2), default=6, show_default=True, help="How many actors."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is drawn."
)
def demo(folder: Path, actors: int, seed: int) -> None:
    """Write a small synthetic action data set into FOLDER.

    Articulated figures act before textured, partly panning backgrounds; what they do shows in
    their motion alone. A folder that holds the same set already is left as it is.

    \b
    Example:
      cinefeat demo videos --actors 3
    """
    from cinefeat.pipeline.demo import write_demo

    files = write_demo(folder, n_actors=actors, seed=seed)
    click.echo(f"{len(files)} videos: {folder}")
