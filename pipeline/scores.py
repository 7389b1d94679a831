"""Scores of any origin, with names for their rows and columns: nothing is joined by position."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.lists import list_key
from cinefeat.pipeline.scan import SUFFIXES
from cinefeat.pipeline.score_files import Table

_SUFFIX = "|".join(sorted(re.escape(suffix) for suffix in SUFFIXES))
_VIDEO_AND_NUMBER = re.compile(rf"({_SUFFIX})\s+\d+$", re.IGNORECASE)
_VIDEO_SUFFIX = re.compile(rf"({_SUFFIX})$", re.IGNORECASE)


@dataclass(frozen=True)
class Scores:
    """What one system says of some clips.

    Parameters
    ----------
    name : str
        Of the system.
    clips : ndarray of shape (n,), strings
        Unique.
    classes : ndarray of shape (n_classes,), strings
        What the columns stand for; unique.
    scores : ndarray of shape (n, n_classes), float64
        Finite.
    labels : ndarray of shape (n,), strings, or None
        True labels, where the file has them.
    """

    name: str
    clips: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray | None = None


def name_table(
    name: str, table: Table, clips: Sequence[str] | None, classes: Sequence[str] | None
) -> Scores:
    """Give the rows and columns of a table their names, from lists where the file has none.

    Parameters
    ----------
    name : str
        Of the system.
    table : Table
    clips, classes : sequence of str or None
        The names of the rows and of the columns, in their order; not consulted where the file holds
        names.

    Raises
    ------
    InputError
        If names are missing, not as many as rows or columns, or not unique; or a score is not
        finite.
    """
    rows, columns = table.scores.shape
    clip_names = _names(name, "--names", "rows", rows, table.clips, clips)
    class_names = _names(name, "--classes", "columns", columns, table.classes, classes)
    if not np.isfinite(table.scores).all():
        row, column = np.argwhere(~np.isfinite(table.scores))[0]
        raise InputError(
            f"{name} has the score {table.scores[row, column]} for clip {str(clip_names[row])!r}, class "
            f"{str(class_names[column])!r}: fuse systems that score every class on every clip"
        )
    labels = None if table.labels is None else table.labels.astype(np.str_)
    if table.truth is not None:
        labels = class_names[table.truth]
    return Scores(name, clip_names, class_names, table.scores, labels)


def align(system: Scores, clips: Sequence[str], classes: np.ndarray) -> Scores:
    """Return the scores of some clips, in their order and with the columns of `classes`.

    Clips are found as `match_names` says.

    Raises
    ------
    InputError
        If the system lacks one of the clips, or has other classes.
    """
    other = sorted(set(system.classes.tolist()) ^ set(classes.tolist()))
    if other:
        raise InputError(
            f"{system.name} and the others do not score the same classes: {other[0]!r} is one of "
            f"{len(other)} that only one of them has"
        )
    found = match_names(clips, system.clips)
    missing = [clip for clip in clips if clip not in found]
    if missing:
        raise InputError(
            f"{system.name} has no scores of {len(missing)} of {len(clips)} clips ({missing[0]!r} is "
            "one): fuse systems that scored the same clips, or give --common"
        )
    rows = [found[clip] for clip in clips]
    at = {name: i for i, name in enumerate(system.classes)}
    columns = [at[name] for name in classes]
    labels = None if system.labels is None else system.labels[rows]
    scores = system.scores[np.ix_(rows, columns)]
    return replace(system, clips=np.array(clips), classes=classes, scores=scores, labels=labels)


def match_names(wanted: Iterable[str], names: Iterable[str]) -> dict[str, int]:
    """Find clips among names that may have another folder or a video's extension.

    Names are taken whole, extension aside, where that finds every clip that is there at all; else by
    their last parts, where these are unique on both sides and no folder contradicts.

    Returns
    -------
    dict of str to int
        Position in `names` of every wanted clip that was found.

    Examples
    --------
    >>> match_names(["walk/daria", "run/ido"], ["daria.avi", "lena.avi"])
    {'walk/daria': 0}
    >>> match_names(["walk/1", "walk/2"], ["run/1", "data/walk/2"])
    {'walk/2': 1}
    """
    sought = {clip: _parts(clip) for clip in wanted}
    there = [_parts(name) for name in names]
    whole = {parts: i for i, parts in enumerate(there)}
    found = {clip: whole[parts] for clip, parts in sought.items() if parts in whole}
    if len(found) == min(len(sought), len(there)):
        return found
    last = {parts[-1]: i for i, parts in enumerate(there)}
    if len(last) < len(there) or len({parts[-1] for parts in sought.values()}) < len(sought):
        return found
    return {
        clip: last[parts[-1]]
        for clip, parts in sought.items()
        if parts[-1] in last and _agree(parts, there[last[parts[-1]]])
    }


def read_list(path: Path) -> list[str]:
    """Read names, one a line in order: clips (a number after a video's name is dropped), or classes.

    Lines of a number and a name (``1 ApplyEyeMakeup``) are taken for classes numbered from 1, and
    must be in order.

    Raises
    ------
    InputError
        If the file cannot be read, is empty, or its numbers are not 1, 2, 3 ...
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read the list {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the list {path} is not UTF-8 text: save it as UTF-8") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"the list {path} is empty: give one name a line")
    numbered = [re.fullmatch(r"(\d+)\s+(\S.*)", line) for line in lines]
    if all(numbered):
        numbers = [int(match[1]) for match in numbered if match]
        if numbers != list(range(1, len(lines) + 1)):
            raise InputError(f"the numbers in {path} are not 1, 2, 3 ...: sort the lines by them")
        return [match[2] for match in numbered if match]
    return [_VIDEO_AND_NUMBER.sub(r"\1", line) for line in lines]


def _parts(name: str) -> tuple[str, ...]:
    """Return the folders and the stem of a video's name."""
    plain = _VIDEO_SUFFIX.sub("", name).replace("\\", "/").removeprefix("./")
    return tuple(list_key(plain).split("/"))


def _agree(one: tuple[str, ...], two: tuple[str, ...]) -> bool:
    n = min(len(one), len(two))
    return one[-n:] == two[-n:]


def _names(
    system: str,
    option: str,
    what: str,
    n: int,
    stored: np.ndarray | None,
    given: Sequence[str] | None,
) -> np.ndarray:
    if stored is None and given is None:
        raise InputError(f"{system} has {n} {what} without names: give {option} FILE, one a line")
    names = np.array(given if stored is None else stored, dtype=np.str_)
    if len(names) != n:
        raise InputError(f"{system} has {n} {what}, but {option} has {len(names)} names")
    (name, count), *_ = Counter(names.tolist()).most_common(1)
    if count > 1:
        raise InputError(f"{system} has {name!r} {count} times among its {what}: names are unique")
    return names
