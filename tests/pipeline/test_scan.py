"""Scanning folders: what becomes a clip, where labels and groups come from, what is refused."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cinefeat.pipeline import scan as scan_module
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip, read_manifest, write_manifest
from cinefeat.pipeline.protocol import folds
from cinefeat.pipeline.scan import scan
from cinefeat.pipeline.video import Probe


@pytest.fixture(scope="session")
def video_bytes(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("video") / "a.avi"
    fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 25, (64, 48))
    for level in (10, 60, 110):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path.read_bytes()


@pytest.fixture
def make(tmp_path, video_bytes) -> Callable[..., Path]:
    """Write a small video under each name, and texts under theirs; return their folder."""

    def write(*names: str, **texts: str) -> Path:
        for name in names:
            path = tmp_path / "videos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(video_bytes)
        for name, text in texts.items():
            (tmp_path / "videos" / name.replace("__", ".")).write_text(text)
        return tmp_path / "videos"

    return write


def _told(clips: Iterable[Clip]) -> dict[str, tuple[str, str, str]]:
    return {clip.id: (clip.label, clip.group, clip.split) for clip in clips}


def test_class_folders_become_labels(make):
    clips = scan(make("run/b.avi", "run/deep/a.avi", "sit down/ü 1.AVI"))
    assert _told(clips) == {
        "run/b": ("run", "", ""),
        "run/deep/a": ("run", "", ""),
        "sit down/ü 1": ("sit down", "", ""),
    }


def test_every_clip_is_probed(make):
    folder = make("run/a.avi")
    (folder / "run/b.avi").write_text("no video")
    good, bad = scan(folder)
    assert (good.status, good.frames_decoded, good.width, good.codec) == ("ok", 3, 64, "MJPG")
    assert good.path == folder / "run/a.avi"
    assert (bad.status, bad.label) == ("unreadable", "run")
    assert "not a video" in bad.reason


def test_clips_come_in_the_order_of_their_ids(make):
    names = ["b/z.avi", "a/10.avi", "a/9.avi", "a b/1.avi", "B/1.avi"]
    ids = [clip.id for clip in scan(make(*names))]
    assert ids == sorted(name.removesuffix(".avi") for name in names)


def test_hidden_files_and_other_files_are_no_clips(make):
    folder = make("run/a.avi", "run/._a.avi", ".trash/b.avi", "run/.x/c.avi", "run/notes.txt")
    assert [clip.id for clip in scan(folder)] == ["run/a"]


def test_links_are_followed_but_not_in_circles(make, tmp_path):
    folder = make("run/a.avi")
    (tmp_path / "elsewhere").mkdir()
    (folder / "run/a.avi").rename(tmp_path / "elsewhere/far.avi")
    (folder / "sit").symlink_to(tmp_path / "elsewhere")
    (folder / "run/link.avi").symlink_to(tmp_path / "elsewhere/far.avi")
    (folder / "run/circle").symlink_to(folder)
    assert [clip.id for clip in scan(folder)] == ["run/link", "sit/far"]


def test_a_link_to_nothing_is_an_unreadable_clip(make, tmp_path):
    folder = make("run/a.avi")
    (folder / "run/gone.avi").symlink_to(tmp_path / "nowhere.avi")
    assert [clip.status for clip in scan(folder)] == ["ok", "unreadable"]


@pytest.mark.parametrize("name", ["labels__csv", "labels__txt"])
def test_a_flat_folder_takes_its_labels_from_a_file(make, name):
    text = "b.avi, run ,ann,train\r\na.avi,sit,bob,test\r\n\r\ngone.avi,sit,bob,test\r\n"
    clips = scan(make("a.avi", "b.avi", **{name: text}))
    assert _told(clips) == {"a": ("sit", "bob", "test"), "b": ("run", "ann", "train")}


def test_a_labels_file_may_have_a_header_and_lie_anywhere(make, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("\ufefflabel,quality,file\nsit,good,a.avi\nrun,bad,x/b.avi\n")
    clips = scan(make("a.avi", "x/b.avi"), labels=table)
    assert _told(clips) == {"a": ("sit", "", ""), "x/b": ("run", "", "")}


def test_a_manifest_beside_the_videos_gives_groups(make):
    text = "path,label,group,frames\nrun/a.avi,run,ann,3\n"
    clips = scan(make("run/a.avi", "run/b.avi", manifest__csv=text))
    assert _told(clips) == {"run/a": ("run", "ann", ""), "run/b": ("run", "", "")}


def test_weizmann_is_scanned_with_its_actors(shared):
    clips = scan(shared / "data/weizmann")
    assert len(clips) == 90
    assert {clip.status for clip in clips} == {"ok"}
    assert sorted(Counter(clip.label for clip in clips).values()) == [9] * 10
    assert len(folds(clips, "leave-one-group-out")) == 9


def test_names_of_ucf101_tell_label_and_group(shared):
    clips = scan(shared / "data/ucf101_clips", mapper=_no_probe)
    assert _told(clips)["v_Biking_g02_c02"] == ("Biking", "g02", "")
    assert len({clip.label for clip in clips}) == 6


def test_names_of_kth_and_hmdb51_tell_their_group(make):
    clips = scan(make("cartwheel/Faul_cartwheel_f_cm_np1_le_bad_1.avi", "person02_run_d1.avi"))
    assert _told(clips) == {
        "cartwheel/Faul_cartwheel_f_cm_np1_le_bad_1": ("cartwheel", "cartwheel/Faul", ""),
        "person02_run_d1": ("run", "person02", ""),
    }


def _no_probe(_: object, paths: Iterable[Path]) -> list[Probe]:
    return [Probe(status="ok") for _ in paths]


def test_official_lists_fill_label_group_and_split(shared):
    lists = shared / "data/splits/ucfTrainTestlist"
    clips = scan(shared / "data/ucf101_clips", splits=lists, mapper=_no_probe)
    assert _told(clips)["v_Diving_g01_c02"] == (
        "Diving",
        "g01",
        "ucf101:1=test ucf101:2=train ucf101:3=train",
    )


def test_kth_files_are_found_in_the_list(make, shared):
    folder = make("person22_boxing_d1_uncomp.avi", "boxing/person11_boxing_d2_uncomp.avi")
    assert list(_told(scan(folder, splits=shared / "data/splits/kth")).values()) == [
        ("boxing", "person11", "train"),
        ("boxing", "person22", "test"),
    ]


def test_a_video_that_is_not_in_the_lists_is_refused(make, shared):
    with pytest.raises(InputError, match=r"run/a\.avi is not in the lists of"):
        scan(make("run/a.avi"), splits=shared / "data/splits/kth")


def test_the_group_pattern_goes_before_everything(make):
    folder = make("Biking/v_Biking_g02_c03.avi", labels__csv="file,group\nx.avi,y\n")
    (clip,) = scan(folder, group_pattern=r"_c(\d+)\.")
    assert (clip.label, clip.group) == ("Biking", "03")


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("[a-z]+_", "has no group: put parentheses"),
        ("(", "is no regular expression"),
        ("(x)", "finds no group in 'a_1.avi'"),
        ("(x?)", "finds no group in 'a_1.avi'"),
        ("(x)|a", "finds no group in 'a_1.avi'"),
    ],
)
def test_a_group_pattern_must_find_a_group_in_every_name(make, pattern, message):
    with pytest.raises(InputError, match=message):
        scan(make("run/a_1.avi"), group_pattern=pattern)


@pytest.mark.parametrize(
    "names, message",
    [
        (["run/a.avi", "run/a.mp4"], r"a\.(avi|mp4) and .*a\.(avi|mp4) would both be clip 'run/a'"),
        (["a.avi"], "a.avi has no label: put it into a folder"),
        (["run/a\\b.avi"], "must not hold a backslash"),
        (["run/a.h5.avi"], "ends in '.h5'"),
        (["run/a\n.avi"], "control character"),
        (["train/a.avi", "test/b.avi"], "named after splits, not classes"),
        (["run/a.txt"], "no video below .* looked for .3gp"),
    ],
)
def test_what_cannot_become_a_manifest_is_refused(make, names, message):
    with pytest.raises(InputError, match=message):
        scan(make(*names), mapper=_no_probe)


def test_a_name_that_is_not_unicode_is_refused(make):
    folder = make("run/a.avi")
    os.rename(folder / "run/a.avi", os.fsencode(folder) + b"/run/\xe9.avi")
    with pytest.raises(InputError, match="must be valid Unicode"):
        scan(folder)


@pytest.mark.parametrize(
    "text, message",
    [
        ("a.avi\n", "line 1: it must hold file, label"),
        ("a.avi,run\nb.avi\n", "line 2: it must hold file, label"),
        ("path,label\n,run\n", "line 2: it must hold file, label"),
        ("a.avi,run\n./a.avi,sit\n", "line 2: ./a.avi has two labels"),
        ('a.avi,"run\n', "not CSV in UTF-8"),
    ],
)
def test_a_broken_labels_file_is_refused_with_its_line(make, text, message):
    with pytest.raises(InputError, match=message):
        scan(make("a.avi", labels__csv=text))


@pytest.mark.parametrize("argument", ["labels", "splits"])
def test_a_named_file_must_be_there(make, tmp_path, argument):
    with pytest.raises(InputError, match="nowhere"):
        scan(make("run/a.avi"), **{argument: tmp_path / "nowhere"})


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        scan(tmp_path / "nowhere")


def test_a_second_scan_decodes_nothing(make, monkeypatch):
    folder = make("run/a.avi", "run/b.avi")
    first = scan(folder)
    write_manifest(folder / "manifest.csv", first)
    monkeypatch.setattr(scan_module, "probe", _refuse)
    assert scan(folder, previous=read_manifest(folder / "manifest.csv")) == first


def _refuse(path: Path) -> Probe:
    raise AssertionError(f"{path} is probed again")


def test_a_changed_video_is_probed_again(make):
    folder = make("run/a.avi", "run/b.avi")
    first = scan(folder)
    (folder / "run/b.avi").write_bytes((folder / "run/b.avi").read_bytes() + b"\0")
    seen = []
    again = scan(folder, previous=first, progress=lambda *counts: seen.append(counts))
    assert (again[0], seen) == (first[0], [(1, 1)])
    assert again[1].sha256 != first[1].sha256


def test_an_unreadable_video_is_tried_again(make):
    folder = make("run/a.avi")
    (folder / "run/b.avi").write_text("no video")
    seen = []
    scan(folder, previous=scan(folder), progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 1)]


def test_progress_is_told_after_every_video(make):
    seen = []
    scan(make("run/a.avi", "run/b.avi"), progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)]
