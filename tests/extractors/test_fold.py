"""The fast form of every network against the plain one, and each of its parts."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cinefeat.extractors import fold
from cinefeat.extractors.fold import (
    AxisMaxPool,
    FoldedConv,
    MergedBranches,
    TemporalWinogradConv,
    inference_form,
)
from cinefeat.extractors.layers import Branches, ConvUnit, MaxPool, chain
from cinefeat.extractors.networks import build_network


def with_statistics(network: nn.Module) -> nn.Module:
    """Give batch norms statistics and weights that change their input, as training does."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.25, 1)
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval().requires_grad_(False)


# odd sizes make asymmetric padding and windows that reach beyond the edge
@pytest.mark.parametrize(
    "name, shape",
    [
        ("i3d-rgb", (2, 3, 11, 197, 203)),
        ("tsn-flow", (2, 10, 225, 230)),
        ("efficientnet-lite0", (2, 3, 97, 130)),
        ("resnet50", (2, 3, 97, 130)),
    ],
)
def test_the_fast_form_has_the_plain_forms_outputs(name: str, shape: tuple[int, ...]) -> None:
    plain = with_statistics(build_network(name))
    fast = inference_form(copy.deepcopy(plain))  # type: ignore[arg-type]
    assert [n for n, _ in fast.named_children()] == [n for n, _ in plain.named_children()]
    x = torch.randn(shape)
    y = x
    with torch.inference_mode():
        for slow_layer, fast_layer in zip(plain.children(), fast.children(), strict=True):
            x, y = slow_layer(x), fast_layer(y)
            torch.testing.assert_close(y, x, atol=1e-4 * x.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize(
    "name, shape", [("i3d-flow", (1, 2, 9, 197, 203)), ("tsn-flow", (1, 10, 225, 230))]
)
def test_the_form_for_other_devices_has_the_same_outputs(
    name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = with_statistics(build_network(name))
    monkeypatch.setattr(fold, "_is_on_cpu", lambda network: False)
    fast = inference_form(copy.deepcopy(plain))  # type: ignore[arg-type]
    assert not {type(m) for m in fast.modules()} & {AxisMaxPool, TemporalWinogradConv}
    x = torch.randn(shape)
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), plain(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["i3d-rgb", "efficientnet-lite0"])
def test_no_norm_and_no_separate_pool_is_left(name: str) -> None:
    fast = inference_form(build_network(name).eval())
    left = {type(module) for module in fast.modules()}
    assert not left & {ConvUnit, MaxPool, Branches, nn.BatchNorm2d, nn.BatchNorm3d}
    assert FoldedConv in left


@pytest.mark.parametrize("n_frames", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("has_bias", [True, False])
def test_winograds_filtering_is_the_convolution(n_frames: int, has_bias: bool) -> None:
    torch.manual_seed(n_frames)
    unit = ConvUnit(5, 6, (3, 3, 3), has_bias=has_bias, activation="none")
    x = torch.randn(2, 5, n_frames, 6, 7)
    with torch.inference_mode():
        fast = TemporalWinogradConv(unit.conv.weight, unit.conv.bias, unit)
        expected = F.conv3d(x, unit.conv.weight, unit.conv.bias, padding=1)
        torch.testing.assert_close(fast(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(5, 6, 7), (4, 8, 8), (1, 3, 9)])
@pytest.mark.parametrize(
    "kernel, stride, padding",
    [
        ((1, 3, 3), (1, 2, 2), "same"),
        ((3, 3, 3), (1, 1, 1), "same"),
        ((3, 3, 3), (2, 2, 2), "same"),
        ((2, 2, 2), (2, 2, 2), "same"),
        ((1, 3, 3), (1, 2, 2), "ceil"),
        ((1, 2, 2), (1, 2, 2), (0, 1, 1)),
        ((1, 2, 2), (1, 2, 2), None),
        ((1, 1, 1), (1, 2, 2), None),
    ],
)
def test_a_maximum_axis_by_axis_is_the_maximum(
    size: tuple, kernel: tuple, stride: tuple, padding: object
) -> None:
    torch.manual_seed(0)
    pool = MaxPool(kernel, stride, padding)  # type: ignore[arg-type]
    x = torch.randn(2, 3, *size) - 5
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        assert torch.equal(AxisMaxPool(pool)(x.contiguous(memory_format=layout)), pool(x))


def test_pooling_leaves_its_input_alone() -> None:
    x = torch.randn(1, 2, 4, 6, 6)
    before = x.clone()
    AxisMaxPool(MaxPool((3, 3, 3), (1, 1, 1), "same"))(x)
    assert torch.equal(x, before)


def test_only_leading_pointwise_convolutions_are_merged() -> None:
    branches = with_statistics(
        Branches(
            {
                "a": chain(MaxPool((3, 3), (1, 1), "same"), ConvUnit(4, 2, (1, 1))),
                "b": chain(ConvUnit(4, 3, (1, 1), norm_eps=1e-3), ConvUnit(3, 2, (3, 3))),
                "c": chain(ConvUnit(4, 5, (1, 1))),
                "d": chain(ConvUnit(4, 2, (1, 1), (2, 2), (0, 0)), nn.Upsample(scale_factor=2)),
            }
        )
    )
    x = torch.randn(2, 4, 6, 6)
    expected = branches(x)
    fast = inference_form(nn.Sequential(branches))
    assert isinstance(fast[0], MergedBranches)
    assert fast[0].sizes == [0, 3, 5, 0]
    torch.testing.assert_close(fast(x), expected)
