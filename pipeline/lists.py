"""The official lists of UCF101, HMDB51 and KTH: label, group and split of every video they name.

Read as they are distributed, with any line endings and trailing spaces. What comes out is keyed
by the video's name without folder and extension, which is unique within each data set, so that
re-encoded copies are found as well.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cinefeat.pipeline.errors import InputError

_MARKS = {"ucf101": "trainlist01.txt", "hmdb51": "*_test_split1.txt", "kth": "00sequences.txt"}

_UCF101_NAME = re.compile(r"v_(?P<label>\w+)_(?P<group>g\d{2})_c\d{2}")
_KTH_NAME = re.compile(r"(?P<group>person\d{2})_(?P<label>[a-z]+)_d\d")
_KTH_SIDES = {"Training:": "train", "Validation:": "validation", "Test:": "test"}
# Seen part of the body, camera motion, number of people, viewpoint, quality, and a count.
_HMDB51_TAIL = r"_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+"
_HMDB51_CODES = {"0": "unused", "1": "train", "2": "test"}

_Sides = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Listed:
    """What the lists say of one video.

    Parameters
    ----------
    label : str
        The class, as the lists spell it.
    group : str
        UCF101: ``g01`` to ``g25``. HMDB51: class and source video, ``class/source``. KTH: the
        person.
    split : str
        The manifest's split column (`cinefeat.pipeline.protocol`).
    ranges : tuple of (int, int)
        KTH: first and last frame of each repetition of the action, from 1. Else empty.
    """

    label: str
    group: str
    split: str
    ranges: tuple[tuple[int, int], ...] = ()


def detect_lists(folder: Path | str) -> str:
    """Say which data set's lists a folder holds: ``ucf101``, ``hmdb51`` or ``kth``.

    Raises
    ------
    InputError
        If it holds none of them, or several.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: name the folder that holds the lists")
    kinds = [kind for kind, mark in _MARKS.items() if any(folder.glob(mark))]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none of them"
        marks = ", ".join(f"{mark} ({kind})" for kind, mark in _MARKS.items())
        raise InputError(f"{folder} must hold the lists of one data set, {marks}; it holds {found}")
    return kinds[0]


def read_lists(folder: Path | str) -> dict[str, Listed]:
    """Read the lists that a folder holds, by video name without extension.

    Raises
    ------
    InputError
        As `detect_lists`; or if a line cannot be read, or a video is on both sides of a split.
    """
    readers = {"ucf101": read_ucf101, "hmdb51": read_hmdb51, "kth": read_kth}
    return readers[detect_lists(folder)](folder)


def read_ucf101(folder: Path | str) -> dict[str, Listed]:
    """Read ``trainlist0k.txt`` and ``testlist0k.txt`` for every k that is there.

    A training line is ``Class/v_Class_gXX_cXX.avi n``, n being the class's number in
    ``classInd.txt``, against which it is checked where that file is there; a test line has no n.
    """
    folder = Path(folder)
    numbers = _read_class_numbers(folder)
    sides: _Sides = defaultdict(dict)
    labels = {}
    for path in (*sorted(folder.glob("trainlist0*.txt")), *sorted(folder.glob("testlist0*.txt"))):
        side, _, k = path.stem.partition("list0")
        for line, words in _read_words(path):
            label, _, file = words[0].rpartition("/")
            name = file.rpartition(".")[0]
            if not label or not _UCF101_NAME.fullmatch(name) or len(words) > 2:
                raise _bad_line(path, line, "Class/v_Class_gXX_cXX.avi and a class number")
            if numbers and words[1:] not in ([], [numbers.get(label)]):
                raise _bad_line(path, line, f"the number of {label} in classInd.txt")
            _set_side(sides[name], k, side, f"{path}, line {line}: {name}")
            labels[name] = label
    return {
        name: Listed(label, guess_from_name(name)[1], _column("ucf101", sides[name]))
        for name, label in labels.items()
    }


