"""T3D: the release's sizes, the paper's temporal bookkeeping, and a transition layer literally."""

import pytest
import torch
import torch.nn.functional as F

from cinefeat.extractors.densenet import densenet
from cinefeat.extractors.inflate import inflate_tensors
from cinefeat.extractors.layers import run_layers
from cinefeat.extractors.t3d import t3d, temporal_transition

PLAIN = {
    "conv0": (64, 16, 112, 112),
    "pool0": (64, 8, 56, 56),
    "transition1": (128, 4, 28, 28),
    "transition2": (256, 2, 14, 14),
    "transition3": (512, 1, 7, 7),
    "denseblock4": (1024, 1, 7, 7),
    "features": (1024,),
    "logits": (1000,),
}
TEMPORAL = {
    "conv0": (64, 16, 112, 112),
    "pool0": (64, 16, 56, 56),
    "denseblock1": (256, 16, 56, 56),
    "transition1": (384, 8, 28, 28),
    "denseblock2": (768, 8, 28, 28),
    "transition2": (384, 4, 14, 14),
    "denseblock3": (1152, 4, 14, 14),
    "transition3": (384, 2, 7, 7),
    "denseblock4": (896, 2, 7, 7),
    "features": (896,),
}


def _shapes(network: torch.nn.Sequential, wanted: dict) -> dict:
    with torch.device("meta"):
        outputs = run_layers(network.eval(), torch.empty(1, 3, 32, 224, 224), wanted)
    return {name: tuple(value.shape[1:]) for name, value in outputs.items()}


def test_densenet_in_three_dimensions_is_the_release() -> None:
    with torch.device("meta"):
        network = t3d(121, 1000, "plain")
    assert _shapes(network, PLAIN) == PLAIN
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 12.27
    n_tensors = len(network.state_dict())
    n_norms = sum(isinstance(m, torch.nn.BatchNorm3d) for m in network.modules())
    assert n_tensors - n_norms == 606  # the release counts no batches


def test_temporal_transitions_have_the_papers_bookkeeping() -> None:
    with torch.device("meta"):
        assert _shapes(t3d(), TEMPORAL) == TEMPORAL


def test_temporal_transitions_have_the_parameters_of_their_kernels() -> None:
    growth, n_in, total = 32, 64, 3 * 3 * 49 * 64 + 2 * 64
    for n_layers, depths in ((6, (1, 3, 6)), (12, (1, 3, 4)), (24, (1, 3, 4)), (16, ())):
        for _ in range(n_layers):  # norm, 1 x 1 x 1 to 128, norm, 3 x 3 x 3 to 32
            total += 2 * n_in + 128 * n_in + 2 * 128 + 27 * 128 * growth
            n_in += growth
        for depth in depths:  # norm, D x 3 x 3 to 128
            total += 2 * n_in + depth * (1 if depth == 1 else 9) * n_in * 128
        n_in = 3 * 128 if depths else n_in
    total += 2 * n_in + (n_in + 1) * 101
    with torch.device("meta"):
        assert sum(p.numel() for p in t3d().parameters()) == total


def test_halved_channels_halve_what_the_blocks_take() -> None:
    with torch.device("meta"):
        shapes = _shapes(t3d(halves_channels=True), {"transition1": 0, "denseblock2": 0})
    assert shapes == {"transition1": (192, 8, 28, 28), "denseblock2": (576, 8, 28, 28)}


@pytest.mark.parametrize("depth, n_features", [(121, 1024), (161, 2208), (169, 1664), (201, 1920)])
def test_every_depth_has_its_feature(depth: int, n_features: int) -> None:
    with torch.device("meta"):
        network = t3d(depth, None, "plain").eval()
        assert network(torch.empty(1, 3, 32, 32, 32)).shape == (1, n_features)


@pytest.mark.parametrize("halves_channels", [False, True])
@pytest.mark.parametrize("depths", [(1, 3, 6), (1, 3, 4)])
def test_a_transition_is_its_branches_side_by_side(
    depths: tuple[int, ...], halves_channels: bool
) -> None:
    torch.manual_seed(0)
    step = temporal_transition(5, 4, depths, halves_channels).eval()
    x = torch.randn(1, 5, 8, 6, 6)
    rectified = F.relu(x / (1 + 1e-5) ** 0.5)
    maps = []
    for depth, branch in zip(depths, step.branches.values(), strict=True):
        side = 0 if depth == 1 else 1
        front = (depth - 1) // 2
        padded = F.pad(rectified, [side, side, side, side, front, depth - 1 - front])
        maps.append(F.conv3d(padded, branch[1].conv.weight))
    joined = torch.cat(maps, 1)
    assert joined.shape == (1, 12, 8, 6, 6)
    if halves_channels:
        joined = F.conv3d(F.relu(joined / (1 + 1e-5) ** 0.5), step.conv.conv.weight)
    torch.testing.assert_close(step(x), F.avg_pool3d(joined, 2))


@pytest.mark.parametrize("transitions, shortest", [("temporal", 15), ("plain", 29)])
def test_the_shortest_clip_goes_through(transitions: str, shortest: int) -> None:
    network = t3d(121, 3, transitions, width=0.07).eval()  # type: ignore[arg-type]
    assert network(torch.zeros(1, 3, shortest, 29, 29)).shape == (1, 3)
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 3, shortest - 1, 29, 29))


def test_a_densenet_inflates_into_densenet3d() -> None:
    images, videos = densenet(width=0.125, n_classes=3), t3d(121, 3, "plain", width=0.125)
    tensors = dict(images.state_dict())
    shapes = {name: tuple(t.shape) for name, t in videos.state_dict().items()}
    filled = inflate_tensors(tensors, shapes)
    assert filled.keys() == shapes.keys()
    videos.load_state_dict(filled)


def test_unknown_forms_are_refused() -> None:
    with pytest.raises(ValueError, match="transitions is 'none'; choose 'temporal' or 'plain'"):
        t3d(transitions="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="width is 0; a positive factor"):
        t3d(width=0)
