"""Scores of any origin: what is read, what is refused, and joining by names."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.score_files import Table, read_table
from cinefeat.pipeline.scores import Scores, align, match_names, name_table, read_list

SCORES = np.array([[0.5, -1.0, 2.0], [3.0, 0.25, -7.5], [0.0, 1e-17, 9.0], [1.0, 2.0, 3.0]])
CLIPS = np.array(["walk/a", "walk/b", "run/c", "sit/d"])
CLASSES = np.array(["run", "sit", "walk"])


def _cell(texts: np.ndarray) -> np.ndarray:
    cell = np.empty((len(texts), 1), dtype=object)
    cell[:, 0] = texts
    return cell


def _write_matlab73(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["scores"] = SCORES.T
        file["scores"].attrs["MATLAB_class"] = np.bytes_("double")
        cells = []
        for i, text in enumerate(CLIPS):
            codes = np.array([[ord(letter)] for letter in text], np.uint16)
            cells.append(file.create_dataset(f"#refs#/{i}", data=codes).ref)
        file["names"] = np.array([cells], dtype=h5py.ref_dtype)
        file["names"].attrs["MATLAB_class"] = np.bytes_("cell")


def _write(kind: str, path: Path) -> Path:
    if kind == "csv":
        rows = [
            f"{c},{','.join(map(repr, s))}" for c, s in zip(CLIPS, SCORES.tolist(), strict=True)
        ]
        path.write_text("\n".join([f"clip,{','.join(CLASSES)}", *rows]) + "\n")
    elif kind == "npy":
        np.save(path, SCORES)
    elif kind == "mat":
        savemat(path, {"scores": SCORES, "names": _cell(CLIPS), "gt": np.array([[3, 3, 1, 2]]).T})
    elif kind == "mat73":
        _write_matlab73(path)
    else:
        with h5py.File(path, "w") as file:
            file["stream0/logits"] = SCORES.astype(np.float64)
    return path


@pytest.mark.parametrize(
    "kind, suffix, has_names",
    [
        ("csv", "csv", True),
        ("npy", "npy", False),
        ("mat", "mat", True),
        ("mat73", "mat", True),
        ("h5", "h5", False),
    ],
)
def test_every_kind_of_file_gives_the_matrix_and_the_names_it_holds(
    tmp_path: Path, kind: str, suffix: str, has_names: bool
) -> None:
    table = read_table(str(_write(kind, tmp_path / f"x.{suffix}")))
    np.testing.assert_array_equal(table.scores, SCORES)
    assert (table.clips is not None) == has_names
    if table.clips is not None:
        np.testing.assert_array_equal(table.clips, CLIPS)


def test_a_report_folder_and_a_product_carry_labels(tmp_path: Path) -> None:
    text = "clip,label,predicted,run,walk\nwalk/a,walk,run,1.5,-inf\n"
    (tmp_path / "predictions.csv").write_text(text)
    table = read_table(str(tmp_path))
    assert table.labels is not None
    assert table.classes is not None
    assert (table.labels.tolist(), table.classes.tolist()) == (["walk"], ["run", "walk"])
    assert table.scores.tolist() == [[1.5, -np.inf]]


def test_class_numbers_of_a_matlab_file_become_labels(tmp_path: Path) -> None:
    table = read_table(str(_write("mat", tmp_path / "x.mat")))
    scores = name_table("x", table, None, CLASSES.tolist())
    assert scores.labels is not None
    assert scores.labels.tolist() == ["walk", "walk", "run", "sit"]


def test_one_of_several_matrices_is_named_after_a_colon(tmp_path: Path) -> None:
    path = tmp_path / "two.mat"
    savemat(path, {"rgb": SCORES, "flow": -SCORES})
    with pytest.raises(InputError, match=r"holds 2 matrices \(rgb, flow\): name one as .*:MATRIX"):
        read_table(str(path))
    np.testing.assert_array_equal(read_table(f"{path}:flow").scores, -SCORES)


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"not an \.npy file of numbers"):
        read_table(str(tmp_path / "x.npy"))


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("x.txt", "", r"a report folder or a file of kind \.csv"),
        ("x.csv", "clip,run\na,fast\n", "not a number"),
        ("x.csv", "run,walk\n1,2\n", "needs a column clip"),
        ("x.csv", "clip,run\na,1,2\n", "another number of fields"),
        ("x.csv", "", "needs a column clip"),
        ("x.mat", "no matlab", "not a readable MATLAB file"),
        ("x.h5", "no hdf5", "not a readable HDF5 file"),
        ("x.npy", "no numpy", "not an .npy file"),
    ],
)
def test_a_file_that_holds_no_scores_is_named(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_table(str(tmp_path / name))


@pytest.mark.parametrize(
    "clips, classes, message",
    [
        (None, ["a", "b", "c"], "4 rows without names: give --names FILE"),
        (["1", "2", "3", "4"], None, "3 columns without names: give --classes FILE"),
        (["1", "2", "3"], ["a", "b", "c"], "has 4 rows, but --names has 3 names"),
        (["1", "2", "2", "4"], ["a", "b", "c"], "has '2' 2 times among its rows"),
    ],
)
def test_nothing_goes_without_names(
    clips: list[str] | None, classes: list[str] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        name_table("x", Table(SCORES), clips, classes)


def test_a_score_that_is_not_finite_is_named() -> None:
    scores = SCORES.copy()
    scores[2, 1] = -np.inf
    with pytest.raises(InputError, match=r"-inf for clip 'run/c', class 'sit'"):
        name_table("x", Table(scores), CLIPS.tolist(), CLASSES.tolist())


def test_alignment_undoes_any_order_of_rows_and_columns(rng: np.random.Generator) -> None:
    rows, columns = rng.permutation(4), rng.permutation(3)
    names = np.array([f"{clip.partition('/')[2]}.avi" for clip in CLIPS])
    shuffled = Scores(
        "x", names[rows], CLASSES[columns], SCORES[np.ix_(rows, columns)], CLIPS[rows]
    )
    aligned = align(shuffled, CLIPS.tolist(), CLASSES)
    np.testing.assert_array_equal(aligned.scores, SCORES)
    np.testing.assert_array_equal(aligned.labels, CLIPS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "clips, classes, message",
    [
        (["walk/a", "walk/z"], CLASSES, r"no scores of 1 of 2 clips \('walk/z' is one\)"),
        (["walk/a"], np.array(["run", "sit", "jump"]), r"the same classes: 'jump' is one of 2"),
    ],
)
def test_other_clips_or_classes_are_refused(
    clips: list[str], classes: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        align(Scores("x", CLIPS, CLASSES, SCORES), clips, classes)


@pytest.mark.parametrize(
    "wanted, names, found",
    [
        (["walk/a", "walk/b"], ["walk/b", "walk/a"], {"walk/a": 1, "walk/b": 0}),
        (["walk/a"], ["/data/walk/a.AVI", "x.avi"], {"walk/a": 0}),
        (["a"], ["walk/a.mp4"], {"a": 0}),
        (["walk/a"], ["run/a"], {}),
        (["walk/a", "run/a"], ["a"], {}),
        (["person01_boxing_d1"], ["person01_boxing_d1_uncomp.avi"], {"person01_boxing_d1": 0}),
        (["walk/take 2"], ["walk/take 2"], {"walk/take 2": 0}),
    ],
)
def test_clips_are_found_by_name_and_never_by_guess(
    wanted: list[str], names: list[str], found: dict[str, int]
) -> None:
    assert match_names(wanted, names) == found


@pytest.mark.parametrize(
    "text, names",
    [
        ("1 Run\n2 Sit\r\n", ["Run", "Sit"]),
        ("Run/v_1.avi 1\nSit/v_2.avi 2\n", ["Run/v_1.avi", "Sit/v_2.avi"]),
        ("\ufefftake 2\n\nwave\n", ["take 2", "wave"]),
    ],
)
def test_lists_are_read_as_they_are_distributed(
    tmp_path: Path, text: str, names: list[str]
) -> None:
    (tmp_path / "list.txt").write_text(text, newline="")
    assert read_list(tmp_path / "list.txt") == names


def test_numbered_classes_must_be_in_order(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("2 Sit\n1 Run\n")
    with pytest.raises(InputError, match=r"not 1, 2, 3"):
        read_list(tmp_path / "list.txt")
