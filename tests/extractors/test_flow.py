"""TV-L1 flow as its users see it: known motion, real pairs, refusals, settings, videos."""

import inspect

import cv2
import numpy as np
import pytest
from flow_pairs import eight_bit, shifted_pair, texture

from cinefeat.extractors import flow_of_video, optical_flow_tvl1
from cinefeat.extractors.tvl1_settings import PRESETS, FlowSettings, flow_settings

PAIRS = ("RubberWhale", "Grove2", "Urban2", "Venus")


def _endpoint_error(flow, truth):
    known = (np.abs(truth) < 1e9).all(axis=-1)
    return np.linalg.norm(flow - truth, axis=-1)[known].mean()


def _middlebury(shared, name):
    folder = shared / "data" / "flow" / name
    images = [cv2.imread(str(folder / f"frame{n}.png"), cv2.IMREAD_GRAYSCALE) for n in (10, 11)]
    truth = np.fromfile(folder / "flow10.flo", np.float32, offset=12)
    return *images, truth.reshape(*images[0].shape, 2)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("shift", [(1.0, 0.0), (0.0, -2.0), (-3.4, 5.7)])
def test_a_translation_is_found_in_pixels_x_before_y(preset, shift):
    flow = optical_flow_tvl1(*shifted_pair(shift), preset=preset)
    inner = flow[12:-12, 12:-12]
    assert np.linalg.norm(inner - shift, axis=-1).mean() < 0.1
    assert np.abs(np.median(inner, axis=(0, 1)) - shift).max() < 0.04


@pytest.mark.parametrize("preset", ["accurate", "fast"])
def test_a_large_translation_is_found(preset):
    flow = optical_flow_tvl1(*shifted_pair((14.0, -9.0), (160, 200)), preset=preset)
    error = np.linalg.norm(flow[30:-30, 30:-30] - (14.0, -9.0), axis=-1)
    assert np.median(error) < 0.1


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_identical_frames_have_exactly_zero_flow(preset):
    frame = eight_bit(texture(48, 64))
    assert (optical_flow_tvl1(frame, frame, preset=preset) == 0).all()


@pytest.mark.parametrize("gain, offset", [(1.1, 0), (0.9, 12), (1.0, -15)])
def test_a_change_of_exposure_is_hardly_taken_for_motion(gain, offset):
    frame = texture(80, 96).clip(20, 220)
    other = (gain * frame + offset).clip(0, 255).astype(np.float32)
    with_illumination, without = (
        np.linalg.norm(optical_flow_tvl1(frame, other, gamma=gamma), axis=-1).mean()
        for gamma in (1.5, 0.0)
    )
    assert with_illumination < 0.25
    assert with_illumination < without / 3


def test_mirrored_frames_have_mirrored_flow():
    pair = shifted_pair((2.0, 1.0))
    flow = optical_flow_tvl1(*pair)
    mirrored = optical_flow_tvl1(*(np.ascontiguousarray(image[:, ::-1]) for image in pair))
    difference = mirrored[:, ::-1] * (-1, 1) - flow
    assert np.linalg.norm(difference, axis=-1).mean() < 0.02


def test_a_moving_square_is_cut_out_at_its_edge():
    prev, next = (texture(100, 120, seed=5) for _ in range(2))
    patch = texture(50, 50, seed=6, grain=1.0)
    prev[25:75, 30:80] = patch
    next[25:75, 34:84] = patch
    moves = optical_flow_tvl1(eight_bit(prev), eight_bit(next))[..., 0] > 2
    square = np.zeros_like(moves)
    square[25:75, 30:80] = True
    assert (moves & square).sum() / (moves | square).sum() > 0.9


@pytest.mark.parametrize("preset", ["accurate", "fast"])
def test_bytes_and_floats_of_the_same_images_have_the_same_flow(preset):
    pair = shifted_pair((1.5, 0.5))
    floats = [image.astype(np.float32) for image in pair]
    assert (
        optical_flow_tvl1(*pair, preset=preset) == optical_flow_tvl1(*floats, preset=preset)
    ).all()


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_a_batch_has_the_flow_of_its_pairs_whatever_the_threads(n_threads):
    prev, next = shifted_pair((2.0, -1.0))
    firsts, seconds = np.stack([prev, next, prev]), np.stack([next, prev, prev])
    flow = optical_flow_tvl1(firsts, seconds, n_threads=n_threads)
    for n in range(3):
        assert (flow[n] == optical_flow_tvl1(firsts[n], seconds[n])).all()


@pytest.mark.parametrize("n_threads", [2, 4])
def test_a_single_pair_has_the_same_flow_on_any_number_of_threads(n_threads):
    pair = shifted_pair((2.0, -1.0), (260, 64))
    expected = optical_flow_tvl1(*pair)
    assert (optical_flow_tvl1(*pair, n_threads=n_threads) == expected).all()


def test_views_that_are_not_contiguous_are_read_as_they_look():
    prev, next = shifted_pair((1.0, 1.0))
    flow = optical_flow_tvl1(prev.T.copy().T, next[::-1].copy()[::-1])
    assert (flow == optical_flow_tvl1(prev, next)).all()


