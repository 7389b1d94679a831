"""Scanning: from a folder of videos to the rows of a manifest.

A video's label comes from, in this order: the official lists; a labels file; the first folder on
its way from the scanned folder; its name, by its data set's rule (UCF101, KTH). Its group: the
``group_pattern``; the official lists; a labels file; its name (UCF101, HMDB51, KTH). Its split:
the official lists; a labels file.

A labels file is CSV: ``labels.csv``, ``labels.txt`` or ``manifest.csv`` beside the videos, or any
given. Columns with a header: ``path`` or ``file`` (relative to the scanned folder), ``label``, and
if wanted ``group`` and ``split``; others are passed over. Without a header: file, label, group,
split in this order. Rows of videos that are not there are passed over: data sets lose videos.
"""

import csv
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.lists import Listed, guess_from_name, list_key, read_lists
from cinefeat.pipeline.manifest import Clip, check_id
from cinefeat.pipeline.video import Probe, probe

# fmt: off
SUFFIXES = frozenset({
    ".3gp", ".asf", ".avi", ".divx", ".flv", ".m2ts", ".m4v", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on

_LABEL_FILES = ("labels.csv", "labels.txt", "manifest.csv")
_COLUMNS = ("file", "label", "group", "split")
_SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}

Mapper = Callable[[Callable[[Path], Probe], Iterable[Path]], Iterable[Probe]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Told:
    """What is told about a video, by whatever tells it; empty is unknown."""

    label: str = ""
    group: str = ""
    split: str = ""


def scan(
    videos: Path | str,
    *,
    splits: Path | str | None = None,
    group_pattern: str | None = None,
    labels: Path | str | None = None,
    previous: Iterable[Clip] = (),
    mapper: Mapper = map,
    progress: Progress | None = None,
) -> tuple[Clip, ...]:
    """Find the videos below a folder, say what they are, and probe them.

    Files are taken by their extension (`SUFFIXES`, in any case), in the order of their relative
    paths; hidden files and folders are not. Links to files and to folders are followed, links to a
    folder that they lie in are not. A clip's id is its relative path without extension.

    Parameters
    ----------
    videos : Path or str
        The folder.
    splits : Path or str, optional
        A folder with the official lists of UCF101, HMDB51 or KTH; every video must be in them.
    group_pattern : str, optional
        Regular expression that is searched in each file's name; its first group is the group.
    labels : Path or str, optional
        A labels file; without it, one beside the videos is used.
    previous : iterable of Clip
        Rows of an earlier manifest. A video is not probed again where path, size and time of
        modification are equal and it was readable.
    mapper : callable
        Like the built-in ``map``; a process pool's makes probing parallel.
    progress : callable, optional
        Called with the number of probed videos and the number to probe, after each.

    Returns
    -------
    clips : tuple of Clip
        At least one. Unreadable videos are among them, with their reason.

    Raises
    ------
    InputError
        If there is no such folder or no video in it, two videos have one id, an id is unsafe, a
        label is missing, the pattern is no regular expression with a group or does not match a
        name, a labels file or list cannot be read, or a video is not in the lists.
    """
    root = Path(os.path.abspath(videos))
    found = find_videos(root)
    told = _tell(root, found, splits, labels)
    if group_pattern is not None:
        told = _group_by_pattern(group_pattern, found, told)
    probes = _probe_all(found.values(), previous, mapper, progress)
    return tuple(
        Clip(clip_id, path, one.label, one.group, one.split, **_as_fields(result))
        for (clip_id, path), one, result in zip(found.items(), told, probes, strict=True)
    )


def find_videos(root: Path) -> dict[str, Path]:
    """Return the videos below a folder by clip id, in the order of the ids."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: name the folder that holds the videos")
    found: dict[str, Path] = {}
    try:
        for path in _walk(str(root), ()):
            clip_id = PurePosixPath(path).relative_to(root).with_suffix("").as_posix()
            check_id(clip_id)
            if clip_id in found:
                raise InputError(
                    f"{found[clip_id]} and {path} would both be clip {clip_id!r}: keep one of them"
                )
            found[clip_id] = Path(path)
    except OSError as error:
        raise InputError(f"cannot look into {error.filename}: {error.strerror}") from error
    if not found:
        raise InputError(f"no video below {root}: looked for {' '.join(sorted(SUFFIXES))}")
    return dict(sorted(found.items()))


def _walk(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Yield the paths of the videos below a folder; `above` are the folders that it lies in."""
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in visible:
        if entry.is_dir():
            yield from _walk(entry.path, (*above, here))
        # a link to nothing is listed, so that it becomes an unreadable clip and not a missing one
        elif (entry.is_file() or entry.is_symlink()) and _has_video_suffix(entry.name):
            yield entry.path


def _has_video_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _tell(
    root: Path,
    found: Mapping[str, Path],
    splits: Path | str | None,
    labels: Path | str | None,
) -> list[_Told]:
    """Gather label, group and split of every video from all that tells them."""
    listed = read_lists(splits) if splits is not None else {}
    table = _read_labels(root, labels)
    told = []
    for clip_id, path in found.items():
        by_list = _look_up(listed, path, splits) if splits is not None else _Told()
        by_table = table.get(os.path.normpath(path), _Told())
        folder = clip_id.partition("/")[0] if "/" in clip_id else ""
        name_label, name_group = guess_from_name(path.stem, folder)
        label = by_list.label or by_table.label or folder or name_label
        if not label:
            raise InputError(
                f"{path} has no label: put it into a folder named after its class, or name it in "
                "a labels.csv (file,label) beside the videos"
            )
        group = by_list.group or by_table.group or name_group
        told.append(_Told(label, group, by_list.split or by_table.split))
    if len(told) > 1 and {one.label.lower() for one in told} <= _SPLIT_NAMES:
        raise InputError(
            f"the folders in {root} are named after splits, not classes: scan one of them, or "
            "write a labels.csv (file,label,group,split) beside them"
        )
    return told


def _look_up(listed: Mapping[str, Listed], path: Path, splits: Path | str) -> _Told:
    item = listed.get(list_key(path.stem))
    if item is None:
        raise InputError(f"{path} is not in the lists of {splits}: move it out of the folder")
    return _Told(item.label, item.group, item.split)


def _read_labels(root: Path, given: Path | str | None) -> dict[str, _Told]:
    """Read a labels file, by absolute path of the video; no file tells nothing."""
    beside = (root / name for name in _LABEL_FILES)
    path = Path(given) if given is not None else next(filter(Path.is_file, beside), None)
    if path is None:
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise InputError(f"cannot read the labels file {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the labels file {path} is not CSV in UTF-8: {error}") from error
    columns = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    if {"file", "path"}.isdisjoint(columns):
        columns = list(_COLUMNS[: max(2, len(columns))])
    else:
        columns = ["file" if name == "path" else name for name in columns]
        rows = rows[1:]
    told: dict[str, _Told] = {}
    for line, row in rows:
        if len(row) != len(columns) or not row[columns.index("file")]:
            raise InputError(f"{path}, line {line}: it must hold {', '.join(columns)}")
        values = dict(zip(columns, map(str.strip, row), strict=True))
        one = _Told(*(values.get(name, "") for name in _COLUMNS[1:]))
        if told.setdefault(os.path.normpath(root / row[columns.index("file")]), one) != one:
            raise InputError(f"{path}, line {line}: {values['file']} has two labels: keep one")
    return told


def _group_by_pattern(
    pattern: str, found: Mapping[str, Path], told: Sequence[_Told]
) -> list[_Told]:
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise InputError(f"group pattern {pattern!r} is no regular expression: {error}") from error
    if search.groups == 0:
        raise InputError(
            f"group pattern {pattern!r} has no group: put parentheses around the part of the file "
            "name that is the clip's group"
        )
    grouped = []
    for path, one in zip(found.values(), told, strict=True):
        match = search.search(path.name)
        if not match or not match[1]:
            raise InputError(f"group pattern {pattern!r} finds no group in {path.name!r}: widen it")
        grouped.append(replace(one, group=match[1]))
    return grouped


def _probe_all(
    paths: Collection[Path],
    previous: Iterable[Clip],
    mapper: Mapper,
    progress: Progress | None,
) -> list[Probe]:
    """Probe the videos that are new, changed or unreadable before, and keep the other probes."""
    earlier = {clip.path: clip for clip in previous if clip.status in ("ok", "short")}
    probes = {path: _as_probe(earlier[path]) for path in paths if _is_same(earlier.get(path))}
    missing = [path for path in paths if path not in probes]
    for done, (path, result) in enumerate(zip(missing, mapper(probe, missing), strict=True), 1):
        probes[path] = result
        if progress is not None:
            progress(done, len(missing))
    return [probes[path] for path in paths]


def _is_same(clip: Clip | None) -> bool:
    if clip is None:
        return False
    try:
        found = clip.path.stat()
    except OSError:
        return False
    return (clip.bytes, clip.mtime_ns) == (found.st_size, found.st_mtime_ns)


def _as_probe(clip: Clip) -> Probe:
    return Probe(**{field.name: getattr(clip, field.name) for field in fields(Probe)})


def _as_fields(result: Probe) -> dict[str, Any]:
    return {field.name: getattr(result, field.name) for field in fields(result)}
