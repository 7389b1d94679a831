"""Protocols: which clips are learned from and which are tested, in one or more folds.

=======================  ==========================================================================
``split``                one fold, from the words in the manifest's split column
``leave-one-group-out``  a fold per group, which is its test side
``ucf101:1`` .. ``:3``   the official splits of UCF101
``hmdb51:1`` .. ``:3``   the official splits of HMDB51
``k-fold:K``             K folds of whole groups, alike in size and labels
=======================  ==========================================================================

The split column holds words with spaces between: one of ``train``, ``validation``, ``test``,
``unused``, which ``split`` reads, and the like for each official split under its protocol's name,
as in ``ucf101:1=train ucf101:2=test ucf101:3=train``. Nothing here is tuned on validation clips,
so they belong to the training side, as in the published protocol of KTH. Clips with ``unused``
are on neither side.

A group is what must not be on both sides: an actor, a source video. Clips without a group can be
in a fold of given sides, where there is nothing to check, but not in a fold of groups. HMDB51's
official splits keep the clips of one class from one source on one side, but use sources in several
classes; its groups are therefore a class and a source (`cinefeat.pipeline.lists`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip

_OFFICIAL = tuple(f"{name}:{k}" for name in ("ucf101", "hmdb51") for k in (1, 2, 3))
PROTOCOLS = ("split", "leave-one-group-out", *_OFFICIAL, "k-fold:K")

_SIDES = {"train": "train", "validation": "train", "test": "test", "unused": ""}
_REMEDY = "fill the manifest's split column, or scan with --splits"
# Every fold lists its clips: 8 bytes each, so this is 1.6 GB.
_MAX_LISTED = 200_000_000


@dataclass(frozen=True)
class Fold:
    """One division of the clips.

    Parameters
    ----------
    name : str
        The protocol's name where it has one fold, the group that is left out, or ``fold-k``.
    train, test : tuple of str
        Clip ids, in the manifest's order.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]


def folds(clips: Sequence[Clip], protocol: str) -> tuple[Fold, ...]:
    """Divide clips into training and test sides, once per fold.

    The result depends on the clips' ids, groups, labels and splits alone. ``k-fold:K`` takes the
    groups by falling size (ties by name) and gives each to the fold where it least raises the sum
    of squared shares of labels and sizes (ties to the lower fold).

    Parameters
    ----------
    clips : sequence of Clip
        With unique ids.
    protocol : str
        One of `PROTOCOLS`, K being a whole number from 2 to the number of groups.

    Returns
    -------
    folds : tuple of Fold
        At least one. Over the folds of groups, every clip is tested exactly once.

    Raises
    ------
    InputError
        If the protocol is unknown; a clip lacks the group or the split that it needs; a side is
        empty; a group is on both sides; a label is tested that is never trained on, or training
        has fewer than two labels.

    Examples
    --------
    >>> from pathlib import Path
    >>> clips = [Clip(f"{who}-{what}", Path(f"/{who}-{what}.avi"), what, who)
    ...          for who in ("ann", "bob", "cy") for what in ("run", "sit")]
    >>> for fold in folds(clips, "leave-one-group-out")[:2]:
    ...     print(fold.name, fold.test)
    ann ('ann-run', 'ann-sit')
    bob ('bob-run', 'bob-sit')
    """
    if protocol == "split":
        return (_given_fold(clips, protocol, prefix=""),)
    if protocol in _OFFICIAL:
        return (_given_fold(clips, protocol, prefix=f"{protocol}="),)
    if protocol == "leave-one-group-out":
        return _group_folds(clips, {group: group for group in sorted(_groups(clips, protocol))})
    if match := re.fullmatch(r"k-fold:([0-9]{1,9})", protocol):
        return _group_folds(clips, _deal(_groups(clips, protocol), int(match[1])))
    raise InputError(f"unknown protocol {protocol!r}: use one of {', '.join(PROTOCOLS)}")


def _given_fold(clips: Iterable[Clip], protocol: str, prefix: str) -> Fold:
    """Take the sides from the split column's words that start with `prefix`."""
    sides: dict[str, list[Clip]] = {"train": [], "test": [], "": []}
    for clip in clips:
        sides[_side(clip, protocol, prefix)].append(clip)
    train, test = sides["train"], sides["test"]
    for side, members in (("training", train), ("test", test)):
        if not members:
            raise InputError(f"protocol {protocol} leaves the {side} side empty: {_REMEDY}")
    shared = {clip.group for clip in train} & {clip.group for clip in test} - {""}
    if shared:
        raise InputError(
            f"protocol {protocol} has group {min(shared)!r} on both sides ({len(shared)} such "
            "groups): give every group one side, or correct the groups"
        )
    _check_labels(protocol, _labels(train), _labels(test))
    return Fold(protocol, tuple(clip.id for clip in train), tuple(clip.id for clip in test))


