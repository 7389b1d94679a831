"""Karpathy's networks: sizes by the paper's table, views of the frames, and what fuses when."""

import pytest
import torch

from cinefeat.extractors.layers import run_layers
from cinefeat.extractors.single_stream import WINDOWS, Fusion, SingleStream

FUSIONS: tuple[Fusion, ...] = ("single", "early", "late", "slow")
CHANNELS = (3, 96, 256, 384, 384, 256)
KERNELS = (11**2, 5**2, 3**2, 3**2, 3**2)
# temporal extents of the five convolutions
EXTENTS = {
    "single": (1, 1, 1, 1, 1),
    "early": (10, 1, 1, 1, 1),
    "late": (1, 1, 1, 1, 1),
    "slow": (4, 2, 2, 1, 1),
}


def _n_parameters(fusion: Fusion, n_stacks: int, n_classes: int) -> int:
    stack = sum(
        CHANNELS[k] * CHANNELS[k + 1] * KERNELS[k] * EXTENTS[fusion][k] + CHANNELS[k + 1]
        for k in range(5)
    )
    n_flat = 256 * 7 * 7 * n_stacks * (2 if fusion == "late" else 1)
    head = (n_flat + 1) * 4096 + 4097 * 4096 + 4097 * n_classes
    return n_stacks * stack + head


@pytest.mark.parametrize("two_resolutions, size", [(False, 170), (True, 178)])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_parameters_and_scores_are_the_published(
    fusion: Fusion, two_resolutions: bool, size: int
) -> None:
    with torch.device("meta"):
        network = SingleStream(fusion, 487, size, two_resolutions)
        scores = network(torch.empty(2, 3, WINDOWS[fusion], size, size))
    assert tuple(scores.shape) == (2, 487)
    n_stacks = 2 if two_resolutions else 1
    found = sum(p.numel() for p in network.parameters())
    assert found == _n_parameters(fusion, n_stacks, 487)


def test_slow_fusion_has_four_two_and_one_responses() -> None:
    names = ("conv1", "conv2", "conv3", "conv5")
    with torch.device("meta"):
        network = SingleStream("slow")
        maps = run_layers(network.streams["frame"], torch.empty(1, 3, 10, 170, 170), names)
    assert {name: tuple(maps[name].shape[1:]) for name in names} == {
        "conv1": (96, 4, 57, 57),
        "conv2": (256, 2, 28, 28),
        "conv3": (384, 1, 14, 14),
        "conv5": (256, 1, 14, 14),
    }


def test_local_norm_is_the_published_formula() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 7, 1, 2, 2) * 50
    norm = SingleStream("single", 2, 60, width=0.05).streams["frame"].get_submodule("norm1")
    expected = torch.empty_like(x)
    for c in range(7):
        near = x[:, max(0, c - 2) : c + 3]
        expected[:, c] = x[:, c] / (2 + 1e-4 * (near**2).sum(1)) ** 0.5
    torch.testing.assert_close(norm(x), expected)


def test_context_and_fovea_see_the_whole_and_the_centre() -> None:
    network = SingleStream("single", 2, 60, True, width=0.05)
    seen = {}
    for name, stream in network.streams.items():
        stream.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0]}))
    frame = torch.randn(1, 3, 1, 60, 60)
    network(frame)
    blocks = frame.reshape(1, 3, 1, 30, 2, 30, 2)
    torch.testing.assert_close(seen["context"], blocks.mean((4, 6)))
    assert torch.equal(seen["fovea"], frame[..., 15:45, 15:45])


def test_late_fusion_sees_two_frames_fifteen_apart() -> None:
    torch.manual_seed(0)
    network = SingleStream("late", 3, 48, width=0.1).eval()
    clip = torch.randn(1, 3, 16, 48, 48)
    scores = network(clip)
    between = clip.clone()
    between[:, :, 1:15] = 0
    assert torch.equal(network(between), scores)
    for k in (0, 15):
        changed = clip.clone()
        changed[:, :, k] = 0
        assert not torch.equal(network(changed), scores)


@pytest.mark.parametrize("fusion", ["early", "slow"])
def test_early_and_slow_fusion_see_every_frame(fusion: Fusion) -> None:
    torch.manual_seed(0)
    network = SingleStream(fusion, 3, 48, width=0.1).eval()
    clip = torch.randn(1, 3, 10, 48, 48)
    scores = network(clip)
    for k in range(10):
        changed = clip.clone()
        changed[:, :, k] = 0
        assert not torch.equal(network(changed), scores), k


@pytest.mark.parametrize("size, two_resolutions", [(23, False), (46, True), (61, True)])
def test_frames_that_are_too_small_are_refused(size: int, two_resolutions: bool) -> None:
    with pytest.raises(ValueError, match=f"frames of {size} px"):
        SingleStream("single", 2, size, two_resolutions)


def test_wrong_clips_and_forms_are_refused() -> None:
    with pytest.raises(ValueError, match="fusion is 'middle'; choose one of single, early"):
        SingleStream("middle")  # type: ignore[arg-type]
    network = SingleStream("slow", 2, 48, width=0.1)
    with pytest.raises(ValueError, match=r"\(1, 3, 9, 48, 48\)"):
        network(torch.zeros(1, 3, 9, 48, 48))


@pytest.mark.parametrize("size", [24, 48, 60, 100])
@pytest.mark.parametrize("two_resolutions", [False, True])
def test_small_frames_go_through(size: int, two_resolutions: bool) -> None:
    if size < 48 and two_resolutions:
        return
    network = SingleStream("single", 3, size, two_resolutions, width=0.02)
    assert network(torch.zeros(1, 3, 1, size, size)).shape == (1, 3)
