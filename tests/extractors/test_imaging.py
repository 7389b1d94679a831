"""From frames to normalised windows: order of colours, of flow components, of operations."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cinefeat.extractors.imaging import prepare_window, preprocess, resize_frame, resized_shape
from cinefeat.extractors.networks import NETWORKS
from cinefeat.extractors.spec import InputSpec, change_spec

TSN_FLOW = NETWORKS["tsn-flow"].spec
SMALL_RGB = InputSpec("rgb", 2, (6, 8), 4, (0.0,) * 3, (1.0,) * 3, "fc6", 8)
SMALL_FLOW = InputSpec("flow", 2, (6, 8), 4, (0.0,) * 2, (1.0,) * 2, "fc6", 8)


@pytest.mark.parametrize(
    "size, resize, expected",
    [
        ((240, 320), 256, (256, 341)),
        ((320, 240), 256, (341, 256)),
        ((240, 320), (128, 171), (128, 171)),
        ((256, 300), 256, (256, 300)),
    ],
)
def test_short_side_or_both_sides_are_given(size: tuple, resize: object, expected: tuple) -> None:
    assert resized_shape(*size, resize) == expected  # type: ignore[arg-type]


def test_the_centre_is_cut_out(rng: np.random.Generator) -> None:
    frames = rng.integers(0, 256, (2, 6, 8, 3), np.uint8)
    window = preprocess(frames, SMALL_RGB)
    assert window.shape == (1, 3, 2, 4, 4)
    assert window.dtype == np.float32
    np.testing.assert_array_equal(window[0], frames[:, 1:5, 2:6].transpose(3, 0, 1, 2))


def test_mean_and_std_are_in_the_networks_order_of_colours() -> None:
    spec = change_spec(SMALL_RGB, {"channel_order": "bgr", "mean": (3, 2, 1), "std": (1, 2, 4)})
    frames = np.tile(np.array([11, 22, 33], np.uint8), (2, 6, 8, 1))  # R, G, B
    assert preprocess(frames, spec)[0, :, 0, 0, 0].tolist() == [30.0, 10.0, 2.5]


def test_a_stack_interleaves_the_components_of_successive_fields() -> None:
    flow = np.zeros((2, 6, 8, 2), np.float32)
    flow[0], flow[1] = [1, 2], [3, 4]
    window = preprocess(flow, change_spec(SMALL_FLOW, {"layout": "stack"}))
    assert window[0, :, 0, 0].tolist() == [1, 2, 3, 4]


def test_flow_is_scaled_with_the_picture() -> None:
    field = np.ones((3, 2, 2), np.float32)
    assert resize_frame(field, SMALL_FLOW)[2, 3].tolist() == [4, 2]


def test_mirrored_flow_points_the_other_way(rng: np.random.Generator) -> None:
    flow = rng.uniform(-5, 5, (2, 6, 8, 2)).astype(np.float32)
    crops = preprocess(flow, SMALL_FLOW, 10)
    np.testing.assert_array_equal(crops[5:, 0], -crops[:5, 0, ..., ::-1])
    np.testing.assert_array_equal(crops[5:, 1], crops[:5, 1, ..., ::-1])


def test_mirrored_codes_of_flow_are_255_minus_the_code() -> None:
    flow = np.zeros((5, 256, 340, 2), np.float32)
    flow[..., 0] = 4.0
    crops = preprocess(flow, TSN_FLOW, 10)
    code = np.rint(255 * 24 / 40)
    assert crops[0, 0, 0, 0] == code - 128
    assert crops[5, 0, 0, 0] == 255 - code - 128


def test_no_motion_is_zero_for_a_network_of_flow_images() -> None:
    assert not preprocess(np.zeros((5, 240, 320, 2), np.float32), TSN_FLOW).any()


def test_flow_beyond_the_bound_is_clipped() -> None:
    spec = NETWORKS["i3d-flow"].spec
    flow = np.full((9, 256, 256, 2), 50, np.float32)
    assert np.unique(preprocess(flow, spec)).tolist() == [1.0]


def test_a_centred_field_loses_its_mean_motion() -> None:
    spec = NETWORKS["cnn-m-temporal"].spec
    flow = np.full((10, 256, 300, 2), 7, np.float32)
    flow[:, :, :150, 0] += 2
    window = preprocess(flow, spec)
    assert np.unique(window[0, 0]).tolist() == [-1, 1]
    assert not window[0, 1].any()


def test_differences_of_a_still_video_are_zero(rng: np.random.Generator) -> None:
    spec = NETWORKS["tsn-rgb-difference"].spec
    still = np.repeat(rng.integers(0, 256, (1, 256, 340, 3), np.uint8), 6, axis=0)
    window = preprocess(still, spec)
    assert window.shape == (1, 15, 224, 224)
    assert not window.any()


def test_a_difference_is_the_later_frame_minus_the_earlier_in_bgr() -> None:
    spec = NETWORKS["tsn-rgb-difference"].spec
    frames = np.zeros((6, 256, 340, 3), np.uint8)
    frames[1:] = [1, 2, 3]
    assert preprocess(frames, spec)[0, :4, 0, 0].tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(
    "frame",
    [np.zeros((9, 9, 3), np.float32), np.zeros((9, 9), np.uint8), np.zeros((9, 9, 2), np.uint8)],
)
def test_other_frames_than_rgb_bytes_are_refused(frame: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"takes \(H, W, 3\) uint8"):
        resize_frame(frame, SMALL_RGB)


def test_a_window_too_short_for_the_network_is_refused() -> None:
    with pytest.raises(ValueError, match="has 8 frames and the network needs 9"):
        prepare_window(np.zeros((8, 256, 256, 3), np.uint8), NETWORKS["i3d-rgb"].spec)


@pytest.mark.parametrize(
    "clip", ["v_ApplyEyeMakeup_g01_c01", "v_Bowling_g01_c01", "v_SoccerJuggling_g23_c01"]
)
def test_frames_are_prepared_as_for_the_published_i3d(shared: Path, clip: str) -> None:
    capture = cv2.VideoCapture(str(shared / f"data/ucf101_clips/{clip}.avi"))
    frames = np.stack([capture.read()[1][..., ::-1] for _ in range(16)])
    reference = np.load(shared / f"reference/i3d/{clip}.npz")["input16"]
    window = preprocess(np.ascontiguousarray(frames), NETWORKS["i3d-rgb"].spec)
    grey_levels = window[0].transpose(1, 2, 3, 0) * 127.5 + 127.5
    assert np.abs(grey_levels - reference).max() < 1e-3
