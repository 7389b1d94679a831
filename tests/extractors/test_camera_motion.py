"""Camera motion between two frames, as improved dense trajectories remove it."""

import numpy as np
import pytest
from synthetic import moving_texture

from cinefeat.extractors import camera_motion as cm


def _stage(shared, frame):
    return np.load(shared / f"reference/idt/stages/person01_f{frame:05d}.npz")


def _still(shape):
    return tuple(np.zeros(shape, np.float32) for _ in range(2))


@pytest.mark.parametrize("frame", [1, 2, 40])
def test_frame_pulled_back_equals_the_reference(shared, frame):
    stage = _stage(shared, frame)
    found = cm.pull_back(stage["prev_grey"], stage["grey"], stage["H"])
    np.testing.assert_array_equal(found, stage["grey_warp"])


@pytest.mark.parametrize("frame", [1, 2, 40])
def test_flow_matches_equal_the_reference(shared, frame):
    stage = _stage(shared, frame)
    corners = cm.good_corners(stage["prev_grey"])
    first, second = cm.flow_matches(corners, stage["flow_s0"].transpose(2, 0, 1))
    np.testing.assert_array_equal(first, stage["flow_prev"])
    np.testing.assert_allclose(second, stage["flow_cur"], atol=1e-5)


def test_the_identity_pulls_back_nothing_but_keeps_the_margin(rng):
    previous, current = rng.integers(0, 256, (2, 40, 50), dtype=np.uint8)
    found = cm.pull_back(previous, current, np.eye(3))
    np.testing.assert_array_equal(found[6:-6, 6:-6], current[6:-6, 6:-6])
    np.testing.assert_array_equal(found[:6], previous[:6])
    np.testing.assert_array_equal(found[:, -6:], previous[:, -6:])


def test_a_whole_shift_is_pulled_back_exactly(rng):
    current = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    shift = np.array([[1, 0, 3], [0, 1, -2], [0, 0, 1]], float)
    found = cm.pull_back(np.zeros_like(current), current, shift)
    np.testing.assert_array_equal(found[8:34, 3:41], current[6:32, 6:44])


def test_features_follow_a_motion_that_the_flow_misses():
    frames, _ = moving_texture(2, 120, 160, shift=(12, -7), seed=3)
    features = (cm.describe_corners(frame, cm.good_corners(frame)) for frame in frames)
    first, second = cm.match_features(*features)
    assert len(first) > 100
    np.testing.assert_allclose(np.median(second - first, axis=0), [12, -7])


@pytest.mark.parametrize("zoom, turn", [(1, 0), (1.02, 0), (1, 1.5)])
def test_the_camera_is_found_from_frames_and_their_flow(zoom, turn):
    frames, flow = moving_texture(
        2, 120, 160, shift=(2, -1), zoom=zoom, rotation_degrees=turn, seed=3
    )
    found = cm.CameraMotion()(frames[0], frames[1], tuple(flow[0].transpose(2, 0, 1)))
    corners = np.array([[0, 0, 1], [159, 0, 1], [0, 119, 1], [159, 119, 1]])
    mapped = corners @ found.T
    moved = flow[0][corners[:, 1], corners[:, 0]]
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:] - corners[:, :2], moved, atol=0.3)


def test_features_match_within_the_window_only():
    bits = np.zeros((2, 4), np.uint64)
    old = np.array([[50, 50], [80, 50]], np.float32), bits
    new = np.array([[74, 26], [75, 75]], np.float32), bits
    first, second = cm.match_features(old, new)
    np.testing.assert_array_equal(first, [[50, 50]])
    np.testing.assert_array_equal(second, [[74, 26]])


def test_the_nearest_bits_match(rng):
    old_bits = rng.integers(0, 2**63, (30, 4), dtype=np.uint64)
    points = rng.uniform(0, 20, (30, 2)).astype(np.float32)
    order = rng.permutation(30)
    flipped = old_bits[order] ^ np.array([5, 0, 1, 0], np.uint64)
    first, _ = cm.match_features((points, old_bits), (points, flipped))
    np.testing.assert_array_equal(first, points[order])


def test_a_homography_is_found_among_wrong_matches(rng):
    true = np.array([[1.01, 0.02, 4], [-0.01, 0.99, -3], [1e-5, 2e-5, 1]])
    first = rng.uniform(0, 200, (300, 2)).astype(np.float32)
    mapped = np.c_[first, np.ones(300)] @ true.T
    second = (mapped[:, :2] / mapped[:, 2:]).astype(np.float32)
    second[:100] += rng.uniform(-20, 20, (100, 2)).astype(np.float32)
    np.testing.assert_allclose(cm.fit_homography(first, second), true, atol=0.02)


def test_too_few_matches_give_the_identity(rng):
    points = rng.uniform(0, 99, (50, 2)).astype(np.float32)
    np.testing.assert_array_equal(cm.fit_homography(points, points + 3), np.eye(3))


def test_matches_that_do_not_agree_give_the_identity(rng):
    first, second = rng.uniform(0, 500, (2, 60, 2)).astype(np.float32)
    np.testing.assert_array_equal(cm.fit_homography(first, second), np.eye(3))


def test_no_corner_lies_in_a_box(rng):
    gray = rng.integers(0, 256, (60, 80), dtype=np.uint8)
    corners = cm.good_corners(gray, cm.box_mask(np.array([[10, 20, 50, 40, 0.9]]), gray.shape))
    x, y = corners.T
    assert len(corners) > 50
    assert not ((x >= 10) & (x <= 50) & (y >= 20) & (y <= 40)).any()


def test_no_boxes_mask_nothing():
    assert cm.box_mask(np.empty((0, 4)), (4, 5)).all()


@pytest.mark.parametrize("box", [[-1, 0, 3, 3], [0, -1, 3, 3], [0, 0, 5, 3], [0, 0, 3, 4]])
def test_a_box_that_leaves_the_frame_is_refused(box):
    with pytest.raises(ValueError, match="leaves the frame of 5x4 px"):
        cm.box_mask(np.array([box]), (4, 5))


def test_boxes_that_end_early_are_refused(rng):
    frames = rng.integers(0, 256, (2, 60, 80), dtype=np.uint8)
    camera = cm.CameraMotion([np.empty((0, 4))])
    with pytest.raises(ValueError, match="boxes ends after 1 frames"):
        camera(frames[0], frames[1], _still((60, 80)))
