"""Cuboids: flicker of known place and frequency, slow literal versions, invariants."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, maximum_filter
from synthetic import motion_only_frames, moving_texture

from cinefeat.extractors import cuboids, iter_cuboids
from cinefeat.extractors.gabor_cuboids import CuboidSettings, descriptor_size, quadrature_pair
from cinefeat.extractors.interest_points import INFO_COLUMNS, POSITION_SHARES
from cinefeat.extractors.spacetime_filters import gaussian

Frames = NDArray[np.uint8]
FREQUENCIES = (0.1, 0.2, 0.3, 0.4)


def _blinking_disc(frequency: float) -> Frames:
    """Blink a disc of radius 4 at (30, 22), most of all at frame 32."""
    y, x = np.mgrid[:44, :60]
    disc = np.clip(4.5 - np.hypot(x - 30, y - 22), 0, 1)
    t = np.arange(64)
    swing = 80 * np.exp(-(((t - 32) / 12) ** 2)) * np.cos(2 * np.pi * frequency * (t - 32))
    return np.rint(128 + swing[:, None, None] * disc).astype(np.uint8)


@pytest.fixture(scope="module")
def swing() -> Frames:
    return motion_only_frames("sideways", 3, n_frames=40)


@pytest.fixture(scope="module")
def points(swing: Frames) -> dict[str, np.ndarray]:
    found = cuboids(swing)
    assert len(found["info"]) > 20
    return found


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_a_blinking_disc_is_found_in_its_place_at_its_frequency(frequency: float) -> None:
    info = cuboids(_blinking_disc(frequency), tau=6, frequency=frequency)["info"]
    frame, x, y = info[info[:, 5].argmax(), :3]
    assert abs(frame - 32) <= 1
    assert np.hypot(x - 30, y - 22) <= 2


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_the_response_is_largest_when_tuned_to_the_blinking(frequency: float) -> None:
    frames = _blinking_disc(frequency)
    largest = [
        max(cuboids(frames, tau=6, frequency=f, threshold=1e-9)["info"][:, 5])
        for f in FREQUENCIES
    ]  # fmt: skip
    assert FREQUENCIES[int(np.argmax(largest))] == frequency


@pytest.mark.parametrize("blinks, tuned", [(0.1, 0.3), (0.1, 0.4), (0.4, 0.2), (0.3, 0.1)])
def test_a_disc_that_blinks_at_another_pace_is_not_found(blinks: float, tuned: float) -> None:
    assert len(cuboids(_blinking_disc(blinks), tau=6, frequency=tuned)["info"]) == 0


@pytest.mark.parametrize("speed, is_found", [(2, True), (0.2, False)])
def test_a_moving_scene_responds_at_velocity_over_wavelength(speed: float, is_found: bool) -> None:
    # wavelengths of 6 to 48 px: 0.04 to 0.33 cycles per frame when fast, a tenth of it when slow
    frames, _ = moving_texture(40, 48, 64, shift=(speed, 0))
    assert (len(cuboids(frames, tau=6, frequency=0.2)["info"]) > 0) == is_found


def test_a_static_scene_has_no_points(swing: Frames) -> None:
    found = cuboids(np.repeat(swing[:1], 30, axis=0))
    assert found["info"].shape == (0, 9)
    assert found["cuboid"].shape == (0, descriptor_size(CuboidSettings()))


@pytest.mark.parametrize("tau, frequency", [(3, 1 / 3), (4, 0.25), (6, 0.2)])
def test_the_filters_are_a_pair_without_response_to_brightness(
    tau: float, frequency: float
) -> None:
    even, odd = (f.astype(np.float64) for f in quadrature_pair(tau, frequency))
    np.testing.assert_allclose([even.sum(), odd.sum()], 0, atol=1e-6)
    np.testing.assert_array_equal(even, even[::-1])
    np.testing.assert_array_equal(odd, -odd[::-1])
    phases = np.exp(2j * np.pi * frequency * np.arange(len(even)))
    assert abs(even @ phases) == pytest.approx(abs(odd @ phases), rel=0.05)


@pytest.mark.parametrize("tau", [2.5, 3])
def test_the_default_frequency_is_the_papers_on_whole_frames(tau: float) -> None:
    t = np.arange(-6, 7)
    paper, ours = (
        np.cos(2 * np.pi * f * t) for f in (4 / tau, CuboidSettings(tau=tau).cycles_per_frame)
    )
    np.testing.assert_allclose(paper, ours, atol=1e-9)


def test_points_are_the_maxima_of_the_literal_response(
    swing: Frames, points: dict[str, np.ndarray]
) -> None:
    smooth = swing / 255
    for axis in (1, 2):
        smooth = correlate1d(smooth, gaussian(4).astype(np.float64), axis, mode="nearest")
    pair = (kernel.astype(np.float64) for kernel in quadrature_pair(3, 1 / 3))
    response = sum(correlate1d(smooth, kernel, 0, mode="nearest") ** 2 for kernel in pair)
    is_peak = (response > 2e-4) & (response == maximum_filter(response, 3, mode="constant"))
    is_peak[:, [0, -1]] = is_peak[:, :, [0, -1]] = False
    inner = points["info"][(points["info"][:, 0] > 0) & (points["info"][:, 0] < 39)]
    expected = np.argwhere(is_peak[1:-1]) + [1, 0, 0]
    np.testing.assert_array_equal(inner[:, [0, 2, 1]], expected)
    np.testing.assert_allclose(inner[:, 5], response[tuple(expected.T)], rtol=1e-3)


def _literal_cuboid(video: NDArray[np.float64], t: int, y: int, x: int) -> NDArray:
    """List the gradient at the even offsets of a 13 x 13 x 19 cuboid, voxel by voxel."""
    sides = [np.arange(n) for n in video.shape]

    def value(*at: int) -> float:
        nearest = [np.clip([a - 1, a, a + 1], 0, s[-1]) for a, s in zip(at, sides, strict=True)]
        weights = np.array([1, 2, 1]) / 4
        return np.einsum("tyx,t,y,x", video[np.ix_(*nearest)], weights, weights, weights)

    out = []
    for step in ((0, 0, 1), (0, 1, 0), (1, 0, 0)):
        for dt in range(-8, 9, 2):
            for dy in range(-6, 7, 2):
                for dx in range(-6, 7, 2):
                    at = np.array([t + dt, y + dy, x + dx])
                    out.append((value(*(at + step)) - value(*(at - step))) / 2)
    return np.array(out)


def test_a_descriptor_is_the_literal_gradient(swing: Frames, points: dict[str, np.ndarray]) -> None:
    t, x, y = points["info"][:, :3].astype(int).T
    is_inside = (t > 11) & (t < 28) & (y > 9) & (y < 86) & (x > 9) & (x < 102)
    i = int(np.flatnonzero(is_inside)[0])
    expected = _literal_cuboid(swing / 255, t[i], y[i], x[i])
    np.testing.assert_allclose(points["cuboid"][i], expected, atol=1e-6)


def test_every_voxel_of_a_flash_is_described_at_stride_one() -> None:
    frames = np.zeros((41, 24, 28), np.uint8)
    frames[20, 11:14, 13:16] = 255
    found = cuboids(frames, stride=1)
    i = int(found["info"][:, 5].argmax())
    np.testing.assert_array_equal(found["info"][i, :3], [20, 14, 12])
    dx, dy, dt = found["cuboid"][i].reshape(3, 19, 13, 13)
    assert dx[9, 6, 4] == dy[9, 4, 6] == dt[8, 6, 6] == 0.5
    assert dx[9, 6, 8] == dy[9, 8, 6] == dt[10, 6, 6] == -0.5
    assert dx[9, 6, 6] == dy[9, 6, 6] == dt[9, 6, 6] == 0


def test_columns_say_where_a_point_lies(swing: Frames, points: dict[str, np.ndarray]) -> None:
    info = dict(zip(INFO_COLUMNS, points["info"].T, strict=True))
    n, height, width = swing.shape
    shares = [info["x"] / width, info["y"] / height, info["frame"] / n]
    np.testing.assert_allclose(points["info"][:, POSITION_SHARES].T, shares, rtol=1e-6)
    assert set(info["sigma2"]) == {4}
    assert set(info["tau2"]) == {9}


def test_rows_come_by_frame_then_place(points: dict[str, np.ndarray]) -> None:
    keys = [tuple(row) for row in points["info"][:, [0, 2, 1]]]
    assert keys == sorted(keys)


@pytest.mark.parametrize("block_frames", [1, 7, 64])
def test_results_do_not_depend_on_the_block(
    swing: Frames, points: dict[str, np.ndarray], block_frames: int
) -> None:
    again = cuboids(swing, block_frames=block_frames)
    for name, rows in points.items():
        np.testing.assert_array_equal(again[name], rows)


def test_chunks_of_a_stream_are_the_rows_of_the_whole(
    swing: Frames, points: dict[str, np.ndarray]
) -> None:
    chunks = list(iter_cuboids(iter(swing), n_frames=40))
    for name, rows in points.items():
        np.testing.assert_array_equal(np.concatenate([c[name] for c in chunks]), rows)


def test_brightness_does_not_matter(swing: Frames) -> None:
    a, b = (cuboids(frames, threshold=1e-5) for frames in (swing // 2, swing // 2 + 90))
    assert len(a["info"]) > 10
    np.testing.assert_array_equal(a["info"][:, :5], b["info"][:, :5])
    np.testing.assert_allclose(a["info"][:, 5], b["info"][:, 5], rtol=1e-3)
    np.testing.assert_allclose(a["cuboid"], b["cuboid"], atol=1e-6)


def test_a_cap_keeps_the_strongest_of_each_frame(
    swing: Frames, points: dict[str, np.ndarray]
) -> None:
    capped = cuboids(swing, max_points_per_frame=1)["info"]
    frames = np.unique(points["info"][:, 0])
    strongest = [points["info"][points["info"][:, 0] == f, 5].max() for f in frames]
    np.testing.assert_array_equal(capped[:, [0, 5]].T, [frames, strongest])


@pytest.mark.parametrize("n_frames", [1, 2, 5])
def test_a_video_shorter_than_the_filters_is_held_at_its_ends(n_frames: int) -> None:
    frames = np.zeros((n_frames, 20, 20), np.uint8)
    frames[-1, 9:12, 9:12] = 255
    found = cuboids(frames)
    assert np.isfinite(found["cuboid"]).all()
    assert (len(found["info"]) > 0) == (n_frames > 1)


@pytest.mark.parametrize(
    "frames, message",
    [
        (np.zeros((9, 12, 40), np.uint8), "40x12 px are below 13 px"),
        ([], "no frames"),
        ([np.zeros((20, 20), np.uint8), np.zeros((20, 30), np.uint8)], "frame 1 is 30x20"),
    ],
)
def test_what_cannot_be_described_is_refused(frames, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cuboids(frames)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"frequency": 0.5}, "0.5 is not below 0.5 cycles"),
        ({"tau": 2}, "0.5 is not below 0.5 cycles"),
        ({"sigma": 0}, "sigma is 0"),
        ({"stride": 0}, "stride is 0"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CuboidSettings(**setting)
