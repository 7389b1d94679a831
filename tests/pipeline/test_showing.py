"""`cinefeat show` on synthetic motion."""

from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from synthetic import moving_square, moving_texture

from cinefeat.pipeline.cli import _status
from cinefeat.pipeline.showing import alive_tracks, show_flow, show_tracks
from cinefeat.pipeline.timelines import FeatureRows, feature_chart

SIDE = 64
TIMES = 4  # that frames of this height are enlarged for tracks


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
    shown = picture[: TIMES * SIDE, TIMES * 96 :].astype(int)
    is_dot = (shown[..., 0] > 200) & (shown[..., 1] < 60) & (shown[..., 2] < 60)
    is_line = (shown[..., 1] > 150) & (shown[..., 0] < 60) & (shown[..., 2] < 60)
    rows, columns = (at / TIMES for at in np.nonzero(is_dot))
    left, right = 8 + 2 * 10, 32 + 2 * 10
    assert len(rows) > 20
    # dots lie in the square where it is now; a patch of flow around it is dragged along
    assert np.mean((columns >= left - 3) & (columns <= right + 3)) > 0.9
    assert np.mean((rows >= 17) & (rows <= 47)) > 0.9
    # and the tracks behind them are level, as the path is
    assert is_line.sum() > 20


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A square that moves 2 px a frame to the left while the camera makes the scene go right."""
    frames, _ = moving_square(18, 96, 128, side=32, velocity=(-2, 0), pan=(1.5, 0))
    path = tmp_path_factory.mktemp("crossing") / "crossing.avi"
    return write_video(path, np.repeat(frames[..., None], 3, axis=3))


def inside(size: tuple[int, int], t: int, times: int, margin: int) -> np.ndarray:
    """Where the square of `crossing` is at frame t, grown by a margin, in an enlarged picture."""
    rows, columns = np.mgrid[: times * size[0], : times * size[1]] / times
    centre = (size[1] - 1) / 2 - 2 * t
    far = np.maximum(np.abs(columns - centre), np.abs(rows - (size[0] - 1) / 2))
    return far <= 16 + margin


def test_warped_flow_leaves_the_square_alone_in_colour(crossing: Path) -> None:
    view = show_flow(crossing, warped=True, product=None, max_motion=4.0, frame=5)
    (picture,) = view.pictures
    colours = picture[:96, 128:].astype(int)
    scene = colours[8:-8, 8:-8][~inside((96, 128), 5, 1, 6)[8:-8, 8:-8]]
    square = np.median(colours[inside((96, 128), 5, 1, -3)], axis=0)
    # without the pan the scene stands still, white, and the square goes 3.5 px to the left
    assert np.median(scene.min(axis=1)) >= 245
    left = 255 * (1 - 3.5 / 4 * (1 - np.array([0, 209, 255]) / 255))
    np.testing.assert_allclose(square, left, atol=16)


def test_tracks_of_the_camera_are_white_and_those_of_the_square_are_not(crossing: Path) -> None:
    picture = list(show_tracks(crossing, camera_motion=True, product=None).pictures)[12]
    shown = picture[: TIMES * 96, TIMES * 128 :].astype(int)
    is_white = (shown >= 250).all(axis=2)
    is_dot = (shown[..., 0] > 240) & (shown[..., 1:] < 20).all(axis=2)
    near = inside((96, 128), 12, TIMES, 6)
    assert is_white.sum() > 500
    assert is_dot.sum() > 100
    assert np.mean(near[is_white]) < 0.1
    # a few that the square has passed over stay behind it
    assert np.mean(near[is_dot]) > 0.8
    # the camera's tracks alone are drawn in white
    alone = list(show_tracks(crossing, camera_motion=False, product=None).pictures)[12]
    assert (alone[: TIMES * 96, TIMES * 128 :] >= 250).all(axis=2).sum() < is_white.sum() / 20


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


def test_a_single_row_is_shown_by_its_largest_dimensions(pan: Path) -> None:
    row = np.array([[0.0, 5.0, 1.0, 7.0]])
    names = tuple("abcd")
    feature = FeatureRows(row, np.array([0]), np.array([5]), names)
    swapped = FeatureRows(row[:, [3, 1]], feature.first, feature.last, ("d", "b"))
    chart = feature_chart(feature, 6, 2, (32, 60))
    np.testing.assert_array_equal(chart, feature_chart(swapped, 6, 2, (32, 60)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "mp4"])
@pytest.mark.parametrize(
    ("what", "options", "n_pictures"),
    [
        ("flow", (), 41),
        ("warped-flow", (), 41),
        ("trajectories", (), 42),
        ("windows", ("--segments", 3, "--window", 5), 42),
        ("features", ("--from", "product.h5"), 42),
    ],
)
def test_every_view_of_a_real_video_is_a_film_and_a_picture(
    shared: Path, tmp_path: Path, capsys, monkeypatch, what, options, n_pictures, kind
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("product.h5", "w") as file:
        file["net/features"] = np.eye(4, 5, dtype=np.float32)
        file["net/start_frame"] = np.arange(0, 40, 10, np.int32)
        file["net/end_frame"] = np.arange(9, 49, 10, np.int32)
    video = shared / "data/weizmann/run/daria_run.avi"
    assert run(capsys, "show", video, "--what", what, "-o", f"out.{kind}", *options)[0] == 0
    capture = cv2.VideoCapture(f"out.{kind}")
    pictures = []
    while (found := capture.read())[0]:
        pictures.append(found[1].astype(int))
    assert len(pictures) == (n_pictures if kind == "mp4" else 1)
    # colour is drawn, not only the frames, whose channels differ by 69 at most
    assert max((picture.max(axis=2) - picture.min(axis=2)).max() for picture in pictures) > 80


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