@pytest.mark.parametrize("shape", [(16, 16), (16, 90), (37, 51)])
def test_small_and_odd_sizes_are_accepted(shape):
    flow = optical_flow_tvl1(*shifted_pair((1.0, 0.0), shape))
    assert flow.shape == (*shape, 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()


@pytest.mark.parametrize("level", [0, 255])
def test_flat_images_have_zero_flow(level):
    flat = np.full((32, 32), level, np.uint8)
    assert (optical_flow_tvl1(flat, flat[::-1]) == 0).all()


def _bad(case):
    good = np.zeros((32, 32), np.float32)
    if case == "NaN":
        good[3, 4] = np.nan
    return {
        "colour": np.zeros((32, 32, 3), np.uint8),
        "16 bit": np.zeros((32, 32), np.uint16),
        "double": np.zeros((32, 32), np.float64),
        "NaN": good,
        "below 0": good - 1,
        "above 255": good + 256,
        "small": np.zeros((15, 40), np.uint8),
        "line": np.zeros(40, np.uint8),
    }[case]


@pytest.mark.parametrize("case, message", [
    ("colour", "grey"), ("16 bit", "uint16"), ("double", "float64"), ("NaN", "finite"),
    ("below 0", "0..255"), ("above 255", "0..255"), ("small", "at least 16 px"), ("line", "grey"),
])  # fmt: skip
def test_images_that_are_not_grey_in_0_to_255_are_refused(case, message):
    image = _bad(case)
    with pytest.raises(ValueError, match=message):
        optical_flow_tvl1(image, image)


def test_images_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(32, 40\) and next \(32, 41\)"):
        optical_flow_tvl1(np.zeros((32, 40), np.uint8), np.zeros((32, 41), np.uint8))


@pytest.mark.parametrize("name, value", [
    ("tau", 0), ("lambda_", -1), ("theta", -0.1), ("gamma", float("nan")), ("epsilon", -1),
    ("n_scales", 0), ("n_warps", 1.5), ("max_iterations", 0), ("zoom", 1.0), ("zoom", 0.1),
    ("median_filter", 4), ("presmoothing", -0.5), ("edge_decay", float("inf")),
])  # fmt: skip
def test_settings_out_of_their_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} is"):
        flow_settings(**{name: value})


def test_unknown_names_are_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"lambda;.* lambda_"):
        flow_settings(**{"lambda": 0.1})
    with pytest.raises(ValueError, match="accurate, opencv, fast"):
        flow_settings("best")


def test_every_setting_is_documented():
    documented = inspect.getdoc(FlowSettings) or ""
    missing = [n for n in FlowSettings.__dataclass_fields__ if f"\n{n} : " not in documented]
    assert missing == []


@pytest.mark.parametrize("n_frames", [0, 1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_video_of_n_frames_has_n_minus_1_flows(n_frames, batch_size):
    frames = [np.roll(eight_bit(texture(32, 40)), t, axis=1) for t in range(n_frames)]
    flows = list(flow_of_video(iter(frames), preset="fast", batch_size=batch_size))
    assert len(flows) == max(n_frames - 1, 0)
    for t, flow in enumerate(flows):
        assert (flow == optical_flow_tvl1(frames[t], frames[t + 1], preset="fast")).all()


def test_a_video_is_read_no_further_than_a_batch_ahead():
    taken = []

    def frames():
        for t in range(100):
            taken.append(t)
            yield np.zeros((16, 16), np.uint8)

    flows = flow_of_video(frames(), preset="fast", batch_size=4)
    next(flows)
    assert len(taken) == 5


def test_a_video_whose_size_changes_is_refused():
    frames = [np.zeros((16, 16), np.uint8), np.zeros((16, 18), np.uint8)]
    with pytest.raises(ValueError, match=r"\(16, 18\)"):
        list(flow_of_video(frames))


@pytest.mark.parametrize("options", [{"n_threads": 0}, {"batch_size": 0}])
def test_counts_below_one_are_refused(options):
    with pytest.raises(ValueError, match="1 or more"):
        list(flow_of_video([np.zeros((16, 16), np.uint8)] * 2, **options))


@pytest.mark.parametrize("preset, bound", [("accurate", 0.2), ("fast", 0.28)])
def test_the_error_on_middlebury_is_below_the_goal(shared, preset, bound):
    pairs = [_middlebury(shared, name) for name in PAIRS]
    errors = [_endpoint_error(optical_flow_tvl1(a, b, preset=preset), g) for a, b, g in pairs]
    assert np.mean(errors) < bound


@pytest.mark.parametrize(
    "name, bound", [("RubberWhale", 0.12), ("Grove2", 0.15), ("Urban2", 0.38), ("Venus", 0.27)]
)
def test_no_pair_of_middlebury_is_bought_by_another(shared, name, bound):
    prev, next, truth = _middlebury(shared, name)
    assert _endpoint_error(optical_flow_tvl1(prev, next), truth) < bound
