"""Space-time interest points: places known by construction, slow literal versions, invariants."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, maximum_filter
from synthetic import motion_only_frames, moving_texture

from cinefeat.extractors import iter_space_time_interest_points, space_time_interest_points
from cinefeat.extractors.harris3d import StipSettings
from cinefeat.extractors.interest_points import INFO_COLUMNS, POSITION_SHARES
from cinefeat.extractors.spacetime_filters import gaussian, gaussian_derivative

Frames = NDArray[np.uint8]
FINE = {"sigma2": (1,), "tau2": (1,)}


def _turning(shape: str, turn: int) -> Frames:
    """Move a shape right at half a pixel per frame to (39.5, 23.5) at frame `turn`, and back."""
    y, x = np.mgrid[:64, :80]
    frames = []
    for t in range(2 * turn):
        dx = x + abs(t - turn) / 2 - 39.5
        if shape == "corner":
            cover = np.clip(0.5 - dx, 0, 1) * (y > 23.5)
        else:
            cover = np.clip(3.5 - abs(dx), 0, 1) * (abs(y - 23.5) < 3)
        frames.append(40 + 170 * cover)
    return np.array(frames).astype(np.uint8)


@pytest.fixture(scope="module")
def swing() -> Frames:
    return motion_only_frames("sideways", 3, n_frames=40)


@pytest.fixture(scope="module")
def points(swing: Frames) -> dict[str, np.ndarray]:
    found = space_time_interest_points(swing, threshold=1e-11)
    assert len(found["info"]) > 20
    return found


@pytest.mark.parametrize("shape, scales", [("corner", FINE), ("square", FINE), ("square", {})])
@pytest.mark.parametrize("turn", [18, 25])
def test_what_turns_back_is_found_where_and_when_it_does(
    shape: str, scales: dict, turn: int
) -> None:
    info = space_time_interest_points(_turning(shape, turn), **scales)["info"]
    frame, x, y = info[info[:, 5].argmax(), :3]
    assert abs(frame - turn) <= 1
    assert max(abs(x - 39.5), abs(y - 23.5)) <= 2


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (-1, 1.5), (0.3, 0.2), (4, 0)])
def test_a_scene_that_moves_uniformly_has_no_points(shift: tuple[float, float]) -> None:
    frames, flow = moving_texture(40, 72, 88, shift=shift)
    found = space_time_interest_points(frames, flow=flow)
    assert {name: rows.shape for name, rows in found.items()} == {
        "info": (0, 9),
        "hog": (0, 72),
        "hof": (0, 90),
    }


def _literal_response(video: NDArray[np.float64], sigma2: float, blurred: float) -> NDArray:
    """Write the definition out for tau2 = 2 and k = 0.0005 on a video (T, H, W)."""

    def smooth(v: NDArray, kernels: list[NDArray]) -> NDArray:
        for axis, kernel in enumerate(kernels):
            v = correlate1d(v, kernel.astype(np.float64), axis, mode="nearest")
        return v

    g, d = gaussian(sigma2 - blurred), gaussian_derivative(sigma2 - blurred)
    h, e, wide = gaussian(2), gaussian_derivative(2), gaussian(2 * sigma2)
    x, y = (np.sqrt(sigma2) * smooth(video, k) for k in ([h, g, d], [h, d, g]))
    t = np.sqrt(2) * smooth(video, [e, g, g])
    mu = [[smooth(a * b, [gaussian(4), wide, wide]) for a in (x, y, t)] for b in (x, y, t)]
    matrices = np.moveaxis(np.array(mu), (0, 1), (-2, -1))
    return np.linalg.det(matrices) - 0.0005 * np.trace(matrices, axis1=-2, axis2=-1) ** 3


@pytest.mark.parametrize("sigma2, level, blurred", [(4, 0, 0), (8, 0, 0), (16, 1, 0.25)])
def test_points_are_the_maxima_of_the_literal_response(
    swing: Frames, sigma2: float, level: int, blurred: float
) -> None:
    info = space_time_interest_points(swing, sigma2=(sigma2,), tau2=(2,), threshold=1e-10)["info"]
    video = swing.astype(np.float32) / 255
    for _ in range(level):
        video = np.array([cv2.pyrDown(frame) for frame in video])
    response = _literal_response(video.astype(np.float64), sigma2 / 4**level, blurred)
    is_peak = (response > 1e-10) & (response == maximum_filter(response, 3))
    border = int(np.ceil(3 * np.sqrt(sigma2) / 2**level))
    inner = (slice(6, -6), slice(border, -border), slice(border, -border))
    expected = np.argwhere(is_peak[inner]) + [6, border, border]
    assert len(expected) > 5
    np.testing.assert_array_equal(info[:, [0, 2, 1]] / [1, 2**level, 2**level], expected)
    np.testing.assert_allclose(info[:, 5], response[tuple(expected.T)], rtol=1e-3)


def _literal_cell(
    gray: NDArray[np.float64], flow: NDArray[np.float64], ys: range, xs: range
) -> tuple[NDArray, NDArray]:
    hog, hof = np.zeros(4), np.zeros(5)
    for y in set(ys) & set(range(gray.shape[0])):
        for x in set(xs) & set(range(gray.shape[1])):
            dx = gray[y, x + 1] - gray[y, x - 1] if 0 < x < gray.shape[1] - 1 else 0
            dy = gray[y + 1, x] - gray[y - 1, x] if 0 < y < gray.shape[0] - 1 else 0
            at = np.degrees(np.arctan2(dy, dx)) % 180 / 45
            hog[int(at) % 4] += (1 - at % 1) * np.hypot(dx, dy)
            hog[(int(at) + 1) % 4] += at % 1 * np.hypot(dx, dy)
            speed, at = np.hypot(*flow[y, x]), np.degrees(np.arctan2(*flow[y, x, ::-1])) % 360 / 90
            if speed <= 0.4:
                hof[4] += 1
            else:
                hof[int(at) % 4] += (1 - at % 1) * speed
                hof[(int(at) + 1) % 4] += at % 1 * speed
    return hog, hof


def test_a_descriptor_is_the_literal_histogram_of_its_cells(rng: np.random.Generator) -> None:
    frames = _turning("corner", 10) + rng.integers(0, 30, (20, 64, 80), np.uint8)
    flow = rng.normal(0, 1, (19, 64, 80, 2)).astype(np.float32)
    found = space_time_interest_points(frames, flow=flow, sigma2=(4,), tau2=(2,))
    t, x, y = found["info"][0, :3].astype(int)
    hogs, hofs = [], []
    for t0 in (t - 6, t):
        for y0 in (y - 18, y - 6, y + 6):
            for x0 in (x - 18, x - 6, x + 6):
                cells = [
                    _literal_cell(frames[f].astype(float), flow[f].astype(float),
                                  range(y0, y0 + 12), range(x0, x0 + 12))
                    for f in range(t0, t0 + 6)
                ]  # fmt: skip
                hog, hof = (sum(parts) for parts in zip(*cells, strict=True))
                hogs.append(hog / hog.sum())
                hofs.append(hof / hof.sum())
    # votes are whole multiples of 1/256 and cv2's angles are good to 0.3 degrees
    np.testing.assert_allclose(found["hog"][0], np.ravel(hogs), atol=2e-3)
    np.testing.assert_allclose(found["hof"][0], np.ravel(hofs), atol=2e-3)


@pytest.mark.parametrize(
    "velocity, bin_", [((2, 0), 0), ((0, 2), 1), ((-2, 0), 2), ((0, -2), 3), ((0.2, 0.2), 4)]
)
def test_flow_in_one_direction_votes_for_its_bin(
    swing: Frames, velocity: tuple[float, float], bin_: int
) -> None:
    flow = [np.full((*swing.shape[1:], 2), velocity, np.float32)] * 39
    hof = space_time_interest_points(swing, flow=flow)["hof"].reshape(-1, 5)
    filled = hof.sum(axis=1) > 0
    np.testing.assert_allclose(hof[filled][:, bin_], 1, atol=1e-6)


def test_every_cell_is_a_distribution_or_empty(points: dict[str, np.ndarray]) -> None:
    for sums in (points["hog"].reshape(-1, 4).sum(1), points["hof"].reshape(-1, 5).sum(1)):
        assert np.all((abs(sums - 1) < 1e-5) | (sums == 0))
        assert np.mean(sums > 0) > 0.5


def test_columns_say_where_a_point_lies(swing: Frames, points: dict[str, np.ndarray]) -> None:
    info = dict(zip(INFO_COLUMNS, points["info"].T, strict=True))
    n, height, width = swing.shape
    shares = [info["x"] / width, info["y"] / height, info["frame"] / n]
    np.testing.assert_allclose(points["info"][:, POSITION_SHARES].T, shares, rtol=1e-6)
    assert set(info["sigma2"]) <= set(StipSettings().sigma2)
    assert info["response"].min() > 1e-11


def test_rows_come_by_frame_then_scale_then_place(points: dict[str, np.ndarray]) -> None:
    keys = [tuple(row) for row in points["info"][:, [0, 3, 4, 2, 1]]]
    assert keys == sorted(keys)


@pytest.mark.parametrize("block_frames", [1, 7, 64])
def test_results_do_not_depend_on_the_block(
    swing: Frames, points: dict[str, np.ndarray], block_frames: int
) -> None:
    again = space_time_interest_points(swing, threshold=1e-11, block_frames=block_frames)
    for name, rows in points.items():
        np.testing.assert_array_equal(again[name], rows)


def test_chunks_of_a_stream_are_the_rows_of_the_whole(
    swing: Frames, points: dict[str, np.ndarray]
) -> None:
    stream = iter_space_time_interest_points(iter(swing), n_frames=40, threshold=1e-11)
    chunks = list(stream)
    for name, rows in points.items():
        np.testing.assert_array_equal(np.concatenate([c[name] for c in chunks]), rows)


def test_results_do_not_depend_on_threads(swing: Frames, points: dict[str, np.ndarray]) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(4 if before == 1 else 1)
    again = space_time_interest_points(swing, threshold=1e-11)
    cv2.setNumThreads(before)
    for name, rows in points.items():
        np.testing.assert_array_equal(again[name], rows)


def test_brightness_does_not_matter(swing: Frames) -> None:
    dark = swing // 2
    a, b = (space_time_interest_points(f, flow=np.zeros((39, 96, 112, 2)), threshold=1e-12)
            for f in (dark, dark + 90))  # fmt: skip
    assert len(a["info"]) > 10
    np.testing.assert_array_equal(a["info"][:, :5], b["info"][:, :5])
    np.testing.assert_allclose(a["info"][:, 5], b["info"][:, 5], rtol=1e-3)
    np.testing.assert_allclose(a["hog"], b["hog"], atol=1e-4)


def test_a_cap_keeps_the_strongest_of_each_frame(
    swing: Frames, points: dict[str, np.ndarray]
) -> None:
    capped = space_time_interest_points(swing, threshold=1e-11, max_points_per_frame=2)["info"]
    expected = [
        row
        for frame in np.unique(points["info"][:, 0])
        for rows in [points["info"][points["info"][:, 0] == frame]]
        for row in rows[np.sort(np.argsort(-rows[:, 5], kind="stable")[:2])]
    ]
    assert len(expected) < len(points["info"])
    np.testing.assert_array_equal(capped, expected)


def test_grey_frames_count_as_colour_without_colour(swing: Frames) -> None:
    gray = space_time_interest_points(swing[:24], flow="farneback")
    color = space_time_interest_points(np.repeat(swing[:24, ..., None], 3, axis=3))
    np.testing.assert_array_equal(gray["info"], color["info"])


def test_a_single_frame_has_no_points() -> None:
    assert len(space_time_interest_points(np.zeros((1, 40, 40), np.uint8))["info"]) == 0


@pytest.mark.parametrize(
    "frames, flow, message",
    [
        (np.zeros((9, 35, 60), np.uint8), [], "60x35 px are below 36 px"),
        ([], [], "no frames"),
        ([np.zeros((40, 40), np.uint8), np.zeros((40, 50), np.uint8)], [], "frame 1 is 50x40"),
        (np.zeros((9, 40, 40), np.float32), [], "uint8"),
        (np.zeros((9, 40, 40), np.uint8), np.zeros((7, 40, 40, 2)), "flow ends after 7 fields"),
        (np.zeros((9, 40, 40), np.uint8), np.zeros((8, 20, 40, 2)), "flow field 0 has shape"),
        (np.zeros((9, 40, 40), np.uint8), np.full((8, 40, 40, 2), np.nan), "field 0 holds NaN"),
        (np.zeros((9, 40, 40), np.uint8), np.full((8, 40, 40, 2), 1e9), "set unknown pixels to 0"),
        (np.zeros((9, 40, 40), np.uint8), "brox", "'brox'; give one of 'farneback'"),
    ],
)
def test_what_cannot_be_described_is_refused(frames, flow, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space_time_interest_points(frames, flow=flow)


@pytest.mark.parametrize(
    "setting", [{"sigma2": ()}, {"tau2": (2, 0)}, {"k": 0}, {"max_points_per_frame": 0}]
)
def test_settings_out_of_range_are_refused(setting: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        StipSettings(**setting)


def test_a_stream_without_length_needs_the_number_of_frames() -> None:
    with pytest.raises(ValueError, match="give n_frames"):
        iter_space_time_interest_points(iter(np.zeros((9, 40, 40), np.uint8)))


def test_a_block_of_no_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="block_frames is 0"):
        space_time_interest_points(np.zeros((9, 40, 40), np.uint8), block_frames=0)
