"""Options that several commands share, and how they are read."""

import hashlib
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.job_arrays import array_variables, shard_of_task
from cinefeat.pipeline.limits import CLIP_SECONDS, Limits, default_limits
from cinefeat.pipeline.manifest import Clip, read_manifest, write_manifest
from cinefeat.pipeline.plan import stages_of
from cinefeat.pipeline.protocol import Fold, folds
from cinefeat.pipeline.settings import Recipe
from cinefeat.pipeline.stages import STAGES, depends_on_fold

STAGE_NAMES = ", ".join(stage.name for stage in STAGES)
_log = logging.getLogger(__name__)

_RECIPE = (click.argument("recipe"),)
_CLIPS = (
    click.option(
        "--videos",
        type=click.Path(path_type=Path),
        help="Folder of videos; scanned into STORE/manifest.csv.",
    ),
    click.option("--group-pattern", help="With --videos: regex; its first group is the group."),
    click.option(
        "--manifest",
        type=click.Path(path_type=Path),
        help="Manifest CSV, instead of --videos.",
    ),
    click.option(
        "--store",
        type=click.Path(path_type=Path),
        required=True,
        help="Folder of all products; made if it is not there.",
    ),
)
_PROTOCOL = (
    click.option(
        "--protocol",
        help="split, leave-one-group-out, ucf101:1..3, hmdb51:1..3 or k-fold:K (by group). "
        "Default: split if the manifest has one, else leave-one-group-out.",
    ),
)
_WORKERS = (
    click.option("--shard", help="I/N: only the clips of shard I of N (I from 0 to N-1)."),
    click.option(
        "--shards",
        type=click.IntRange(min=1),
        help="N: in a job array (Slurm, PBS, SGE, LSF, AWS Batch), the task's shard of N.",
    ),
    click.option(
        "--jobs", type=click.IntRange(min=1), help="Worker processes. Default: one per processor."
    ),
)
_DEVICE = (
    click.option(
        "--device", default="cpu", show_default=True, help="Where to compute: cpu, cuda or cuda:K."
    ),
)
_LIMITS = (
    click.option(
        "--clip-seconds",
        type=click.FloatRange(min=0, min_open=True),
        default=CLIP_SECONDS,
        show_default=True,
        help="A clip that takes longer at a stage fails, and the rest goes on.",
    ),
    click.option(
        "--clip-gb",
        type=click.FloatRange(min=0, min_open=True),
        help="A clip that takes more gigabytes of memory fails, and the rest goes on. Default: 80 % "
        "of the machine's, or of the job's.",
    ),
)
_TIME = (
    click.option(
        "--time-budget",
        metavar="TIME",
        help="End cleanly, with status 75, before so much time has passed: seconds, 90m, 8h or "
        "1-12:00:00. Default: no limit.",
    ),
)


_ENGINE = (
    click.option(
        "--engine",
        default="local",
        show_default=True,
        help="Where to spread what is learned from the corpus: local or dask://HOST:PORT. The same "
        "result either way.",
    ),
)


def shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which recipe, which clips, which store and which protocol."""
    return _decorated(command, _RECIPE + _CLIPS + _PROTOCOL)


def clip_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which recipe, clips and store, where nothing is learned."""
    return _decorated(command, _RECIPE + _CLIPS)


def compute_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how much to compute, with what, how long, and a clip's limits."""
    return _decorated(command, _WORKERS + _DEVICE + _TIME + _LIMITS)


def engine_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that says where stages per corpus compute."""
    return _decorated(command, _ENGINE)


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which share of the clips, in how many processes."""
    return _decorated(command, _WORKERS)


def _decorated(command: Callable[..., Any], options: tuple[Any, ...]) -> Callable[..., Any]:
    for decorate in reversed(options):
        command = decorate(command)
    return command


