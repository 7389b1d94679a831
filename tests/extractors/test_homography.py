"""Camera motion: masks, matches, the choice of the homography, the frame warped back."""

import cv2
import numpy as np
import pytest
from flow_pairs import eight_bit, shifted_pair, texture

from cinefeat.extractors.homography import (
    Features,
    detect_features,
    estimate_homography,
    feature_matches,
    flow_matches,
    people_mask,
    project,
    spread_matches,
    warp_back,
)

TURN = np.array([[0.998, -0.03, 6.0], [0.028, 1.003, -4.0], [2e-5, -1e-5, 1.0]])


def _grid(n_x, n_y, left=10, top=10, step=10):
    y, x = np.mgrid[:n_y, :n_x].astype(np.float32)
    return np.stack([left + step * x.ravel(), top + step * y.ravel()], axis=1)


@pytest.mark.parametrize("boxes, inside", [
    (None, 0), ([], 0), ([[1, 1, 2, 2]], 4), ([[0.5, 0.5, 2.9, 1.1]], 2), ([[-9, -9, 99, 99]], 48),
    ([[9, 1, 12, 2]], 0), ([[-5, 0, -1, 3]], 0),
])  # fmt: skip
def test_a_box_covers_the_whole_pixels_between_its_corners(boxes, inside):
    assert (people_mask((6, 8), boxes) == 0).sum() == inside


@pytest.mark.parametrize("boxes", [[[1, 2, 3]], [[3, 1, 2, 4]], [[0, 0, np.nan, 1]], [1, 2, 3, 4]])
def test_boxes_that_are_none_are_refused(boxes):
    with pytest.raises(ValueError, match="boxes are"):
        people_mask((6, 8), boxes)


def test_corners_move_with_the_flow_at_their_pixel(rng):
    frame = eight_bit(texture(60, 80, grain=1.0))
    flow = rng.normal(size=(60, 80, 2)).astype(np.float32)
    prev, next = flow_matches(frame, flow, max_corners=30)
    column, row = prev.T.astype(int)
    assert len(prev) == 30
    np.testing.assert_allclose(next - prev, flow[row, column], atol=1e-5)


def test_no_corner_is_taken_where_the_mask_is_zero():
    frame = eight_bit(texture(60, 80, grain=1.0))
    mask = people_mask(frame.shape, [[0, 0, 39, 59]])
    prev, _ = flow_matches(frame, np.zeros((60, 80, 2), np.float32), mask)
    assert len(prev) > 0
    assert (prev[:, 0] >= 40).all()


def test_a_flat_frame_gives_no_matches():
    flat = np.full((40, 40), 90, np.uint8)
    assert flow_matches(flat, np.zeros((40, 40, 2), np.float32))[0].shape == (0, 2)
    nothing = detect_features(flat)
    assert feature_matches(nothing, nothing)[0].shape == (0, 2)


@pytest.mark.parametrize("detector", ["sift", "orb"])
def test_features_are_matched_to_the_same_point_of_the_scene(detector):
    prev, next = shifted_pair((7.0, -4.0), (160, 200))
    found = [detect_features(image, detector=detector) for image in (prev, next)]
    before, after = feature_matches(*found)
    right = np.linalg.norm(after - before - (7.0, -4.0), axis=1) < 1
    assert right.sum() > 10
    assert right.mean() > 0.5


def test_features_are_matched_within_the_radius_alone():
    points = np.float32([[10, 10], [40, 10]])
    same = np.zeros((2, 32), np.uint8)
    moved = Features(points + np.float32([24.5, 0]), same)
    before, after = feature_matches(Features(points, same), moved)
    assert (np.abs(after - before) < 25).all()
    far = Features(points + np.float32([100, 0]), same)
    assert len(feature_matches(Features(points, same), far)[0]) == 0


def test_an_unknown_detector_is_refused():
    with pytest.raises(ValueError, match="'surf'"):
        detect_features(np.zeros((40, 40), np.uint8), detector="surf")


