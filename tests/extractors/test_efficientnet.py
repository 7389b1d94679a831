"""EfficientNet-Lite0: sizes, padding, and recognition with the published weights."""

import numpy as np
import pytest
import torch

from cinefeat.extractors.efficientnet import efficientnet_lite0
from cinefeat.extractors.layers import Residual, run_layers
from cinefeat.extractors.networks import load_network
from cinefeat.extractors.weights import find_weights

LAYERS = {
    "stem": (32, 112, 112),
    "block0": (16, 112, 112),
    "block2": (24, 56, 56),
    "block4": (40, 28, 28),
    "block7": (80, 14, 14),
    "block10": (112, 14, 14),
    "block14": (192, 7, 7),
    "block15": (320, 7, 7),
    "head": (1280, 7, 7),
    "features": (1280,),
    "logits": (1000,),
}


def test_layers_and_parameters_are_the_published() -> None:
    with torch.device("meta"):
        network = efficientnet_lite0().eval()
        outputs = run_layers(network, torch.empty(1, 3, 224, 224), LAYERS)
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == LAYERS
    assert sum(p.numel() for p in network.parameters()) == 4_652_008


def test_blocks_of_equal_size_add_their_input() -> None:
    with torch.device("meta"):
        blocks = [efficientnet_lite0().get_submodule(f"block{k}") for k in range(16)]
    residual = [k for k, block in enumerate(blocks) if isinstance(block, Residual)]
    assert residual == [2, 4, 6, 7, 9, 10, 12, 13, 14]


def test_the_stem_is_padded_behind_and_capped_at_six() -> None:
    stem = efficientnet_lite0().eval().get_submodule("stem")
    torch.nn.init.ones_(stem.conv.weight)
    y = stem(torch.full((1, 3, 4, 4), 0.1))[0, 0]
    expected = 0.3 * np.outer([3, 2], [3, 2]) / np.sqrt(1 + 1e-3)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-5)
    assert stem(torch.ones(1, 3, 4, 4)).max().item() == 6


def test_a_cup_of_coffee_and_a_cat_are_recognised() -> None:
    data = pytest.importorskip("skimage.data")
    try:
        find_weights("efficientnet-lite0-imagenet")
    except ValueError as error:
        pytest.skip(str(error))
    network = load_network("efficientnet-lite0", "efficientnet-lite0-imagenet")
    windows = [network.preprocess(image[None]) for image in (data.coffee(), data.chelsea())]
    scores = torch.from_numpy(network(np.concatenate(windows))["logits"]).softmax(1)
    assert scores[0].argmax() == 967  # espresso
    assert scores[0, 967] > 0.9
    assert scores[1, [281, 282, 285]].sum() > 0.8  # tabby, tiger cat, Egyptian cat
