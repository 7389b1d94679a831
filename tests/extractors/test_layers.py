"""The building blocks: paddings by rule, pools, branches, layers by name."""

import pytest
import torch
from torch import nn

from cinefeat.extractors.layers import (
    Branches,
    ConvUnit,
    MaxPool,
    Mean,
    Residual,
    ceil_padding,
    chain,
    named_chain,
    run_layers,
    same_padding,
)


@pytest.mark.parametrize("size", range(1, 15))
@pytest.mark.parametrize("kernel, stride", [(1, 1), (2, 2), (3, 1), (3, 2), (7, 2)])
def test_same_padding_gives_one_output_a_stride(size: int, kernel: int, stride: int) -> None:
    front, behind = same_padding(size, kernel, stride)
    assert (size + front + behind - kernel) // stride + 1 == -(-size // stride)
    assert behind - front in (0, 1)


@pytest.mark.parametrize("size", range(3, 15))
@pytest.mark.parametrize("kernel, stride", [(2, 2), (3, 2), (3, 1)])
def test_ceil_padding_is_torchs_ceil_mode(size: int, kernel: int, stride: int) -> None:
    x = torch.randn(1, 1, size, size)
    pool = MaxPool((kernel, kernel), (stride, stride), "ceil")
    expected = nn.functional.max_pool2d(x, kernel, stride, ceil_mode=True)
    assert torch.equal(pool(x), expected)
    assert ceil_padding(size, kernel, stride)[0] == 0


def test_padding_of_a_pool_never_wins() -> None:
    pool = MaxPool((3, 3), (2, 2), "same")
    assert (pool(torch.full((1, 1, 5, 5), -2.0)) == -2).all()


def test_a_unit_is_padding_convolution_norm_and_relu() -> None:
    unit = ConvUnit(1, 1, (2,) * 2, norm_eps=0.5, has_bias=False).eval()
    nn.init.ones_(unit.conv.weight)
    assert unit.norm is not None
    nn.init.constant_(unit.norm.bias, -5.0)
    y = unit(torch.ones(1, 1, 2, 2)).flatten().tolist()
    # zeros behind, so sums 4, 2, 2, 1; divided by sqrt(1 + 0.5), less 5, rectified
    assert y == [0, 0, 0, 0]
    nn.init.constant_(unit.norm.bias, -1.0)
    expected = [4 / 1.5**0.5 - 1, 2 / 1.5**0.5 - 1, 2 / 1.5**0.5 - 1, 0]
    assert unit(torch.ones(1, 1, 2, 2)).flatten().tolist() == pytest.approx(expected)


def test_branches_join_in_order() -> None:
    branches = Branches({"b": chain(nn.Identity()), "a": chain(nn.ReLU())})
    x = torch.tensor([[-1.0]])
    assert branches(x).tolist() == [[-1, 0]]


def test_a_residual_adds_its_input_and_may_rectify() -> None:
    x = torch.tensor([[-1.0, 2.0]])
    double = chain(nn.Identity())
    assert Residual(double, None, is_rectified=False)(x).tolist() == [[-2, 4]]
    assert Residual(double, nn.ReLU(), is_rectified=True)(x).tolist() == [[0, 4]]


def test_only_the_layers_up_to_the_last_wanted_run() -> None:
    class Refusing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("ran too far")

    network = named_chain({"mean": Mean(), "none": None, "after": Refusing()})
    found = run_layers(network, torch.ones(2, 3, 4, 5), {"mean"})
    assert found["mean"].tolist() == [[1, 1, 1], [1, 1, 1]]
