"""The torch implementation against the numba one, on the CPU."""

import numpy as np
import pytest
import torch
from synthetic import moving_texture

from cinefeat.extractors import dense_trajectories

TORCH_ON_CPU = "cpu:0"  # "cpu" alone means numba


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _scene(n_frames=24):
    """A square with its own motion and texture over a panning background."""
    background, flow = moving_texture(n_frames, 80, 112, shift=(0.7, -0.4), seed=1)
    square, _ = moving_texture(n_frames, 36, 36, seed=2)
    frames, warped = background.copy(), np.zeros_like(flow)
    for t, frame in enumerate(frames):
        place = slice(20, 56), slice(10 + 2 * t, 46 + 2 * t)
        frame[place] = square[t]
        if t < len(flow):
            flow[t][place], warped[t][place] = [2, 0], [1.3, 0.4]
    return frames, flow, warped


def _assert_close(found, expected):
    assert len(expected["info"]) > 60
    assert len(found["info"]) == len(expected["info"])
    for name, rows in expected.items():
        assert found[name].dtype == rows.dtype
        np.testing.assert_allclose(found[name], rows, atol=2e-3, err_msg=name)


@pytest.mark.parametrize(
    "settings", [{}, {"track_length": 7, "temporal_cells": 2, "spatial_cells": 4, "stride": 4}]
)
def test_tracks_on_given_flow_agree(settings):
    frames, flow, _ = _scene()
    found, expected = (
        dense_trajectories(frames, camera_motion=False, flow=flow, device=device, **settings)
        for device in (TORCH_ON_CPU, "cpu")
    )
    _assert_close(found, expected)


def test_improved_tracks_on_given_flow_agree():
    frames, flow, warped = _scene()
    found, expected = (
        dense_trajectories(frames, camera_motion=True, flow=flow, warped_flow=warped, device=device)
        for device in (TORCH_ON_CPU, "cpu")
    )
    _assert_close(found, expected)


@pytest.mark.parametrize("camera_motion", [False, True])
def test_tracks_on_their_own_flow_agree(camera_motion):
    frames, _, _ = _scene()
    given = [np.eye(3)] * 23 if camera_motion else None
    found, expected = (
        dense_trajectories(frames, camera_motion=camera_motion, homographies=given, device=device)
        for device in (TORCH_ON_CPU, "cpu")
    )
    _assert_close(found, expected)


def test_the_camera_is_estimated_from_flow_on_the_device():
    frames, _, _ = _scene()
    found, expected = (
        dense_trajectories(frames, camera_motion=True, device=device)["info"]
        for device in (TORCH_ON_CPU, "cpu")
    )
    assert abs(len(found) - len(expected)) <= 0.05 * len(expected)


def test_a_video_without_texture_has_no_tracks():
    frames = np.full((17, 40, 48), 90, np.uint8)
    rows = dense_trajectories(frames, camera_motion=False, device=TORCH_ON_CPU)
    assert rows["info"].shape == (0, 10)
