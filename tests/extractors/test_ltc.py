"""LTC: sizes for every published window, and floor pooling."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cinefeat.extractors.fold import inference_form
from cinefeat.extractors.layers import run_layers
from cinefeat.extractors.ltc import ltc


@pytest.mark.parametrize(
    "n_frames, size, n_flat",
    [(20, 58, 256), (40, 58, 512), (60, 58, 768), (80, 58, 1280), (100, 58, 1536),
     (60, 71, 3072), (100, 71, 6144), (16, 112, 2304)],
)  # fmt: skip
def test_the_first_full_layer_takes_what_the_pools_leave(
    n_frames: int, size: int, n_flat: int
) -> None:
    with torch.device("meta"):
        network = ltc(2, 101, n_frames, size).eval()
        x = torch.empty(1, 2, n_frames, size, size)
        outputs = run_layers(network, x, {"flat", "fc6", "fc7", "logits"})
    sizes = {name: value.shape[1] for name, value in outputs.items()}
    assert sizes == {"flat": n_flat, "fc6": 2048, "fc7": 2048, "logits": 101}


def test_a_window_that_vanishes_is_refused() -> None:
    with pytest.raises(ValueError, match="15 frames of 71 px is too small"):
        ltc(n_frames=15)


def test_outputs_are_those_of_a_literal_forward_pass(rng: np.random.Generator) -> None:
    torch.manual_seed(1)
    network = ltc(2, 5, 17, 33).eval()
    window = torch.from_numpy(rng.normal(size=(1, 2, 17, 33, 33)).astype(np.float32))
    x = window
    for block in range(1, 6):
        conv = network.get_submodule(f"conv{block}").conv
        x = F.relu(F.conv3d(x, conv.weight, conv.bias, padding=1))
        x = F.max_pool3d(x, (1, 2, 2) if block == 1 else 2)
    x = x.flatten(1)
    for name in ("fc6", "fc7"):
        x = F.relu(network.get_submodule(name).linear(x))
    expected = network.get_submodule("logits")(x)
    with torch.inference_mode():
        torch.testing.assert_close(network(window), expected)
        torch.testing.assert_close(inference_form(network)(window), expected, atol=1e-5, rtol=1e-4)


def test_width_scales_every_layer() -> None:
    with torch.device("meta"):
        network = ltc(2, 7, 60, 71, width=0.25)
    shapes = {n: tuple(p.shape) for n, p in network.named_parameters() if n.endswith("weight")}
    assert shapes["conv1.conv.weight"] == (16, 2, 3, 3, 3)
    assert shapes["conv5.conv.weight"] == (64, 64, 3, 3, 3)
    assert shapes["fc6.linear.weight"] == (512, 768)
    assert shapes["logits.weight"] == (7, 512)


def test_parameters_are_those_of_the_table() -> None:
    channels = (2, 64, 128, 256, 256, 256)
    convolutions = sum((27 * a + 1) * b for a, b in itertools.pairwise(channels))
    full = (3072 + 1) * 2048 + 2049 * 2048 + 2049 * 101
    with torch.device("meta"):
        assert sum(p.numel() for p in ltc(2).parameters()) == convolutions + full
