"""Residual networks: sizes, parameters, and a unit computed literally."""

import pytest
import torch
import torch.nn.functional as F

from cinefeat.extractors.layers import run_layers
from cinefeat.extractors.resnet import resnet

LAYERS = {
    "conv1": (64, 112, 112),
    "pool1": (64, 56, 56),
    "layer1": (256, 56, 56),
    "layer2": (512, 28, 28),
    "layer3": (1024, 14, 14),
    "layer4": (2048, 7, 7),
    "features": (2048,),
    "logits": (1000,),
}


@pytest.mark.parametrize("depth, count", [(50, 25_557_032), (101, 44_549_160), (152, 60_192_808)])
def test_layers_and_parameters_are_the_published(depth: int, count: int) -> None:
    with torch.device("meta"):
        network = resnet(depth).eval()
        outputs = run_layers(network, torch.empty(1, 3, 224, 224), LAYERS)
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == LAYERS
    assert sum(p.numel() for p in network.parameters()) == count


def test_an_unknown_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="depth is 18; choose one of 50, 101, 152"):
        resnet(18)


def test_a_unit_carries_its_stride_on_the_3x3_convolution_and_projects_its_input() -> None:
    torch.manual_seed(0)
    unit = resnet().eval().get_submodule("layer2.0")
    x = torch.randn(1, 256, 9, 9)

    def step(x: torch.Tensor, name: str, stride: int = 1, padding: int = 0) -> torch.Tensor:
        part = unit.get_submodule(name)
        y = F.conv2d(x, part.conv.weight, stride=stride, padding=padding)
        return F.batch_norm(y, part.norm.running_mean, part.norm.running_var,
                            part.norm.weight, part.norm.bias, eps=1e-5)  # fmt: skip

    y = F.relu(step(x, "body.0"))
    y = F.relu(step(y, "body.1", stride=2, padding=1))
    expected = F.relu(step(y, "body.2") + step(x, "shortcut", stride=2))
    torch.testing.assert_close(unit(x), expected)