def choose_shard(text: str | None, count: int | None) -> tuple[int, int] | None:
    """Return (I, N) of the options --shard ``I/N`` and --shards ``N``; None means all clips."""
    if text is not None and count is not None:
        raise InputError("give --shard I/N, or --shards N in a job array, not both")
    if count is not None:
        return shard_of_task(count), count
    if text is None:
        for scheduler, name, _ in array_variables():
            _log.warning("%s of %s is set, but not --shards: doing all clips", name, scheduler)
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise InputError(f"--shard is {text!r}; it is I/N with I from 0 to N-1, such as 0/4")
    return int(match[1]), int(match[2])


def choose_limits(seconds: float, gigabytes: float | None) -> Limits:
    """Return the limits of a clip that the options --clip-seconds and --clip-gb give."""
    return Limits(seconds, default_limits().gigabytes if gigabytes is None else gigabytes)


def parse_device(text: str) -> str:
    """Check a device's name, and that it is there."""
    if text == "cpu":
        return text
    if not re.fullmatch(r"cuda(:\d+)?", text):
        raise InputError(f"--device is {text!r}; it is cpu, cuda or cuda:K")
    import torch

    index = int(text.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise InputError(
            f"--device is {text!r}, but torch finds {torch.cuda.device_count()} GPUs here; use cpu"
        )
    return text


def load_clips(
    videos: Path | None,
    group_pattern: str | None,
    manifest: Path | None,
    store: Path,
    jobs: int,
) -> tuple[Clip, ...]:
    """Return the clips that the options name, scanning a folder of videos where one is given.

    A manifest's rows come as they are: `refresh` looks at the files.
    """
    if (videos is None) == (manifest is None):
        raise InputError("give either --videos DIR or --manifest CSV")
    if manifest is not None:
        if group_pattern is not None:
            raise InputError("--group-pattern goes with --videos; a manifest has a group column")
        return read_manifest(manifest)
    from cinefeat.pipeline.commands.scan import scan_videos

    assert videos is not None
    path = store / "manifest.csv"
    previous = read_manifest(path) if path.exists() else ()
    clips = scan_videos(videos, None, group_pattern, None, previous, jobs)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(path, clips)
    return clips


def refresh(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
    """Hash the videos that a manifest has no digest of, or that have changed since it was written.

    A file that is not there keeps its row: it fails when it is read, and goes to the ledger.
    """
    return tuple(_with_sha256(clip) for clip in clips)


def add_digests(clips: tuple[Clip, ...]) -> tuple[Clip, ...]:
    """Hash the videos that a manifest has no digest of; look at no other."""
    return tuple(clip if clip.sha256 else _with_sha256(clip) for clip in clips)


def _with_sha256(clip: Clip) -> Clip:
    try:
        found = clip.path.stat()
        if (
            clip.sha256
            and clip.bytes in (None, found.st_size)
            and (clip.mtime_ns in (None, found.st_mtime_ns))
        ):
            return clip
        with clip.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return clip
    if sha256 == clip.sha256:
        return clip
    # what was probed was another file
    known = {"id", "path", "label", "group", "split"}
    kept = {name: getattr(clip, name) for name in known}
    return Clip(**kept, sha256=sha256, bytes=found.st_size, mtime_ns=found.st_mtime_ns)


def choose_folds(
    recipe: Recipe, clips: tuple[Clip, ...], protocol: str | None, only: str | None = None
) -> tuple[str, tuple[Fold, ...]]:
    """Return the protocol and its folds; one fold of all clips where nothing is learned."""
    used = [stage for stage in stages_of(recipe) if only in (None, stage.name)]
    if protocol is None and not any(depends_on_fold(stage) for stage in used):
        return "", (Fold("all", train=tuple(clip.id for clip in clips), test=()),)
    chosen = protocol or default_protocol(clips)
    if protocol is None:
        _log.info("protocol: %s", chosen)
    return chosen, folds(clips, chosen)


def default_protocol(clips: tuple[Clip, ...]) -> str:
    """Choose the protocol that the manifest's columns ask for."""
    if any(clip.split in ("train", "test") for clip in clips):
        return "split"
    if any(clip.group for clip in clips):
        return "leave-one-group-out"
    raise InputError(
        "the manifest has neither splits nor groups: give --group-pattern, a manifest.csv beside "
        "the videos, or a --protocol"
    )