def read_hmdb51(folder: Path | str) -> dict[str, Listed]:
    """Read ``<class>_test_split<k>.txt`` of every class and k that is there.

    A line is ``file.avi code`` with code 1 for training, 2 for test and 0 for neither.
    """
    sides: _Sides = defaultdict(dict)
    labels: dict[str, str] = {}
    for path in sorted(Path(folder).glob("*_test_split[1-3].txt")):
        label, _, k = path.stem.rpartition("_test_split")
        for line, words in _read_words(path):
            if len(words) != 2 or words[1] not in _HMDB51_CODES:
                raise _bad_line(path, line, "a file name and 0, 1 or 2")
            name = words[0].rpartition(".")[0]
            if labels.setdefault(name, label) != label:
                raise InputError(f"{path}, line {line}: {name} is also listed as {labels[name]}")
            _set_side(sides[name], k, _HMDB51_CODES[words[1]], f"{path}, line {line}: {name}")
    return {
        name: Listed(label, guess_from_name(name, label)[1], _column("hmdb51", sides[name]))
        for name, label in labels.items()
    }


def read_kth(folder: Path | str) -> dict[str, Listed]:
    """Read ``00sequences.txt``: who trains, validates and tests, and the frames of every sequence.

    Splits are ``train``, ``validation`` and ``test``, by person. A sequence marked as missing is
    left out.
    """
    path = Path(folder) / "00sequences.txt"
    sides: dict[str, str] = {}
    listed = {}
    for line, words in _read_words(path):
        side = _KTH_SIDES.get(words[0])
        if side:
            sides |= dict.fromkeys(re.findall(r"\d{2}", " ".join(words[1:])), side)
        match = _KTH_NAME.fullmatch(words[0])
        if not match or "*missing*" in words:
            continue
        ranges = re.findall(r"(\d+)-(\d+)", " ".join(words[1:]))
        person = match["group"]
        if person[-2:] not in sides or not ranges:
            raise _bad_line(path, line, "a person of the subdivision above, and ranges of frames")
        frames = tuple((int(first), int(last)) for first, last in ranges)
        listed[words[0]] = Listed(match["label"], person, sides[person[-2:]], frames)
    return listed


def guess_from_name(name: str, folder: str = "") -> tuple[str, str]:
    """Return the label and the group that a video's name tells by its data set's own rule.

    Parameters
    ----------
    name : str
        Without folder and extension.
    folder : str
        The class folder it lies in: HMDB51's names cannot be taken apart without it.

    Returns
    -------
    label, group : str
        Empty where the name follows no known rule.

    Examples
    --------
    >>> guess_from_name("v_Archery_g07_c02")
    ('Archery', 'g07')
    >>> guess_from_name("person03_running_d4_uncomp")
    ('running', 'person03')
    >>> guess_from_name("Faul_haben_cartwheel_f_cm_np1_le_bad_1", "cartwheel")
    ('cartwheel', 'cartwheel/Faul_haben')
    >>> guess_from_name("holiday")
    ('', '')
    """
    if match := _UCF101_NAME.fullmatch(name) or _KTH_NAME.fullmatch(list_key(name)):
        return match["label"], match["group"]
    if folder and (match := re.fullmatch(f"(.+)_{re.escape(folder)}{_HMDB51_TAIL}", name)):
        return folder, f"{folder}/{match[1]}"
    return "", ""


def list_key(name: str) -> str:
    """Return the name that the lists use for a video's name: KTH's files end in ``_uncomp``."""
    return name.removesuffix("_uncomp")


def _read_words(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the words of every line that has any."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot read the list {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the list {path} is not UTF-8 text: save it as UTF-8") from error
    for number, line in enumerate(lines, start=1):
        if words := line.split():
            yield number, words


def _read_class_numbers(folder: Path) -> dict[str, str]:
    path = folder / "classInd.txt"
    if not path.is_file():
        return {}
    numbers = {}
    for line, words in _read_words(path):
        if len(words) != 2 or not words[0].isdigit():
            raise _bad_line(path, line, "a number and a class")
        numbers[words[1]] = words[0]
    return numbers


def _set_side(sides: dict[str, str], k: str, side: str, where: str) -> None:
    if sides.setdefault(k, side) != side:
        raise InputError(f"{where} is {side!r} here and {sides[k]!r} elsewhere in split {k}")


def _column(protocol: str, sides: dict[str, str]) -> str:
    return " ".join(f"{protocol}:{k}={side}" for k, side in sorted(sides.items()))


def _bad_line(path: Path, line: int, rule: str) -> InputError:
    return InputError(f"{path}, line {line}: it must hold {rule}")
