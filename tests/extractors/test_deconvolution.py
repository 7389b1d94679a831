"""Projecting activations back to the input: each step alone, and networks whose answer is known."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cinefeat.extractors.c3d import c3d
from cinefeat.extractors.deconvolution import (
    as_pictures,
    pool,
    project_back,
    transposed_convolution,
    unpool,
)
from cinefeat.extractors.layers import ConvUnit, MaxPool, draw_he_weights, named_chain
from cinefeat.extractors.networks import build_network

POOLS = [
    MaxPool((2, 2), (2, 2)),
    MaxPool((3, 3), (2, 2), "ceil"),
    MaxPool((1, 2, 2), (1, 2, 2)),
    MaxPool((2, 2, 2), (2, 2, 2), "ceil"),
    MaxPool((2, 2, 2), (2, 2, 2), (0, 1, 1)),
    MaxPool((3, 3), (2, 2), "same"),
]
UNITS = [
    ConvUnit(3, 4, (3, 3), padding=(1, 1)),
    ConvUnit(3, 4, (3, 3), (2, 2)),
    ConvUnit(4, 6, (3, 2), (2, 3), (0, 1), groups=2),
    ConvUnit(2, 3, (3, 3, 3), padding=(1, 1, 1)),
    ConvUnit(2, 3, (3, 3, 3), (1, 2, 2), has_bias=False),
]


def _input(n_axes: int, n_channels: int = 2) -> Tensor:
    torch.manual_seed(0)
    sizes = (7, 10) if n_axes == 2 else (4, 7, 10)
    return torch.randn(2, n_channels, *sizes, dtype=torch.float64)


@pytest.mark.parametrize("layer", POOLS)
def test_maxima_are_those_of_the_pool_and_go_back_to_their_positions(layer: MaxPool) -> None:
    x = _input(len(layer.kernel))
    pooled = pool(x, layer)
    assert torch.equal(pooled.values, layer(x))
    back = unpool(torch.ones_like(pooled.values), pooled)
    assert back.shape == x.shape
    assert set(x[back > 0].tolist()) == set(pooled.values.flatten().tolist())
    assert back.sum() == pooled.values.numel()  # one place for each maximum


@pytest.mark.parametrize("layer", POOLS)
def test_unpooling_is_what_the_gradient_of_the_pool_does(layer: MaxPool) -> None:
    x = _input(len(layer.kernel)).requires_grad_()
    y = layer(x)
    weights = torch.rand_like(y)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    assert torch.allclose(unpool(weights, pool(x.detach(), layer)), gradient)


@pytest.mark.parametrize("unit", UNITS)
def test_the_transposed_convolution_is_the_adjoint(unit: ConvUnit) -> None:
    unit = unit.double()
    if unit.conv.bias is not None:
        nn.init.zeros_(unit.conv.bias)
    unit.activation = "none"
    z = _input(len(unit.kernel), unit.conv.in_channels)
    with torch.no_grad():
        image = unit(z)
        y = torch.randn_like(image)
        back = transposed_convolution(y, unit, z.shape[2:])
    assert back.shape == z.shape
    assert float((back * z).sum()) == pytest.approx(float((y * image).sum()))


def _detector(patch: Tensor) -> nn.Sequential:
    """One filter, the patch itself, between a pool and a threshold."""
    unit = ConvUnit(1, 1, (3, 3, 3), padding=(1, 1, 1))
    with torch.no_grad():
        unit.conv.weight.copy_(patch[None, None])
        assert unit.conv.bias is not None
        unit.conv.bias.fill_(-0.9 * float((patch**2).sum()))
    return named_chain({"conv1": unit, "pool1": MaxPool((1, 2, 2), (1, 2, 2))}).eval()


PLACES = list(itertools.product((1, 3), (2, 5), (2, 6)))


@pytest.mark.parametrize("layer", ["conv1", "pool1"])
@pytest.mark.parametrize("place", PLACES)
def test_a_filter_that_detects_one_patch_is_projected_to_that_patch(
    place: tuple[int, int, int], layer: str
) -> None:
    torch.manual_seed(1)
    patch = torch.randn(3, 3, 3)
    clip = torch.zeros(1, 1, 5, 8, 9)
    spot = (0, 0, *(slice(p - 1, p + 2) for p in place))
    clip[spot] = patch
    (found,) = project_back(_detector(patch), clip, layer)
    expected = torch.zeros_like(clip)
    expected[spot] = found.activation * patch
    assert found.activation == pytest.approx(0.1 * float((patch**2).sum()), rel=1e-4)
    assert np.allclose(found.pattern, expected[0].numpy(), atol=1e-5)
    scale = (1, 1, 1) if layer == "conv1" else (1, 2, 2)
    assert found.position == tuple(p // s for p, s in zip(place, scale, strict=True))


def _small_c3d(seed: int, is_positive: bool = False) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: dict[str, nn.Module | None] = {}
    n_in = 3
    for block, n_out in ((1, 4), (2, 6), (3, 5)):
        kernel = (1 if block == 1 else 2, 2, 2)
        layers[f"conv{block}"] = ConvUnit(n_in, n_out, (3, 3, 3), padding=(1, 1, 1))
        layers[f"pool{block}"] = MaxPool(kernel, kernel)
        n_in = n_out
    network = named_chain({**layers, "flat": nn.Flatten()}).eval()
    if is_positive:
        for name, parameter in network.named_parameters():
            parameter.data = parameter.abs() if "weight" in name else torch.zeros_like(parameter)
    return network


@pytest.mark.parametrize("layer", ["conv1", "pool2", "conv3"])
def test_where_nothing_is_rectified_away_the_projection_is_the_gradient(layer: str) -> None:
    network = _small_c3d(0, is_positive=True)
    window = torch.rand(1, 3, 4, 12, 12, requires_grad=True)
    x = window
    for name, part in network.named_children():
        x = part(x)
        if name == layer:
            break
    (gradient,) = torch.autograd.grad(x[0, 2].max(), window)
    peak = float(x[0, 2].max().detach())
    (found,) = project_back(network, window.detach(), layer, [2])
    assert found.activation == pytest.approx(peak)
    assert np.allclose(found.pattern, peak * gradient[0].numpy(), rtol=1e-4, atol=1e-7)


def test_the_projection_stays_in_the_receptive_field() -> None:
    network = _small_c3d(3)
    (found,) = project_back(network, torch.randn(1, 3, 4, 24, 24), "conv2", n_strongest=1)
    t, y, x = found.position
    outside = found.pattern.copy()
    # conv2 sees 3 x 3 x 3 of pool1: 6 rows and columns of conv1, which sees one more on each side
    rows = slice(max(2 * (y - 1) - 1, 0), 2 * (y + 1) + 3)
    columns = slice(max(2 * (x - 1) - 1, 0), 2 * (x + 1) + 3)
    outside[:, max(t - 2, 0) : t + 3, rows, columns] = 0
    assert np.abs(found.pattern).max() > 0
    assert not outside.any()


def test_without_a_choice_the_strongest_maps_come_first() -> None:
    network, window = _small_c3d(1), torch.randn(1, 3, 4, 12, 12)
    strongest = project_back(network, window, "conv3", n_strongest=3)
    every = project_back(network, window, "conv3", range(5))
    assert [p.channel for p in every] == [0, 1, 2, 3, 4]
    peaks = sorted((p.activation for p in every), reverse=True)
    assert [p.activation for p in strongest] == peaks[:3]


def test_a_map_that_never_fires_is_projected_to_nothing() -> None:
    network = _small_c3d(1)
    nn.init.constant_(network.get_submodule("conv3").conv.bias, -100)
    (found,) = project_back(network, torch.randn(1, 3, 4, 12, 12), "conv3", [0])
    assert found.activation == 0
    assert not found.pattern.any()


def test_the_window_is_not_changed() -> None:
    window = torch.randn(1, 3, 4, 12, 12)
    before = window.clone()
    project_back(_small_c3d(1), window, "pool3")
    assert torch.equal(window, before)


@pytest.mark.parametrize("layer", ["conv9z", "fc6"])
def test_layers_that_cannot_be_undone_are_refused(layer: str) -> None:
    with torch.device("meta"):
        network = c3d()
    with pytest.raises(ValueError, match=rf"{layer}.*conv1a, pool1, .*conv5b, pool5$"):
        project_back(network, torch.empty(1, 3, 16, 112, 112), layer)


def test_the_deepest_maps_of_c3d_are_projected_to_its_frames() -> None:
    torch.manual_seed(0)
    network = draw_he_weights(c3d(n_classes=None, width=0.05)).eval()
    window = 50 * torch.randn(1, 3, 16, 112, 112)
    found = project_back(network, window, "conv5b", n_strongest=2)
    assert found[0].activation >= found[1].activation > 0
    for one in found:
        assert one.pattern.shape == (3, 16, 112, 112)
        assert one.pattern.any()


def test_vgg16_can_be_projected_too() -> None:
    torch.manual_seed(0)
    network = draw_he_weights(build_network("vgg16-spatial", {"width": 0.05, "size": 32})).eval()
    (found,) = project_back(network, torch.randn(1, 3, 32, 32), "conv5_3", n_strongest=1)
    assert found.pattern.shape == (3, 32, 32)


def test_batch_norm_and_unknown_maps_are_refused() -> None:
    network = named_chain({"conv1": ConvUnit(3, 2, (3, 3), norm_eps=1e-3)})
    with pytest.raises(ValueError, match=r"cannot be undone; .* are none"):
        project_back(network, torch.zeros(1, 3, 8, 8), "conv1")
    with pytest.raises(ValueError, match="no map 5; the layer has maps 0 to 4"):
        project_back(_small_c3d(0), torch.zeros(1, 3, 4, 12, 12), "conv3", [5])


def test_pictures_are_grey_where_nothing_is_and_in_rgb_order() -> None:
    pattern = np.zeros((3, 2, 1, 2), np.float32)
    pattern[0, 1, 0, 0] = 2.0  # blue
    pattern[2, 1, 0, 0] = -1.0
    pictures = as_pictures(pattern, "bgr")
    assert pictures.shape == (2, 1, 2, 3)
    assert pictures[0].tolist() == [[[128] * 3] * 2]
    assert pictures[1, 0, 0].tolist() == [64, 128, 255]
    assert (as_pictures(np.zeros_like(pattern)) == 128).all()
