"""FstCN: sizes, which frames its paths see, the order of features, and the fusion of scores."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cinefeat.extractors.fstcn import FstCN, sci_fusion, sparsity_concentration

N_MAPS, N_POSITIONS = 128, 9


def _convolution(n_in: int, n_out: int, side: int) -> int:
    return (n_in * side**2 + 1) * n_out


def test_parts_have_the_published_sizes() -> None:
    with torch.device("meta"):
        network = FstCN()
        scores = network.eval()(torch.empty(2, 3, 30, 204, 204))
        maps = network.spatial_layers(torch.empty(1, 3, 204, 204))
        upper = network.spatial_maps(maps)
    assert tuple(scores.shape) == (2, 101)
    assert (tuple(maps.shape), tuple(upper.shape)) == ((1, 512, 11, 11), (1, 128, 3, 3))
    found = {name: sum(p.numel() for p in part.parameters())
             for name, part in network.named_children()}  # fmt: skip
    lower = ((3, 96, 7), (96, 256, 5), (256, 512, 3), (512, 512, 3))
    hidden = 4097 * 2048
    assert found == {
        "spatial_layers": sum(_convolution(*sizes) for sizes in lower),
        "temporal_maps": _convolution(512, 128, 3),
        "temporal": _convolution(9, 32, 3) + _convolution(9, 32, 5),
        "temporal_dropout": 0,
        "temporal_head": (64 * 5 * 128 + 1) * 4096 + hidden,
        "spatial_maps": _convolution(512, 128, 3),
        "spatial_head": (128 * 9 + 1) * 4096 + hidden,
        "head": 4097 * 2048 + 2049 * 101,
    }
    assert network.order.shape == (128, 128)


def test_scores_are_those_of_a_literal_forward_pass() -> None:
    torch.manual_seed(0)
    network = FstCN(4, 75, width=0.1).eval()
    torch.nn.init.normal_(network.order)
    x = torch.randn(2, 3, 30, 75, 75)

    def upper(frame: torch.Tensor, part: torch.nn.Module) -> torch.Tensor:
        return part(network.spatial_layers(frame))

    spatial = network.spatial_head(upper(x[:, :, 10], network.spatial_maps).flatten(1))
    features = [
        upper((x[:, :, t + 9] - x[:, :, t]).abs(), network.temporal_maps).flatten(2)
        for t in (0, 5, 10, 15, 20)
    ]  # each (N, f, xy)
    pictures = torch.stack([f.transpose(1, 2) @ network.order for f in features], dim=2)
    branches = [
        F.relu(F.conv2d(pictures, part.conv.weight, part.conv.bias, padding=k))
        for k, part in zip((1, 2), network.temporal, strict=True)
    ]
    temporal = network.temporal_head(torch.cat(branches, 1).flatten(1))
    expected = network.head(torch.cat([temporal, spatial], 1))
    torch.testing.assert_close(network(x), expected)


def test_only_frames_of_clip_and_differences_count() -> None:
    torch.manual_seed(0)
    network = FstCN(4, 75, width=0.2).eval()
    x = torch.randn(1, 3, 30, 75, 75)
    scores = network(x)
    for k in range(30):
        changed = x.clone()
        changed[:, :, k] += 1
        is_seen = k in {0, 5, 10, 15, 20, 9, 14, 19, 24, 29}
        assert torch.equal(network(changed), scores) != is_seen, k


def test_training_draws_the_frame_of_the_spatial_path() -> None:
    network = FstCN(4, 75, width=0.1)
    seen = []
    network.spatial_maps.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach()))
    x = torch.randn(1, 3, 30, 75, 75)
    for _ in range(20):
        network(x)
    assert len({float(maps.sum()) for maps in seen}) > 1


@pytest.mark.parametrize("n_classes", [2, 5, 101])
def test_concentration_runs_from_zero_to_one(n_classes: int) -> None:
    uniform = np.full(n_classes, 0.3)
    certain = np.eye(n_classes)[1] * 4
    assert sparsity_concentration(uniform) == pytest.approx(0)
    assert sparsity_concentration(certain) == pytest.approx(1)


def test_fusion_is_the_published_formula(rng: np.random.Generator) -> None:
    p = rng.dirichlet(np.ones(6), size=(4, 3))
    per_crop = []
    for crop in p:
        weights = [(6 * max(clip) / sum(clip) - 1) / 5 for clip in crop]
        per_crop.append(sum(w * clip for w, clip in zip(weights, crop, strict=True)) / sum(weights))
    expected = np.maximum.reduce(per_crop)
    np.testing.assert_allclose(sci_fusion(p), expected)


def test_clips_without_any_preference_count_alike() -> None:
    np.testing.assert_allclose(sci_fusion(np.full((2, 3, 4), 0.25)), 0.25)


@pytest.mark.parametrize("p", [np.ones((2, 1)), np.array([[0.5, -0.1]]), np.zeros((1, 3))])
def test_what_is_no_distribution_is_refused(p: np.ndarray) -> None:
    with pytest.raises(ValueError, match="two classes or more, none negative"):
        sparsity_concentration(p)


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="frames of 74 px; FstCN needs at least 75"):
        FstCN(4, 74, width=0.1)
    with pytest.raises(ValueError, match=r"\(1, 3, 29, 75, 75\)"):
        FstCN(4, 75, width=0.1)(torch.zeros(1, 3, 29, 75, 75))