def test_the_first_matches_of_each_cell_are_kept_in_order(rng):
    prev = rng.uniform(0, 64, (200, 2)).astype(np.float32)
    kept, moved = spread_matches(prev, prev + 1, cell=16, per_cell=3)
    counts, expected = {}, []
    for point in prev:
        cell = tuple(point // 16)
        counts[cell] = counts.get(cell, 0) + 1
        expected += [point] if counts[cell] <= 3 else []
    assert (kept == expected).all()
    assert (moved == kept + 1).all()


def test_no_matches_stay_no_matches():
    nothing = np.empty((0, 2), np.float32)
    assert spread_matches(nothing, nothing)[0].shape == (0, 2)


def test_a_homography_is_found_among_wrong_matches(rng):
    prev = _grid(30, 20)
    next = project(TURN, prev).astype(np.float32)
    next[::3] += rng.uniform(5, 30, next[::3].shape).astype(np.float32)
    found = estimate_homography(prev, next)
    corners = np.float64([[0, 0], [319, 0], [0, 239], [319, 239]])
    assert np.abs(project(found, corners) - project(TURN, corners)).max() < 0.01
    assert found[2, 2] == 1


def test_the_motion_that_covers_most_of_the_image_is_taken_before_that_with_most_matches():
    background, crowd = _grid(30, 20, step=10), _grid(40, 40, left=100, top=100, step=2)
    prev = np.concatenate([crowd, background])
    shifts = np.concatenate([np.full(crowd.shape, 4.0), np.full(background.shape, -2.0)])
    found = estimate_homography(prev, (prev + shifts).astype(np.float32))
    np.testing.assert_allclose(found, [[1, 0, -2], [0, 1, -2], [0, 0, 1]], atol=1e-3)


def test_a_second_motion_one_pixel_away_does_not_pull():
    prev = _grid(30, 20)
    next = prev.copy()
    next[(np.abs(prev - (160, 110)) < (60, 40)).all(axis=1)] += np.float32([0.9, 0])
    np.testing.assert_allclose(estimate_homography(prev, next), np.eye(3), atol=1e-4)


@pytest.mark.parametrize("n, is_found", [(50, False), (51, True)])
def test_fifty_matches_are_too_few(n, is_found):
    prev = _grid(10, 6)[:n]
    found = estimate_homography(prev, prev + np.float32([3, 0]))
    assert (abs(found[0, 2] - 3) < 1e-3) == is_found


def test_matches_without_a_common_motion_give_the_identity(rng):
    prev, next = rng.uniform(0, 300, (2, 100, 2)).astype(np.float32)
    assert (estimate_homography(prev, next) == np.eye(3)).all()


def test_points_on_one_line_give_a_finite_matrix():
    prev = np.stack([np.arange(100), np.full(100, 50)], axis=1).astype(np.float32)
    assert np.isfinite(estimate_homography(prev, prev + 1)).all()


@pytest.mark.parametrize("shapes", [((60, 2), (61, 2)), ((60, 3), (60, 3))])
def test_matches_of_other_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match=r"must be \(N, 2\)"):
        estimate_homography(*(np.zeros(shape, np.float32) for shape in shapes))


def test_points_behind_the_horizon_are_far_outside():
    tilted = np.array([[1, 0, 0], [0, 1, 0], [-0.1, 0, 1.0]])
    assert np.abs(project(tilted, np.array([[20.0, 5.0]]))).min() > 1e4


def _literal_warp_back(next, prev, homography):
    """idt.md 7.6, pixel by pixel in integers."""
    height, width = next.shape
    out = prev.copy()
    for y in range(height):
        for x in range(width):
            sx, sy, s = homography @ (x, y, 1.0)
            sx, sy = sx / s, sy / s
            if 5 < sx < width - 6 and 5 < sy < height - 6:
                ix, iy = int(np.rint(sx * 32)), int(np.rint(sy * 32))
                fx, fy = ix & 31, iy & 31
                four = next[iy >> 5 : (iy >> 5) + 2, ix >> 5 : (ix >> 5) + 2].astype(int)
                weights = np.outer([32 - fy, fy], [32 - fx, fx]) * 32
                out[y, x] = ((four * weights).sum() + 2**14) >> 15
    return out


@pytest.mark.parametrize("homography", [np.eye(3), TURN, np.diag([1.1, 0.9, 1.0])])
def test_warping_back_equals_the_integer_arithmetic_of_the_released_code(rng, homography):
    prev, next = rng.integers(0, 256, (2, 40, 56)).astype(np.uint8)
    expected = _literal_warp_back(next, prev, homography)
    assert (warp_back(next, prev, homography) == expected).all()


def test_a_frame_that_did_not_move_is_itself_and_keeps_its_type():
    frame = texture(30, 40)
    assert (warp_back(frame, frame, np.eye(3)) == frame).all()
    assert warp_back(frame, frame, np.eye(3)).dtype == np.float32


def test_warping_back_undoes_the_camera():
    still = texture(200, 260, grain=3.0)
    next = cv2.warpPerspective(still, TURN, (260, 200), flags=cv2.INTER_CUBIC)
    back = warp_back(next, still, TURN)
    assert np.abs(back - still)[20:-20, 20:-20].mean() < 0.5