def _side(clip: Clip, protocol: str, prefix: str) -> str:
    words = [
        word.removeprefix(prefix)
        for word in clip.split.split()
        if word.startswith(prefix) and "=" not in word.removeprefix(prefix)
    ]
    if len(words) != 1 or words[0] not in _SIDES:
        wanted = " or ".join(f"{prefix}{side}" for side in _SIDES)
        raise InputError(
            f"protocol {protocol} needs one of {wanted} in the split column, but clip {clip.id!r} "
            f"has {clip.split!r}: {_REMEDY}"
        )
    return _SIDES[words[0]]


def _groups(clips: Iterable[Clip], protocol: str) -> dict[str, Counter[str]]:
    """Count the labels of every group."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        if not clip.group:
            raise InputError(
                f"protocol {protocol} needs a group for every clip, but clip {clip.id!r} has none: "
                "fill the manifest's group column, or scan with --group-pattern"
            )
        groups[clip.group][clip.label] += 1
    return groups


def _deal(groups: Mapping[str, Counter[str]], k: int) -> dict[str, str]:
    """Give every group to one of `k` folds, alike in size and labels; return its fold's name."""
    if not 2 <= k <= len(groups):
        raise InputError(
            f"protocol k-fold:{k} needs K from 2 to the number of groups, which is {len(groups)}: "
            "choose another K"
        )
    totals = sum(groups.values(), Counter())
    n_clips = totals.total()
    held: list[Counter[str]] = [Counter() for _ in range(k)]
    sizes = [0] * k
    fold_of = {}
    for group in sorted(groups, key=lambda name: (-groups[name].total(), name)):
        labels, size = groups[group], groups[group].total()

        def rise(fold: int, labels: Counter[str] = labels, size: int = size) -> float:
            # what adding the group adds to the sum of squares, without what is equal for all folds
            of_labels = sum(held[fold][name] * n / totals[name] ** 2 for name, n in labels.items())
            return of_labels + len(totals) * sizes[fold] * size / n_clips**2

        fold = min(range(k), key=rise)
        held[fold] += labels
        sizes[fold] += size
        fold_of[group] = f"fold-{fold + 1:0{len(str(k))}}"
    return dict(sorted(fold_of.items(), key=lambda item: item[1]))


def _group_folds(clips: Sequence[Clip], fold_of: Mapping[str, str]) -> tuple[Fold, ...]:
    """Test every fold's groups on all the others; the folds in the order of `fold_of`."""
    names = list(dict.fromkeys(fold_of.values()))
    if len(names) < 2:
        raise InputError(f"all clips have the group {names[0]!r}: folds need two groups or more")
    if len(names) * len(clips) > _MAX_LISTED:
        raise InputError(
            f"{len(names)} groups of {len(clips)} clips are too many folds: use k-fold:10"
        )
    tested: dict[str, list[Clip]] = {name: [] for name in names}
    for clip in clips:
        tested[fold_of[clip.group]].append(clip)
    ids = [clip.id for clip in clips]
    home = [fold_of[clip.group] for clip in clips]
    total = _labels(clips)
    made = []
    for name in names:
        of_test = _labels(tested[name])
        _check_labels(name, total - of_test, of_test)
        train = tuple(compress(ids, map(name.__ne__, home)))
        made.append(Fold(name, train, tuple(clip.id for clip in tested[name])))
    return tuple(made)


def _labels(clips: Iterable[Clip]) -> Counter[str]:
    return Counter(clip.label for clip in clips)


def _check_labels(fold: str, trained: Counter[str], tested: Counter[str]) -> None:
    unseen = sorted(tested.keys() - trained.keys())
    if unseen:
        raise InputError(
            f"fold {fold} tests label {unseen[0]!r}, which it never trains on ({len(unseen)} such "
            "labels): drop those clips from the manifest, or choose another protocol"
        )
    if len(trained) < 2:
        raise InputError(
            f"fold {fold} trains on the one label {next(iter(trained))!r}: two are needed"
        )
