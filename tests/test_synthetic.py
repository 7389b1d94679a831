import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic import (
    MOTIONS,
    make_texture,
    motion_only_frames,
    motion_only_videos,
    moving_square,
    moving_texture,
    textured_image,
    write_video,
)


def follow(frame: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Fetch, at every pixel, what the next frame holds where the flow points to."""
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
    return cv2.remap(frame.astype(np.float32), x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC)


def test_whole_shift_moves_the_pixels_exactly() -> None:
    frames, flow = moving_texture(2, 30, 40, shift=(3, -2))
    assert np.array_equal(frames[1][:-2, 3:], frames[0][2:, :-3])
    assert (flow == [3, -2]).all()


@pytest.mark.parametrize(
    "motion",
    [
        {"shift": (0.4, -1.3)},
        {"zoom": 1.03},
        {"rotation_degrees": 2.5},
        {"zoom": 0.97, "shift": (1, 1)},
    ],
)
def test_next_frame_shows_the_same_where_the_flow_points(motion: dict) -> None:
    frames, flow = moving_texture(4, 60, 80, **motion)
    error = follow(frames[3], flow[2]) - frames[2]
    assert np.abs(error[6:-6, 6:-6]).max() < 4  # of 256 levels: cubic interpolation and rounding


def test_zoom_leaves_the_centre_in_place_and_grows_outward() -> None:
    _, flow = moving_texture(2, 21, 31, zoom=1.1)
    np.testing.assert_allclose(flow[0, 10, 15], 0, atol=1e-6)
    np.testing.assert_allclose(flow[0, 10, 25], (1, 0), atol=1e-6)
    np.testing.assert_allclose(flow[0, 20, 15], (0, 1), atol=1e-6)


def test_positive_rotation_goes_from_x_to_y() -> None:
    _, flow = moving_texture(2, 21, 21, rotation_degrees=90)
    np.testing.assert_allclose(flow[0, 10, 20], (-10, 10), atol=1e-5)


def test_square_and_scene_have_their_own_flow() -> None:
    _, flow = moving_square(3, 40, 50, side=10, velocity=(2, 1), pan=(-0.5, 0))
    assert flow.shape == (2, 40, 50, 2)
    assert (flow[0, 20, 25] == [2, 1]).all()
    assert (flow[0, 2, 2] == [-0.5, 0]).all()
    assert (flow[0] == [2, 1]).all(axis=-1).sum() == 100


def test_square_carries_its_texture() -> None:
    frames, _ = moving_square(3, 40, 50, side=12, velocity=(2, 1))
    assert np.array_equal(frames[2][18:26, 24:32], frames[0][16:24, 20:28])


def test_scene_behind_the_square_stands_still_without_a_pan() -> None:
    frames, _ = moving_square(3, 40, 50, side=8, velocity=(1, 0))
    assert np.array_equal(frames[0][:12], frames[2][:12])


def test_texture_is_the_same_for_the_same_seed_alone() -> None:
    assert np.array_equal(textured_image(20, 20, 1), textured_image(20, 20, 1))
    assert not np.array_equal(textured_image(20, 20, 1), textured_image(20, 20, 2))


def test_texture_has_the_stated_contrast() -> None:
    y, x = np.mgrid[:400, :400].astype(float)
    levels = make_texture(4, longest=24)(x, y)
    assert (levels.mean(), levels.std()) == pytest.approx((128, 40), abs=2)


def test_color_texture_has_three_channels() -> None:
    frames, _ = moving_texture(2, 10, 12, n_channels=3)
    assert frames.shape == (2, 10, 12, 3)
    assert not np.array_equal(frames[..., 0], frames[..., 1])


def test_written_color_video_is_read_back_in_rgb(tmp_path: Path) -> None:
    frames, _ = moving_texture(3, 32, 48, n_channels=3)
    path = write_video(tmp_path / "a" / "video.avi", frames)
    _, bgr = cv2.VideoCapture(str(path)).read()
    blurred = cv2.blur(bgr[..., ::-1], (5, 5)).astype(float) - cv2.blur(frames[0], (5, 5))
    assert np.abs(blurred).mean() < 4


@pytest.mark.parametrize("label", MOTIONS)
def test_first_frame_does_not_show_the_motion(label: str) -> None:
    first = motion_only_frames(label, 5, n_frames=1)
    assert np.array_equal(first, motion_only_frames("sideways", 5, n_frames=1))


@pytest.mark.parametrize("label, stronger", [("sideways", 0), ("updown", 1)])
def test_swing_shows_in_its_own_direction(label: str, stronger: int) -> None:
    frames = motion_only_frames(label, 0)
    pairs = itertools.pairwise(frames)
    flow = [cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 2, 11, 2, 5, 1.1, 0) for a, b in pairs]
    energy = np.square(flow).sum(axis=(0, 1, 2))
    assert energy[stronger] > 4 * energy[1 - stronger]


def test_motion_only_set_has_a_clip_of_each_motion_per_group(tmp_path: Path) -> None:
    paths = motion_only_videos(tmp_path, 2, n_frames=16)
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == [
        f"{label}/g0{group}_{label}.avi" for label in MOTIONS for group in (1, 2)
    ]
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    assert lines[:2] == [
        "path,label,group,frames,width,height",
        "sideways/g01_sideways.avi,sideways,g01,16,112,96",
    ]
    assert len(lines) == 7
