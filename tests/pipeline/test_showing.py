"""`cinefeat show` on synthetic motion."""

from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from synthetic import moving_texture

from cinefeat.pipeline.cli import _status
from cinefeat.pipeline.showing import alive_tracks, show_flow, show_tracks

SIDE = 64


def write_video(path: Path, frames: np.ndarray) -> Path:
    size = (frames.shape[2], frames.shape[1])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25, size)
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


@pytest.fixture(scope="module")
def pan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames, _ = moving_texture(6, SIDE, SIDE, shift=(2, 0), n_channels=3)
    return write_video(tmp_path_factory.mktemp("pan") / "pan.avi", frames)


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A textured square that moves 2 px a frame to the right over a plain ground."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (24, 24, 3), np.uint8), (0, 0), 1.5)
    frames = np.full((22, SIDE, 96, 3), 90, np.uint8)
    for t, frame in enumerate(frames):
        frame[20:44, 8 + 2 * t : 32 + 2 * t] = cv2.convertScaleAbs(texture, alpha=2, beta=-128)
    return write_video(tmp_path_factory.mktemp("square") / "square.avi", frames)


def test_a_pure_right_shift_is_shown_in_red(pan: Path) -> None:
    view = show_flow(pan, warped=False, product=None, max_motion=2.0)
    pictures = list(view.pictures)
    assert len(pictures) == view.n_pictures == 5
    colours = pictures[2][8 : SIDE - 8, SIDE + 8 : 2 * SIDE - 8].reshape(-1, 3)
    red, green, blue = np.median(colours, axis=0)
    # full red, or three quarters of it where flow is a hair faster than the scale
    assert red >= 190
    # just above level the wheel's seam is of (255, 0, 43)
    assert max(green, blue) <= 45


def test_stored_flow_is_shown_in_the_exact_colour(pan: Path, tmp_path: Path) -> None:
    product = tmp_path / "flow.h5"
    with h5py.File(product, "w") as file:
        flow = np.zeros((5, SIDE, SIDE, 2), np.float16)
        flow[..., 0] = 3
        file["flow"] = flow
    view = show_flow(pan, warped=False, product=product, max_motion=None)
    for picture in view.pictures:
        assert (picture[:SIDE, SIDE:] == [255, 0, 0]).all()


def test_tracks_follow_the_path_of_a_moving_square(square: Path) -> None:
    view = show_tracks(square, camera_motion=False, product=None)
    picture = list(view.pictures)[10]
    shown = picture[:SIDE, 96:].astype(int)
    is_dot = (shown[..., 0] > 200) & (shown[..., 1] < 60) & (shown[..., 2] < 60)
    is_line = (shown[..., 1] > 150) & (shown[..., 0] < 60) & (shown[..., 2] < 60)
    rows, columns = np.nonzero(is_dot)
    left, right = 8 + 2 * 10, 32 + 2 * 10
    assert len(rows) > 20
    # dots lie in the square where it is now; a patch of flow around it is dragged along
    assert np.mean((columns >= left - 3) & (columns <= right + 3)) > 0.9
    assert np.mean((rows >= 17) & (rows <= 47)) > 0.9
    # and the tracks behind them are level, as the path is
    assert is_line.sum() > 20


def test_alive_tracks_grow_with_the_frames_and_end() -> None:
    track = np.arange(8.0).reshape(4, 2)
    found = list(alive_tracks([(4, track, False), (5, track + 1, True)], 7))
    assert [len(kept[0]) if kept else 0 for kept, _ in found] == [0, 1, 2, 3, 4, 0, 0]
    assert [len(removed[0]) if removed else 0 for _, removed in found] == [0, 0, 1, 2, 3, 4, 0]


def run(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str]:
    status = _status([str(a) for a in arguments])
    streams = capsys.readouterr()
    return status, streams.out + streams.err


def test_a_film_has_a_picture_per_frame(pan: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "windows.mp4"
    status, text = run(capsys, "show", pan, "--what", "windows", "--segments", 2, "-o", out)
    assert (status, text) == (0, f"6 pictures in {out}\n")
    capture = cv2.VideoCapture(str(out))
    assert sum(1 for _ in iter(lambda: capture.read()[0], False)) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["windows.mp4"]


def test_a_sheet_has_the_frames_of_each_snippet(pan: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "sheet.png"
    arguments = ("--what", "windows", "--stride", 3, "--window", 3, "-o", out)
    assert run(capsys, "show", pan, *arguments)[0] == 0
    assert cv2.imread(str(out)).shape[0] == 20 + 24 + 2 * (20 + 90)


def test_a_feature_is_shown_along_time(pan: Path, tmp_path: Path, capsys) -> None:
    product, out = tmp_path / "product.h5", tmp_path / "feature.png"
    with h5py.File(product, "w") as file:
        file["net/features"] = np.eye(3, 5, dtype=np.float32)
        file["net/start_frame"] = np.array([0, 2, 4], np.int32)
        file["net/end_frame"] = np.array([1, 3, 5], np.int32)
    status, _ = run(capsys, "show", pan, "--what", "features", "--from", product, "--rows", 3,
                    "-o", out)  # fmt: skip
    assert status == 0
    chart = cv2.imread(str(out))[20 + 90 :, 96:].astype(int).sum(axis=2)
    third = chart.shape[1] // 3
    # dimension 0 is 1 in the first third of the video, and 0 afterwards
    assert chart[4, third // 2] > chart[4, 2 * third]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--what", "flow", "--segments", 3, "-o", "x.png"), "--segments says nothing about"),
        (("--what", "flow", "-o", "x.gif"), "ends in .mp4"),
        (("--what", "features", "-o", "x.png"), "needs --from FILE"),
        (("--what", "windows", "-o", "x.png"), "needs one of --segments"),
        (("--what", "flow", "-o", "x.mp4", "--frame", 2), "--frame goes with a .png"),
    ],
)
def test_what_makes_no_sense_is_refused(pan: Path, capsys, arguments, sentence: str) -> None:
    status, text = run(capsys, "show", pan, *arguments)
    assert status == 2
    assert sentence in text
