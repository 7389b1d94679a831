"""CNN-M-2048 and VGG-16: sizes, response normalisation, and a literal forward pass."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cinefeat.extractors.imaging import preprocess
from cinefeat.extractors.layers import run_layers
from cinefeat.extractors.networks import NETWORKS
from cinefeat.extractors.two_stream import cnn_m, vgg16

CNN_M = {
    "conv1": (96, 109, 109),
    "pool1": (96, 54, 54),
    "conv2": (256, 26, 26),
    "pool2": (256, 13, 13),
    "conv5": (512, 13, 13),
    "pool5": (512, 6, 6),
    "fc6": (4096,),
    "fc7": (2048,),
    "logits": (101,),
}
VGG16 = {
    "conv1_2": (64, 224, 224),
    "conv2_2": (128, 112, 112),
    "conv3_3": (256, 56, 56),
    "conv4_3": (512, 28, 28),
    "conv5_3": (512, 14, 14),
    "pool5": (512, 7, 7),
    "fc6": (4096,),
    "fc7": (4096,),
    "logits": (101,),
}


@pytest.mark.parametrize("n_channels", [3, 20])
@pytest.mark.parametrize("build, layers", [(cnn_m, CNN_M), (vgg16, VGG16)])
def test_layers_have_the_published_sizes(build: type, layers: dict, n_channels: int) -> None:
    with torch.device("meta"):
        network = build(n_channels).eval()
        outputs = run_layers(network, torch.empty(1, n_channels, 224, 224), layers)
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == layers


def test_vgg16_has_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in vgg16(3, 1000).parameters()) == 138_357_544


def test_the_temporal_network_has_one_response_normalisation() -> None:
    with torch.device("meta"):
        assert hasattr(cnn_m(), "norm2")
        assert not hasattr(cnn_m(20, has_second_norm=False), "norm2")


def test_responses_are_normalised_over_five_channels() -> None:
    with torch.device("meta"):
        norm = cnn_m().get_submodule("norm1")
    x = torch.full((1, 96, 1, 1), 100.0)
    expected = 100 / (2 + 1e-4 * 5 * 100**2) ** 0.75
    assert norm(x)[0, 48].item() == pytest.approx(expected, rel=1e-5)
    at_the_edge = 100 / (2 + 1e-4 * 3 * 100**2) ** 0.75
    assert norm(x)[0, 0].item() == pytest.approx(at_the_edge, rel=1e-5)


def test_the_first_block_is_its_layers_one_after_the_other(rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    with torch.device("meta"):
        block = vgg16(20)[:3]
    block = block.to_empty(device="cpu").eval()
    x = stack = torch.from_numpy(rng.normal(size=(1, 20, 33, 33)).astype(np.float32))
    for name in ("conv1_1", "conv1_2"):
        conv = block.get_submodule(name).conv
        torch.nn.init.normal_(conv.weight, std=0.05)
        torch.nn.init.normal_(conv.bias)
        x = F.relu(F.conv2d(x, conv.weight, conv.bias, padding=1))
    expected = F.max_pool2d(x, 2)
    torch.testing.assert_close(block(stack), expected)
    assert (block(stack.flip(1)) - expected).abs().max() > 0.1  # the order of fields matters


def test_rgb_enters_vgg16_in_that_order_with_imagenets_mean_and_deviation() -> None:
    red = np.tile(np.array([255, 0, 0], np.uint8), (1, 256, 340, 1))
    window = preprocess(red, NETWORKS["vgg16-spatial"].spec)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert window[0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)


def test_blue_enters_cnn_m_first() -> None:
    red = np.tile(np.array([255, 0, 0], np.uint8), (1, 256, 340, 1))
    window = preprocess(red, NETWORKS["cnn-m-spatial"].spec)
    assert window[0, :, 0, 0].tolist() == pytest.approx([-103.939, -116.779, 255 - 123.68])
