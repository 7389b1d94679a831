"""DenseNet: sizes, parameters, and a layer and a transition computed literally."""

import pytest
import torch
import torch.nn.functional as F

from cinefeat.extractors.densenet import DenseLayer, densenet, transition
from cinefeat.extractors.fold import inference_form
from cinefeat.extractors.layers import run_layers

LAYERS = {
    "conv0": (64, 112, 112),
    "pool0": (64, 56, 56),
    "denseblock1": (256, 56, 56),
    "transition1": (128, 28, 28),
    "denseblock2": (512, 28, 28),
    "transition2": (256, 14, 14),
    "denseblock3": (1024, 14, 14),
    "transition3": (512, 7, 7),
    "denseblock4": (1024, 7, 7),
    "norm5": (1024, 7, 7),
    "features": (1024,),
    "logits": (1000,),
}
COUNTS = {121: 7_978_856, 161: 28_681_000, 169: 14_149_480, 201: 20_013_928}


def test_layers_are_the_published() -> None:
    with torch.device("meta"):
        outputs = run_layers(densenet().eval(), torch.empty(1, 3, 224, 224), LAYERS)
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == LAYERS


@pytest.mark.parametrize("depth, count", COUNTS.items())
def test_parameters_are_the_published(depth: int, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in densenet(depth).parameters()) == count


@pytest.mark.parametrize("n_axes", [2, 3])
def test_a_layer_adds_to_its_input_what_it_computes(n_axes: int) -> None:
    torch.manual_seed(0)
    layer = DenseLayer(6, 4, n_axes).eval()
    for norm in (layer.norm1.norm, layer.conv1.norm):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 6, *(5,) * n_axes)
    convolve = F.conv2d if n_axes == 2 else F.conv3d
    step = layer.norm1.norm
    y = F.relu(F.batch_norm(x, step.running_mean, step.running_var, step.weight, step.bias))
    y = convolve(y, layer.conv1.conv.weight)
    step = layer.conv1.norm
    y = F.relu(F.batch_norm(y, step.running_mean, step.running_var, step.weight, step.bias))
    y = convolve(y, layer.conv2.conv.weight, padding=1)
    torch.testing.assert_close(layer(x), torch.cat([x, y], 1))


def test_a_transition_halves_channels_and_sides() -> None:
    step = transition(8, 2).eval()
    x = torch.randn(1, 8, 6, 4)
    y = F.conv2d(F.relu(x / (1 + 1e-5) ** 0.5), step.conv.conv.weight)
    torch.testing.assert_close(step(x), F.avg_pool2d(y, 2))


def test_the_form_for_inference_gives_the_same_outputs() -> None:
    torch.manual_seed(0)
    network = densenet(width=0.125, n_classes=5)
    x = torch.randn(4, 3, 64, 64)
    network(x)  # running statistics that are not 0 and 1
    network.eval()
    with torch.inference_mode():
        expected = network(x).clone()
        torch.testing.assert_close(inference_form(network)(x), expected, atol=1e-4, rtol=1e-3)


def test_an_unknown_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="depth is 18; choose one of 121, 161, 169, 201"):
        densenet(18)
