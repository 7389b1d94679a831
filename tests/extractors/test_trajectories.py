"""Sampling, tracking and pruning of tracks."""

import numpy as np
import pytest

from cinefeat.extractors import trajectories as tr

SETTINGS = tr.TrajectorySettings()
SMALL = tr.TrajectorySettings(track_length=4, temporal_cells=2)


def _still(height, width):
    return tuple(np.zeros((height, width), np.float32) for _ in range(2))


def _tracks_at(points, settings=SMALL):
    """Storage with a track that begins at each point, in this order."""
    tracks = tr.empty_tracks(len(points) + 2, settings)
    tracks.points[: len(points), 0] = points
    return tracks


@pytest.mark.parametrize("shorter, n", [(32, 1), (120, 4), (128, 5), (240, 6), (288, 7), (480, 8)])
def test_levels_go_on_while_the_patch_fits(shorter, n):
    assert len(tr.pyramid_levels(shorter * 2, shorter, SETTINGS)) == n


def test_level_sizes_are_those_of_the_reference():
    sizes = [level[1:] for level in tr.pyramid_levels(320, 240, SETTINGS)]
    assert sizes == [(320, 240), (226, 170), (160, 120), (113, 85), (80, 60), (57, 42)]


def test_frames_smaller_than_the_patch_are_refused():
    with pytest.raises(ValueError, match=r"40x31 px are smaller than the patch of 32"):
        tr.pyramid_levels(40, 31, SETTINGS)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"stride": 0}, "stride is 0"),
        ({"track_length": 2.5}, "track_length is 2.5"),
        ({"spatial_cells": 3}, "does not divide patch_size 32"),
        ({"temporal_cells": 16}, "exceeds track_length 15"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        tr.TrajectorySettings(**settings)


@pytest.mark.parametrize("frame", [1, 2, 40])
@pytest.mark.parametrize("scale", range(4))
def test_new_points_are_those_of_the_reference(shared, frame, scale):
    folder = shared / "reference/idt/stages"
    points = np.load(folder / f"person01_f{100 * frame + scale:05d}.npz")
    gray = _gray_level(np.load(folder / f"person01_f{frame:05d}.npz")["grey"], scale)
    live = points["sample_before"].reshape(-1, 2)
    tracks, n = tr.sample(_tracks_at(live, SETTINGS), len(live), gray, SETTINGS)
    new = tracks.points[tracks.order[len(live) : n], 0]
    np.testing.assert_array_equal(new, points["sample_new"].reshape(-1, 2))


def _gray_level(gray, scale):
    from cinefeat.extractors.level_motion import gray_pyramid

    return gray_pyramid(gray, tr.pyramid_levels(*gray.shape[::-1], SETTINGS))[scale]


def test_nothing_starts_where_there_is_no_texture():
    plain = np.full((40, 50), 90, np.uint8)
    _, n = tr.sample(tr.empty_tracks(1, SMALL), 0, plain, SMALL)
    assert n == 0


def test_storage_grows_and_keeps_its_tracks(rng):
    tracks = _tracks_at([[2.0, 3.0], [12.0, 13.0]])
    gray = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    grown, n = tr.sample(tracks, 2, gray, SMALL)
    assert len(grown.order) > len(tracks.order)
    assert sorted(grown.order) == list(range(len(grown.order)))
    np.testing.assert_array_equal(grown.points[grown.order[:2], 0], [[2, 3], [12, 13]])
    assert n > 2


def test_a_step_is_the_flow_at_the_nearest_pixel():
    flow_x, flow_y = _still(40, 50)
    flow_x[7, 12], flow_y[7, 12] = 1.5, -0.25
    tracks = _tracks_at([[12.5, 6.6]])  # 12.5 goes to the even 12
    assert tr.advance(tracks, 1, (flow_x, flow_y), _still(40, 50), 32) == 1
    np.testing.assert_allclose(tracks.points[0, 1], [14.0, 6.35])
    np.testing.assert_array_equal(tracks.steps[0, 0], 0)


@pytest.mark.parametrize("point", [[0.5, 20], [49.5, 20], [20, 0.5], [20, 39.5]])
def test_a_track_that_leaves_the_level_is_dropped(point):
    outward = np.sign(np.array(point) - [25, 20]) * (np.abs(np.array(point) - [25, 20]) > 10)
    flow = tuple(np.full((40, 50), step, np.float32) for step in outward)
    tracks = _tracks_at([[25, 20], point, [24, 20]])
    assert tr.advance(tracks, 3, flow, flow, 32) == 2
    np.testing.assert_array_equal(tracks.order[:2], [0, 2])


@pytest.mark.parametrize("x, left", [(0.2, 0), (18.4, 2), (25, 9), (49, 18)])
def test_a_patch_at_the_border_is_moved_inside(x, left):
    tracks = _tracks_at([[x, 20]])
    flow = tuple(np.full((40, 50), step, np.float32) for step in (0.01, 0))
    tr.advance(tracks, 1, flow, flow, 32)
    np.testing.assert_array_equal(tracks.corner[0], [left, 4])


def _finish(points, steps=None, *, scale=1.0, stabilised=False):
    points = np.asarray(points, np.float32)
    tracks = _tracks_at(points[:1])
    tracks.points[0] = points
    tracks.steps[0] = np.diff(points, axis=0) if steps is None else steps
    tracks.age[0] = len(points) - 1
    slots, summaries, shapes = np.empty(1, np.int32), np.empty((1, 5), np.float32), np.empty((1, 8))
    left, kept = tr.finish(
        tracks, 1, np.float32(scale), stabilised, slots, summaries, shapes.astype(np.float32)
    )
    assert left == 0
    return kept


LINE = np.stack([np.arange(5) * 4.0, np.zeros(5)], 1)  # std 5.7 px


@pytest.mark.parametrize(
    "points, kept",
    [
        (LINE, 1),
        (LINE * 0.3, 0),  # std 1.697, just below sqrt(3): stands still
        (LINE * 0.31, 1),
        (LINE * 9, 0),  # std 50.9: strays
        (LINE * 4.9, 1),
        ([[0, 0], [0, 0], [21, 0], [21, 0], [21, 0]], 0),  # one step is all of the length
        ([[0, 0], [0, 0], [19, 0], [19, 0], [19, 0]], 1),
    ],
)
def test_still_straying_and_jumping_tracks_are_refused(points, kept):
    assert _finish(points) == kept


def test_tests_are_in_full_resolution_pixels():
    assert _finish(LINE * 0.3, scale=1.42) == 1


@pytest.mark.parametrize("longest, kept", [(0.99, 0), (1.01, 1)])
def test_background_is_refused_once_stabilised(longest, kept):
    steps = np.zeros((4, 2))
    steps[2] = [longest * 0.6, -longest * 0.8]
    assert _finish(LINE, steps, stabilised=True) == kept
    assert _finish(LINE, steps, stabilised=False) == 1
