"""The unsupervised losses of MotionNet, beside literal versions and answers known by hand."""

import numpy as np
import pytest
import torch

from cinefeat.extractors.motion_losses import (
    MotionWeights,
    charbonnier,
    motion_losses,
    photometric_change,
    photometric_loss,
    smoothness_loss,
    ssim_loss,
    warp,
)

PHOTOMETRIC_ONLY = MotionWeights(smoothness=(0.0,) * 5, ssim=(0.0,) * 5)


def _literal_warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    channels, height, width = image.shape
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            at_x = np.clip(x + flow[0, y, x], 0, width - 1)
            at_y = np.clip(y + flow[1, y, x], 0, height - 1)
            x0, y0 = int(at_x), int(at_y)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            a, b = at_x - x0, at_y - y0
            for c in range(channels):
                top = (1 - a) * image[c, y0, x0] + a * image[c, y0, x1]
                low = (1 - a) * image[c, y1, x0] + a * image[c, y1, x1]
                out[c, y, x] = (1 - b) * top + b * low
    return out


@pytest.mark.parametrize("seed", range(3))
def test_warping_is_bilinear_sampling(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, flow = rng.random((3, 6, 9)), rng.normal(0, 3, (2, 6, 9))
    found = warp(torch.from_numpy(image)[None], torch.from_numpy(flow)[None])[0].numpy()
    assert np.allclose(found, _literal_warp(image, flow), atol=1e-12)


def test_no_motion_returns_the_image() -> None:
    image = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    flow = torch.zeros(2, 2, 5, 7, dtype=torch.float64)
    assert torch.allclose(warp(image, flow), image, atol=1e-12)


def test_warping_has_the_gradients_of_its_values() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    flow = (0.1 + 0.3 * torch.rand(1, 2, 4, 5, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(warp, (image, flow))


def test_a_known_translation_is_undone() -> None:
    scene = torch.rand(1, 3, 20, 30)
    first, next = scene[..., 5:15, 5:15], scene[..., 4:14, 7:17]  # content moves by (-2, +1)
    flow = torch.tensor([-2.0, 1.0]).reshape(1, 2, 1, 1).expand(1, 2, 10, 10)
    inside = (..., slice(1, -1), slice(2, -1))
    warped = warp(next, flow)[inside]
    assert torch.allclose(warped, first[inside], atol=1e-5)
    undone = photometric_loss(first[inside], warped, 0.4)
    assert photometric_loss(first[inside], next[inside], 0.4) > 20 * undone


def test_the_penalty_is_in_grey_levels_and_robust() -> None:
    assert charbonnier(torch.tensor(0.0), 0.4) == pytest.approx(0.001**0.8)
    first, second = torch.zeros(1, 3, 5, 5), torch.full((1, 3, 5, 5), 10 / 255)
    assert photometric_loss(first, second, 0.4) == pytest.approx(100**0.4, rel=1e-5)


def test_the_outer_tenth_is_not_judged() -> None:
    first = torch.rand(1, 3, 20, 30)
    second = first.clone()
    second[..., :2, :], second[..., -2:, :] = 9, 9
    second[..., :2], second[..., -2:] = 9, 9
    equal = photometric_loss(first, first, 0.4)
    assert photometric_loss(first, second, 0.4) == equal
    second[..., 2, 2] = 9
    assert photometric_loss(first, second, 0.4) > equal


def test_smoothness_counts_neighbouring_differences() -> None:
    flow = torch.tensor([[[[0.0, 3.0], [0.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    # two steps of 3 in x, six differences of 0
    expected = (2 * (9 + 1e-6) ** 0.5 + 6 * 1e-3) / 8
    assert smoothness_loss(flow, 0.5) == pytest.approx(expected, rel=1e-6)
    assert smoothness_loss(torch.rand(1, 2, 1, 1), 0.5) == 0


def test_similarity_of_equal_and_of_opposite_images() -> None:
    image = torch.rand(2, 3, 16, 16, dtype=torch.float64) - 0.5
    assert ssim_loss(image, image) == pytest.approx(0)
    small = image[..., :3, :3]
    assert ssim_loss(small, small) == pytest.approx(0)
    centred = image - torch.nn.functional.interpolate(
        torch.nn.functional.avg_pool2d(image, 8), scale_factor=8
    )
    assert ssim_loss(centred, -centred) == pytest.approx(2, abs=0.05)


def test_similarity_is_the_formula_on_windows_of_eight() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((1, 1, 8, 16)), rng.random((1, 1, 8, 16))
    values = []
    for x in (0, 8):
        p, q = a[0, 0, :, x : x + 8].ravel(), b[0, 0, :, x : x + 8].ravel()
        cov = np.mean(p * q) - p.mean() * q.mean()
        light = (2 * p.mean() * q.mean() + 1e-4) / (p.mean() ** 2 + q.mean() ** 2 + 1e-4)
        values.append(light * (2 * cov + 1e-3) / (p.var() + q.var() + 1e-3))
    found = ssim_loss(torch.from_numpy(a), torch.from_numpy(b))
    assert float(found) == pytest.approx(1 - np.mean(values))


def _moving_stack(step: int) -> torch.Tensor:
    torch.manual_seed(0)
    scene = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 64, 100), 5, 1, 2) - 0.5
    return torch.cat([scene[..., step * k : step * k + 64] for k in range(4)], dim=1)


def _flows(x: float) -> list[torch.Tensor]:
    return [
        torch.tensor([x, 0.0] * 3).reshape(1, 6, 1, 1).expand(1, 6, side, side) * side / 64
        for side in (2, 4, 8, 16, 32)
    ]


def test_the_true_motion_of_a_stack_has_the_least_loss() -> None:
    frames = _moving_stack(4)
    losses = {x: float(motion_losses(_flows(x), frames)["loss"]) for x in (-8, -4, -2, 0, 4)}
    assert min(losses, key=losses.__getitem__) == -4
    change = photometric_change(_flows(-4), frames)
    assert change["photometric"] < 0.5 * change["still"]
    assert change["still"] == photometric_change(_flows(0), frames)["photometric"]


def test_each_pair_is_judged_by_its_own_flow() -> None:
    frames = _moving_stack(4)
    flows = _flows(-4)
    right = motion_losses(flows, frames, PHOTOMETRIC_ONLY)["loss"]
    flows[4] = flows[4].clone()
    flows[4][:, 4:] = 0  # the last pair alone
    assert motion_losses(flows, frames, PHOTOMETRIC_ONLY)["loss"] > right


def test_terms_add_up_with_the_weights_of_their_levels() -> None:
    torch.manual_seed(0)
    frames = torch.rand(1, 6, 64, 64) - 0.5
    flows = [torch.randn(1, 2, side, side) for side in (2, 4, 8, 16, 32)]
    whole = motion_losses(flows, frames)
    assert whole["loss"] == pytest.approx(
        float(whole["photometric"] + whole["smoothness"] + whole["ssim"])
    )
    weights = (5.0, 4.0, 3.0, 2.0, 1.0)
    by_level = [
        motion_losses(
            flows, frames, MotionWeights(photometric=tuple(float(i == n) for i in range(5)))
        )["photometric"]
        for n in range(5)
    ]
    weighted = motion_losses(flows, frames, MotionWeights(photometric=weights))["photometric"]
    assert float(weighted) == pytest.approx(
        sum(w * float(v) for w, v in zip(weights, by_level, strict=True)), rel=1e-5
    )


def test_gradients_reach_the_flow_of_every_level() -> None:
    frames = _moving_stack(4)
    flows = [flow.clone().requires_grad_() for flow in _flows(-3)]
    motion_losses(flows, frames)["loss"].backward()
    assert all(flow.grad is not None and flow.grad.abs().sum() > 0 for flow in flows)
