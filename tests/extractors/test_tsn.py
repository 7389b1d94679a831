"""BN-Inception: sizes, Caffe's rounding, its pools; and the consensus over segments."""

import numpy as np
import pytest
import torch

from cinefeat.extractors.imaging import preprocess
from cinefeat.extractors.layers import run_layers
from cinefeat.extractors.networks import NETWORKS
from cinefeat.extractors.tsn import bn_inception, segment_consensus

LAYERS = {
    "conv1_7x7_s2": (64, 112, 112),
    "pool1_3x3_s2": (64, 56, 56),
    "conv2_3x3": (192, 56, 56),
    "pool2_3x3_s2": (192, 28, 28),
    "inception_3a": (256, 28, 28),
    "inception_3b": (320, 28, 28),
    "inception_3c": (576, 14, 14),
    "inception_4a": (576, 14, 14),
    "inception_4b": (576, 14, 14),
    "inception_4c": (608, 14, 14),
    "inception_4d": (608, 14, 14),
    "inception_4e": (1056, 7, 7),
    "inception_5a": (1024, 7, 7),
    "inception_5b": (1024, 7, 7),
    "global_pool": (1024,),
}


@pytest.mark.parametrize("n_channels", [3, 10, 15])
def test_layers_have_the_published_sizes(n_channels: int) -> None:
    with torch.device("meta"):
        network = bn_inception(n_channels).eval()
        outputs = run_layers(network, torch.empty(1, n_channels, 224, 224), LAYERS)
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == LAYERS


def test_parameters_are_as_many_as_published() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in bn_inception(3, 1000).parameters()) == 11_295_240


def _pool_of(unit: str) -> torch.nn.Module:
    return bn_inception().get_submodule(f"{unit}.pool.0")


def test_average_pools_count_their_padding_and_the_last_unit_takes_the_maximum() -> None:
    ones = torch.ones(1, 1, 7, 7)
    assert _pool_of("inception_4a")(ones)[0, 0, 0, 0].item() == pytest.approx(4 / 9)
    assert _pool_of("inception_5b")(ones)[0, 0, 0, 0].item() == 1
    assert _pool_of("inception_5b")(-ones)[0, 0, 0, 0].item() == -1


@pytest.mark.parametrize("name", ["pool1_3x3_s2", "inception_3c.pool.0"])
def test_pools_begin_at_the_first_row_and_reach_the_last(name: str) -> None:
    pool = bn_inception().get_submodule(name)
    rows = torch.arange(8.0)[:, None].expand(1, 1, 8, 8)
    assert pool(rows)[0, 0, :, 0].tolist() == [2, 4, 6, 7]


def test_branches_of_a_unit_join_in_the_published_order() -> None:
    unit = bn_inception().eval().get_submodule("inception_3a")
    for k, branch in enumerate(unit.children(), start=1):
        last = list(branch.children())[-1]
        torch.nn.init.zeros_(last.conv.weight)
        torch.nn.init.zeros_(last.conv.bias)
        torch.nn.init.constant_(last.norm.bias, k)
    y = unit(torch.rand(1, 192, 3, 3))[0, :, 0, 0]
    assert y.tolist() == [1] * 64 + [2] * 64 + [3] * 96 + [4] * 32


def test_red_enters_last() -> None:
    red = np.tile(np.array([200, 0, 0], np.uint8), (1, 256, 340, 1))
    window = preprocess(red, NETWORKS["tsn-rgb"].spec)
    assert window[0, :, 0, 0].tolist() == [-104, -117, 200 - 128]


@pytest.mark.parametrize(
    "rule, weights, expected",
    [("mean", None, [2, 1]), ("max", None, [3, 2]), ("weighted", [0, 2], [3, 0])],
)
def test_consensus_joins_segments(rule: str, weights: list | None, expected: list) -> None:
    scores = np.array([[1.0, 2.0], [3.0, 0.0]])
    joined = segment_consensus(scores, rule, weights)  # type: ignore[arg-type]
    assert joined.tolist() == expected


@pytest.mark.parametrize(
    "scores, rule, weights, message",
    [
        (np.zeros((0, 3)), "mean", None, "one row for each segment"),
        (np.zeros(3), "mean", None, "one row for each segment"),
        (np.zeros((2, 3)), "median", None, "'median'"),
        (np.zeros((2, 3)), "weighted", [1.0], "2 numbers >= 0"),
        (np.zeros((2, 3)), "weighted", [0.0, 0.0], "not all 0"),
        (np.zeros((2, 3)), "weighted", None, "weights are None"),
    ],
)
def test_senseless_consensus_is_refused(
    scores: np.ndarray, rule: str, weights: list | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        segment_consensus(scores, rule, weights)  # type: ignore[arg-type]
