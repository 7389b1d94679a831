"""Features as other programs write them: where they are found, and what is refused."""

import struct
from pathlib import Path

import numpy as np
import pytest

from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.feature_files import find_feature_files, read_features


def blob(*values: float, number: int = 1) -> bytes:
    """A window's output of a layer as C3D's program writes it."""
    return struct.pack(f"<5i{len(values)}f", number, len(values), 1, 1, 1, *values)


def write(folder: Path, **files: bytes) -> list[Path]:
    for name, content in files.items():
        (folder / f"{name[1:]}.fc6-1").write_bytes(content)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("least", [0, 1])
def test_blobs_are_in_the_order_of_their_frames_counted_from_their_least(
    tmp_path: Path, least: int
) -> None:
    # by name 1000000 comes before 999984
    frames = [least, 999984 + least, 1000000 + least]
    for value, frame in enumerate(frames):
        (tmp_path / f"{frame:06}.fc6-1").write_bytes(blob(value, -1))
    rows, first = read_features(sorted(tmp_path.iterdir()))
    assert rows.tolist() == [[0, -1], [1, -1], [2, -1]]
    assert first is not None
    assert first.tolist() == [0, 999984, 1000000]


def test_a_blob_of_a_map_is_one_row(tmp_path: Path) -> None:
    values = np.arange(24, dtype="<f4")
    (tmp_path / "0.pool5").write_bytes(struct.pack("<5i", 1, 2, 1, 3, 4) + values.tobytes())
    rows, _ = read_features([tmp_path / "0.pool5"])
    np.testing.assert_array_equal(rows, values[None])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (blob(1, 2)[:-1], "is not a blob of C3D"),
        (b"", "is not a blob of C3D"),
        (blob(1, 2, number=2), "is not a blob of C3D"),
        (blob(1, 2, 3), "has 3 numbers, 000000.fc6-1 2: they are of other layers"),
        (blob(1, float("nan")), "holds NaN"),
    ],
)
def test_a_wrong_blob_is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    paths = write(tmp_path, _000000=blob(1, 2), _000016=content)
    with pytest.raises(ClipError, match=reason):
        read_features(paths)


def test_a_blob_without_a_frame_in_its_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="the name of a blob is its first frame"):
        read_features(write(tmp_path, _first=blob(1)))


@pytest.mark.parametrize(
    ("array", "shape"),
    [(np.zeros((3, 2), np.float16), (3, 2)), (np.zeros(5), (1, 5)), (np.ones((2, 2), int), (2, 2))],
)
def test_an_array_has_a_row_per_window(tmp_path: Path, array: np.ndarray, shape: tuple) -> None:
    np.save(tmp_path / "a.npy", array)
    rows, first = read_features([tmp_path / "a.npy"])
    assert (rows.shape, rows.dtype, first) == (shape, np.float32, None)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 3, 4)), r"has shape \(2, 3, 4\) of float64; give \(M, D\) numbers"),
        (np.zeros((0, 3)), r"give \(M, D\) numbers"),
        (np.array(["a"]), r"give \(M, D\) numbers"),
        (np.array([{"a": 1}]), "is not a .npy file of plain numbers"),
        (np.array([np.inf]), "holds NaN or infinity"),
    ],
)
def test_a_wrong_array_is_told(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ClipError, match=reason):
        read_features([tmp_path / "a.npy"])


def test_files_are_found_by_the_clips_id_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("run/a[1]_rgb.npy", "run/a1_rgb.npy", "run/a[1]_flow.npy"):
        (tmp_path / name).touch()
    found = find_feature_files(tmp_path, "{clip}_rgb.npy", "run/a[1]")
    assert [path.name for path in found] == ["a[1]_rgb.npy"]
    with pytest.raises(ClipError, match=r"a clip has one \.npy file"):
        find_feature_files(tmp_path, "{clip}_*.npy", "run/a[1]")
    with pytest.raises(ClipError, match="there is no file"):
        find_feature_files(tmp_path, "{clip}.npy", "run/b")
