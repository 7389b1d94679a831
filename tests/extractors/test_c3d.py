"""C3D: sizes of its layers, and the pool whose rounding divides its ports."""

import numpy as np
import pytest
import torch

from cinefeat.extractors.c3d import c3d
from cinefeat.extractors.imaging import preprocess
from cinefeat.extractors.layers import run_layers
from cinefeat.extractors.networks import NETWORKS

LAYERS = {
    "conv1a": (64, 16, 112, 112),
    "pool1": (64, 16, 56, 56),
    "conv2a": (128, 16, 56, 56),
    "pool2": (128, 8, 28, 28),
    "conv3b": (256, 8, 28, 28),
    "pool3": (256, 4, 14, 14),
    "conv4b": (512, 4, 14, 14),
    "pool4": (512, 2, 7, 7),
    "conv5b": (512, 2, 7, 7),
    "pool5": (512, 1, 4, 4),
    "flat": (8192,),
    "fc6": (4096,),
    "fc7": (4096,),
    "logits": (487,),
}


@pytest.mark.parametrize("pool5", ["ceil", "pad"])
def test_layers_and_parameters_are_the_published(pool5: str) -> None:
    with torch.device("meta"):
        network = c3d(pool5=pool5).eval()  # type: ignore[arg-type]
        outputs = run_layers(network, torch.empty(1, 3, 16, 112, 112), LAYERS)
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == LAYERS
    assert sum(p.numel() for p in network.parameters()) == 79_991_015


@pytest.mark.parametrize("pool5, rows", [("ceil", [1, 3, 5, 6]), ("pad", [0, 2, 4, 6])])
def test_the_last_pool_joins_the_rows_that_its_rule_says(pool5: str, rows: list[int]) -> None:
    with torch.device("meta"):
        pool = c3d(pool5=pool5).get_submodule("pool5")  # type: ignore[arg-type]
    x = torch.arange(7.0)[:, None].expand(1, 1, 2, 7, 7)
    assert pool(x)[0, 0, 0, :, 0].tolist() == rows


def test_an_unknown_rounding_is_refused() -> None:
    with pytest.raises(ValueError, match="pool5 is 'floor'"):
        c3d(pool5="floor")  # type: ignore[arg-type]


def test_blue_enters_first_less_the_mean_of_sports1m() -> None:
    blue = np.zeros((16, 128, 171, 3), np.uint8)
    blue[..., 2] = 200
    window = preprocess(blue, NETWORKS["c3d"].spec)
    assert window.shape == (1, 3, 16, 112, 112)
    assert window[0, :, 0, 0, 0].tolist() == pytest.approx([200 - 100.61, -108.05, -107.81])


def test_the_feature_is_fc6_after_relu() -> None:
    with torch.device("meta"):
        fc6 = c3d().get_submodule("fc6")
    fc6 = fc6.to_empty(device="cpu")
    torch.nn.init.zeros_(fc6.linear.weight)
    torch.nn.init.constant_(fc6.linear.bias, -1)
    assert NETWORKS["c3d"].spec.features == "fc6"
    assert not fc6(torch.ones(1, 8192)).any()


def test_convolutions_see_zeros_around_the_volume() -> None:
    with torch.device("meta"):
        unit = c3d().get_submodule("conv1a")
    unit = unit.to_empty(device="cpu")
    torch.nn.init.ones_(unit.conv.weight)
    torch.nn.init.zeros_(unit.conv.bias)
    y = unit(torch.ones(1, 3, 4, 4, 4))[0, 0]
    assert (y[0, 0, 0], y[0, 1, 1], y[1, 1, 1]) == (3 * 8, 3 * 18, 3 * 27)
