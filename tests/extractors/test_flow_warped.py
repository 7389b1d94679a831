"""Flow without the motion of the camera, on stills moved by known homographies."""

import numpy as np
import pytest
from flow_pairs import camera_pair

from cinefeat.extractors import optical_flow_tvl1, warped_flow, warped_flow_of_video
from cinefeat.extractors.homography import project

CORNERS = np.float64([[0, 0], [319, 0], [0, 239], [319, 239]])
CENTRE = np.array([[1, 0, 160], [0, 1, 120], [0, 0, 1.0]])


def _about_centre(matrix):
    moved = CENTRE @ np.array(matrix, float) @ np.linalg.inv(CENTRE)
    return moved / moved[2, 2]


MOTIONS = {
    "static": np.eye(3),
    "pan": np.array([[1, 0, 4.3], [0, 1, -2.6], [0, 0, 1]]),
    "zoom": _about_centre(np.diag([1.03, 1.03, 1])),
    "rotation": _about_centre([[0.9997, -0.0262, 0], [0.0262, 0.9997, 0], [0, 0, 1]]),
    "perspective": _about_centre([[1.01, 0.005, 1], [0.003, 0.99, 2], [5e-5, -4e-5, 1]]),
}


def _corner_error(found, truth):
    return np.linalg.norm(project(found, CORNERS) - project(truth, CORNERS), axis=1).max()


@pytest.mark.parametrize("preset", ["accurate", "fast"])
@pytest.mark.parametrize("foreground", [None, (6, -5), (-9, 3)], ids=str)
@pytest.mark.parametrize("motion", MOTIONS)
def test_the_camera_is_found_and_its_motion_removed(motion, foreground, preset):
    prev, next, background = camera_pair(MOTIONS[motion], foreground)
    result = warped_flow(prev, next, preset=preset)
    limit = 0.1 if motion == "static" else 0.5
    assert _corner_error(result.homography, MOTIONS[motion]) < limit
    assert np.median(np.linalg.norm(result.warped, axis=-1)[background]) < 0.1


def test_the_foreground_keeps_its_own_motion():
    prev, next, _ = camera_pair(MOTIONS["pan"], (6, -5))
    result = warped_flow(prev, next)
    own = np.median(result.warped[80:160, 100:200], axis=(0, 1))
    np.testing.assert_allclose(own, np.subtract((6, -5), (4.3, -2.6)), atol=0.1)
    np.testing.assert_allclose(
        np.median(result.flow[80:160, 100:200], axis=(0, 1)), (6, -5), atol=0.1
    )


@pytest.mark.parametrize("detector", ["sift", "orb"])
def test_either_detector_will_do(detector):
    prev, next, _ = camera_pair(MOTIONS["rotation"], (6, -5))
    result = warped_flow(prev, next, preset="fast", detector=detector)
    assert _corner_error(result.homography, MOTIONS["rotation"]) < 0.5


def test_a_crowd_that_covers_most_of_the_image_is_masked_by_its_boxes():
    prev, next, _ = camera_pair(MOTIONS["static"], None)
    for frame, shift in ((prev, 0), (next, 6)):
        frame[:, 10 + shift : 250 + shift] = prev[:, 10:250].copy() if shift else frame[:, 10:250]
    unmasked = warped_flow(prev, next, preset="fast").homography
    box = [[10, 0, 256, 239]]
    masked = warped_flow(prev, next, preset="fast", boxes=box).homography
    assert _corner_error(unmasked, np.eye(3)) > 3
    assert _corner_error(masked, np.eye(3)) < 0.1


def test_a_flow_that_is_known_is_used():
    prev, next, _ = camera_pair(MOTIONS["pan"], None)
    known = optical_flow_tvl1(prev, next, preset="fast")
    given = warped_flow(prev, next, flow=known, preset="fast")
    computed = warped_flow(prev, next, preset="fast")
    assert given.flow is known
    assert (given.warped == computed.warped).all()


def test_two_runs_give_the_same_bytes():
    prev, next, _ = camera_pair(MOTIONS["perspective"], (6, -5))
    first, second = (warped_flow(prev, next, preset="fast") for _ in range(2))
    assert (first.homography == second.homography).all()
    assert (first.warped == second.warped).all()


def test_frames_without_texture_have_no_camera_motion():
    flat = np.full((60, 80), 100, np.uint8)
    result = warped_flow(flat, flat)
    assert (result.homography == np.eye(3)).all()
    assert (result.warped == 0).all()


def test_a_video_gives_what_its_pairs_give():
    prev, next, _ = camera_pair(MOTIONS["pan"], (6, -5))
    frames, boxes = [prev, next, prev], [[[80, 60, 200, 180]], [], [[0, 0, 20, 20]]]
    results = list(warped_flow_of_video(frames, boxes=boxes, preset="fast"))
    assert len(results) == 2
    for t, result in enumerate(results):
        alone = warped_flow(
            *frames[t : t + 2], boxes=boxes[t], next_boxes=boxes[t + 1], preset="fast"
        )
        assert (result.homography == alone.homography).all()
        assert (result.warped == alone.warped).all()


def test_a_video_with_too_few_boxes_is_refused():
    frames = [np.zeros((32, 32), np.uint8)] * 3
    with pytest.raises(ValueError, match="boxes"):
        list(warped_flow_of_video(frames, boxes=[[]], preset="fast"))


def test_a_flow_of_another_size_is_refused():
    frame = np.zeros((32, 32), np.uint8)
    with pytest.raises(ValueError, match="flow has shape"):
        warped_flow(frame, frame, flow=np.zeros((32, 31, 2), np.float32))
