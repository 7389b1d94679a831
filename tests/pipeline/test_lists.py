"""The official lists: counts that the data sets' pages give, and lines that must be refused."""

from collections import Counter
from pathlib import Path

import pytest

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.lists import (
    Listed,
    detect_lists,
    guess_from_name,
    read_hmdb51,
    read_kth,
    read_lists,
    read_ucf101,
)
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.protocol import folds


@pytest.fixture(scope="module")
def ucf101(shared):
    return read_ucf101(shared / "data/splits/ucfTrainTestlist")


@pytest.fixture(scope="module")
def hmdb51(shared):
    return read_hmdb51(shared / "data/splits/hmdb51")


@pytest.fixture(scope="module")
def kth(shared):
    return read_kth(shared / "data/splits/kth")


def _clips(listed: dict[str, Listed]) -> list[Clip]:
    return [
        Clip(name, Path(f"/{name}.avi"), item.label, item.group, item.split)
        for name, item in listed.items()
    ]


def _write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.mark.parametrize(
    "name, kind", [("ucfTrainTestlist", "ucf101"), ("hmdb51", "hmdb51"), ("kth", "kth")]
)
def test_lists_are_told_apart_by_their_files(shared, name, kind):
    assert detect_lists(shared / "data/splits" / name) == kind


def test_a_folder_without_lists_is_refused_with_what_was_looked_for(shared):
    with pytest.raises(InputError, match=r"trainlist01\.txt \(ucf101\).*holds none of them"):
        detect_lists(shared / "data/splits")


def test_two_kinds_of_lists_in_one_folder_are_refused(tmp_path):
    _write(tmp_path, trainlist01="", walk_test_split1="")
    with pytest.raises(InputError, match="it holds ucf101 and hmdb51"):
        detect_lists(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        read_lists(tmp_path / "nowhere")


def test_ucf101_has_13320_clips_of_101_classes_and_25_groups(ucf101):
    assert len(ucf101) == 13320
    assert len({item.label for item in ucf101.values()}) == 101
    assert {item.group for item in ucf101.values()} == {f"g{i:02}" for i in range(1, 26)}


def test_a_clip_of_ucf101_knows_its_side_in_all_splits(ucf101):
    assert ucf101["v_Archery_g09_c01"] == Listed(
        "Archery", "g09", "ucf101:1=train ucf101:2=test ucf101:3=train"
    )
    assert ucf101["v_HandStandPushups_g01_c01"].label == "HandstandPushups"


@pytest.mark.parametrize("k, n_train, n_test", [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_the_splits_of_ucf101_are_accepted_as_published(ucf101, k, n_train, n_test):
    (fold,) = folds(_clips(ucf101), f"ucf101:{k}")
    assert (len(fold.train), len(fold.test)) == (n_train, n_test)


def test_hmdb51_has_6766_clips_of_51_classes(hmdb51):
    assert len(hmdb51) == 6766
    assert len({item.label for item in hmdb51.values()}) == 51
    assert all(item.group.startswith(f"{item.label}/") for item in hmdb51.values())


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_splits_of_hmdb51_are_accepted_with_70_and_30_clips_a_class(hmdb51, k):
    (fold,) = folds(_clips(hmdb51), f"hmdb51:{k}")
    assert (len(fold.train), len(fold.test)) == (51 * 70, 51 * 30)


def test_the_groups_of_hmdb51_are_sources_within_a_class(hmdb51):
    name = "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_le_goo_3"
    assert hmdb51[name] == Listed(
        "brush_hair",
        "brush_hair/Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!",
        hmdb51[name].split,
    )
    assert hmdb51[name].split.startswith("hmdb51:1=unused hmdb51:2=")


def test_kth_has_599_sequences_of_25_persons(kth):
    assert len(kth) == 599
    assert "person13_handclapping_d3" not in kth
    assert Counter(item.split for item in kth.values()) == {
        "train": 191,
        "validation": 192,
        "test": 216,
    }


def test_a_sequence_of_kth_keeps_its_frame_ranges(kth):
    assert kth["person01_boxing_d1"] == Listed(
        "boxing", "person01", "validation", ((1, 95), (96, 185), (186, 245), (246, 360))
    )


def test_kth_trains_on_16_persons_and_tests_on_9(kth):
    (fold,) = folds(_clips(kth), "split")
    assert {int(name[6:8]) for name in fold.test} == {2, 3, 5, 6, 7, 8, 9, 10, 22}
    assert len({name[6:8] for name in fold.train}) == 16


def test_read_lists_finds_the_reader(shared, hmdb51):
    assert read_lists(shared / "data/splits/hmdb51") == hmdb51


UCF_LINE = "Run/v_Run_g01_c01.avi 1\n"


@pytest.mark.parametrize(
    "files, message",
    [
        ({"trainlist01": "v_Run_g01_c01.avi 1\n"}, "line 1: it must hold Class/v_Class"),
        ({"trainlist01": "\nRun/run.avi 1\n"}, "line 2: it must hold Class/v_Class"),
        ({"trainlist01": UCF_LINE, "testlist01": UCF_LINE}, "'test' here and 'train' elsewhere"),
        ({"trainlist01": UCF_LINE, "classInd": "2 Run\r\n"}, "the number of Run in classInd.txt"),
        ({"trainlist01": UCF_LINE, "classInd": "Run\r\n"}, "a number and a class"),
        ({"run_test_split1": "a.avi 3\n"}, "line 1: it must hold a file name and 0, 1 or 2"),
        ({"run_test_split1": "a.avi 1\na.avi 2\n"}, "'test' here and 'train' elsewhere in split 1"),
        ({"run_test_split1": "a.avi 1\n", "sit_test_split1": "a.avi 1\n"}, "also listed as run"),
        ({"00sequences": "person01_boxing_d1 frames 1-9"}, "a person of the subdivision"),
        ({"00sequences": "Test: person01\nperson01_boxing_d1 frames"}, "line 2: .* ranges"),
    ],
)
def test_a_broken_list_is_refused_with_its_line(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        read_lists(_write(tmp_path, **files))


def test_endings_and_trailing_spaces_change_nothing(tmp_path):
    _write(tmp_path, trainlist01="\ufeffRun/v_Run_g01_c01.avi 1 \r\n\r\n", classInd="1 Run \r\n")
    assert read_lists(tmp_path) == {"v_Run_g01_c01": Listed("Run", "g01", "ucf101:1=train")}


@pytest.mark.parametrize("name", ["v_Run_g1_c01", "v_Run_g01_c01_cut", "person1_run_d1", ""])
def test_other_names_tell_nothing(name):
    assert guess_from_name(name, "Run") == ("", "")
