"""Flow in torch against flow in numba: one definition, two implementations."""

import cv2
import numpy as np
import pytest
import torch
from flow_pairs import shifted_pair, texture

from cinefeat.extractors import optical_flow_tvl1
from cinefeat.extractors.tvl1_settings import flow_settings
from cinefeat.extractors.tvl1_torch import _inverse_root, flow_of_batch


@pytest.fixture(autouse=True)
def one_thread():
    """Let torch use one thread: on small images more of them only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _occluding_pair():
    """A textured square that moves by (6, -3) px over a background that moves by (-1, 1)."""
    background = texture(140, 160, seed=7)
    patch = texture(50, 60, seed=8, grain=1.0)
    frames = [background[10:130, 10:150].copy(), background[9:129, 11:151].copy()]
    frames[0][35:85, 40:100] = patch
    frames[1][32:82, 46:106] = patch
    return frames


@pytest.fixture(params=["shift", "occlusion"])
def pair(request):
    images = shifted_pair((2.4, -1.3)) if request.param == "shift" else _occluding_pair()
    return [image.astype(np.float32) for image in images]


def _both(pair, **settings):
    chosen = flow_settings(**settings)
    torch_flow = flow_of_batch(pair[0][None], pair[1][None], chosen, "cpu")[0]
    return torch_flow, optical_flow_tvl1(*pair, **settings)


@pytest.mark.parametrize("settings", [
    {},
    {"preset": "fast"},
    {"gamma": 0.0, "edge_decay": 0.0, "presmoothing": 0.0},
    {"zoom": 0.7, "median_filter": 3},
    {"weighted_median": False, "median_filter": 0, "epsilon": 0.0},
], ids=str)  # fmt: skip
def test_both_agree(pair, settings):
    distance = np.linalg.norm(np.subtract(*_both(pair, **settings)), axis=-1)
    assert distance.mean() < 0.01
    assert np.percentile(distance, 99) < 0.1


def test_both_agree_closely_after_one_warp(pair):
    single = {"n_scales": 1, "n_warps": 1, "weighted_median": False}
    np.testing.assert_allclose(*_both(pair, **single), atol=1e-5)


@pytest.mark.parametrize("name", ["RubberWhale", "Venus"])
def test_both_agree_on_middlebury(shared, name):
    folder = shared / "data" / "flow" / name
    images = [cv2.imread(str(folder / f"frame{n}.png"), cv2.IMREAD_GRAYSCALE) for n in (10, 11)]
    both = _both([image.astype(np.float32) for image in images])
    distance = np.linalg.norm(np.subtract(*both), axis=-1)
    assert distance.mean() < 0.01
    assert np.percentile(distance, 99) < 0.1


def test_large_and_small_numbers_have_the_inverse_root_of_numpy(rng):
    x = np.exp(rng.uniform(-20, 10, 10001)).astype(np.float32)
    assert np.abs(_inverse_root(torch.from_numpy(x)).numpy() * np.sqrt(x) - 1).max() < 3e-7


def test_identical_frames_have_exactly_zero_flow(pair):
    twice = np.stack([pair[0]])
    assert (flow_of_batch(twice, twice, flow_settings(), "cpu") == 0).all()


def test_a_batch_has_the_flow_of_its_pairs(pair):
    firsts = np.stack([pair[0], pair[1], pair[0]])
    seconds = np.stack([pair[1], pair[0], pair[0]])
    together = flow_of_batch(firsts, seconds, flow_settings("fast"), "cpu")
    for n in range(3):
        alone = flow_of_batch(firsts[n : n + 1], seconds[n : n + 1], flow_settings("fast"), "cpu")
        assert (together[n] == alone[0]).all()


def test_a_batch_that_has_converged_in_part_leaves_those_pairs_alone(pair):
    """One pair is still from the start, so that it stops many iterations before the other."""
    settings = flow_settings("fast", max_iterations=40, n_scales=2)
    firsts, seconds = np.stack([pair[0], pair[0]]), np.stack([pair[0] * 0.99, pair[1]])
    together = flow_of_batch(firsts, seconds, settings, "cpu")
    for n in range(2):
        alone = flow_of_batch(firsts[n : n + 1], seconds[n : n + 1], settings, "cpu")
        assert (together[n] == alone[0]).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_agrees_with_the_cpu(pair):
    distance = np.linalg.norm(
        optical_flow_tvl1(*pair, device="cuda") - optical_flow_tvl1(*pair), axis=-1
    )
    assert distance.mean() < 0.01
    assert np.percentile(distance, 99) < 0.1


def test_an_unknown_device_is_refused(pair):
    with pytest.raises(ValueError, match="device is 'gpu'"):
        optical_flow_tvl1(*pair, device="gpu")
