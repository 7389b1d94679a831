"""HOG, HOF and MBH of patches."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cinefeat.extractors import histograms
from cinefeat.extractors.trajectories import TrajectorySettings, empty_tracks

SETTINGS = TrajectorySettings()


def _described(gray, flow, corners, settings=SETTINGS, ages=None):
    """Return the four descriptors of patches at corners (left, top) after their first step."""
    n = len(corners)
    tracks = empty_tracks(n, settings)
    tracks.corner[:] = corners
    tracks.age[:] = 1 if ages is None else ages
    histograms.describe(tracks, n, gray, flow, settings)
    return tracks


def _literal_votes(x, y, has_slow):
    """Each pixel's votes by trigonometry, (h, w, bins)."""
    length, angle = np.hypot(x, y), np.arctan2(y, x) % (2 * np.pi) / (np.pi / 4)
    slow = has_slow & (length <= 0.4)
    votes = np.zeros((*x.shape, 9))
    for b in range(8):
        distance = np.abs(angle - b)
        votes[..., b] = length * np.clip(1 - np.minimum(distance, 8 - distance), 0, 1) * ~slow
    votes[..., 8] = slow
    return votes if has_slow else votes[..., :8]


def _literal_patch(votes, left, top, cells):
    size = 32 // cells
    sums = [
        votes[top + cy * size :][:size, left + cx * size :][:, :size].sum((0, 1))
        for cx in range(cells)
        for cy in range(cells)
    ]
    values = np.concatenate(sums) + 0.05
    return np.sqrt(values / values.sum())


def _gradient(plane):
    dx, dy = np.zeros(plane.shape), np.zeros(plane.shape)
    dx[:, 1:-1] = plane[:, 2:] - plane[:, :-2]
    dy[1:-1] = plane[2:] - plane[:-2]
    return dx, dy


@pytest.mark.parametrize("cells", [1, 2, 4])
def test_descriptors_equal_their_literal_definition(rng, cells):
    gray = rng.integers(0, 256, (48, 64), dtype=np.uint8)
    flow = tuple(rng.normal(0, 0.6, (48, 64)).astype(np.float32) for _ in range(2))
    settings = TrajectorySettings(spatial_cells=cells)
    corners = [(0, 0), (32, 16), (7, 5), (8, 5), (0, 16)]
    found = _described(gray, flow, corners, settings)
    pairs = {
        "hog": _gradient(gray.astype(float)),
        "hof": flow,
        "mbhx": _gradient(flow[0]),
        "mbhy": _gradient(flow[1]),
    }
    for name, pair in pairs.items():
        votes = _literal_votes(*pair, name == "hof")
        for i, (left, top) in enumerate(corners):
            expected = _literal_patch(votes, left, top, cells)
            np.testing.assert_allclose(getattr(found, name)[0, i], expected, atol=2e-4)


@pytest.mark.parametrize("name", ["hog", "hof", "mbhx", "mbhy"])
@pytest.mark.parametrize("level", [0, 2])
def test_patches_equal_the_reference_integrals(shared, rng, name, level):
    stage = np.load(shared / "reference/idt/stages/person01_f00040.npz")
    flow = stage[f"flow_warp_s{level}"].transpose(2, 0, 1).copy()
    gray, integral = stage[f"prev_grey_pyr_s{level}"], stage[f"int_{name}_s{level}"]
    corners = rng.integers(0, np.array(gray.shape[::-1]) - 31, (20, 2))
    found = getattr(_described(gray, (flow[0], flow[1]), corners), name)
    votes = np.diff(np.diff(integral.astype(np.float64), axis=0), axis=1)
    for row, (left, top) in zip(found[0], corners, strict=True):
        expected = _literal_patch(votes, left, top, 2)
        np.testing.assert_allclose(row, expected, atol=1e-3)


def test_constant_flow_has_no_motion_boundary():
    flow = (np.full((40, 40), 3, np.float32), np.full((40, 40), -2, np.float32))
    found = _described(np.zeros((40, 40), np.uint8), flow, [(4, 4)])
    np.testing.assert_allclose(found.mbhx[0, 0], np.sqrt(1 / 32), rtol=1e-6)
    np.testing.assert_allclose(found.mbhy[0, 0], np.sqrt(1 / 32), rtol=1e-6)


@pytest.mark.parametrize("step, bin_", [((3, 0), 0), ((0, 3), 2), ((-3, 0), 4), ((-2, -2), 5)])
def test_flow_votes_for_its_direction(step, bin_):
    flow = tuple(np.full((40, 40), s, np.float32) for s in step)
    found = _described(np.zeros((40, 40), np.uint8), flow, [(0, 0)])
    assert (found.hof[0, 0].reshape(4, 9).argmax(1) == bin_).all()


def test_slow_pixels_vote_for_no_motion():
    flow = (np.full((40, 40), 0.4, np.float32), np.zeros((40, 40), np.float32))
    found = _described(np.zeros((40, 40), np.uint8), flow, [(0, 0)])
    share = 256.05 / (4 * (256 + 9 * 0.05))
    np.testing.assert_allclose(found.hof[0, 0, 8::9], np.sqrt(share), rtol=1e-5)


def test_a_step_goes_to_its_temporal_cell_and_leftover_steps_to_none(rng):
    gray = rng.integers(0, 256, (40, 40), dtype=np.uint8)
    flow = (np.zeros((40, 40), np.float32),) * 2
    settings = TrajectorySettings(track_length=7, temporal_cells=3)
    found = _described(gray, flow, [(0, 0)] * 3, settings, ages=[1, 6, 7])
    filled = found.hog.any(2).T
    np.testing.assert_array_equal(filled, [[1, 0, 0], [0, 0, 1], [0, 0, 0]])


COMPILED_OR_LOADED = """
import hashlib
import numpy as np
from cinefeat.extractors import dense_trajectories
rng = np.random.default_rng(0)
frames = np.kron(rng.integers(0, 255, (20, 30)), np.ones((4, 4))).astype(np.uint8)
tracks = dense_trajectories([np.roll(frames, k, 1) for k in range(18)], camera_motion=False)
assert len(tracks["hog"])
print(hashlib.sha256(b"".join(tracks[name].tobytes() for name in sorted(tracks))).hexdigest())
"""


@pytest.mark.slow
def test_kernels_just_compiled_and_loaded_from_the_cache_give_equal_bits(tmp_path: Path) -> None:
    environ = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    digests = [
        subprocess.run(
            [sys.executable, "-c", COMPILED_OR_LOADED], env=environ, capture_output=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert digests[0] == digests[1]
