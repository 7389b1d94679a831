"""I3D: sizes of its layers, its padding, and the published network's outputs."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cinefeat.extractors.i3d import i3d
from cinefeat.extractors.layers import run_layers
from cinefeat.extractors.networks import Network, load_network
from cinefeat.extractors.weights import find_weights

# endpoint: channels, then T, H, W for 64 frames of 224 x 224
ENDPOINTS = {
    "Conv3d_1a_7x7": (64, 32, 112, 112),
    "MaxPool3d_2a_3x3": (64, 32, 56, 56),
    "Conv3d_2b_1x1": (64, 32, 56, 56),
    "Conv3d_2c_3x3": (192, 32, 56, 56),
    "MaxPool3d_3a_3x3": (192, 32, 28, 28),
    "Mixed_3b": (256, 32, 28, 28),
    "Mixed_3c": (480, 32, 28, 28),
    "MaxPool3d_4a_3x3": (480, 16, 14, 14),
    "Mixed_4b": (512, 16, 14, 14),
    "Mixed_4c": (512, 16, 14, 14),
    "Mixed_4d": (512, 16, 14, 14),
    "Mixed_4e": (528, 16, 14, 14),
    "Mixed_4f": (832, 16, 14, 14),
    "MaxPool3d_5a_2x2": (832, 8, 7, 7),
    "Mixed_5b": (832, 8, 7, 7),
    "Mixed_5c": (1024, 8, 7, 7),
    "AvgPool3d": (1024, 7, 1, 1),
    "features": (1024,),
    "logits": (400,),
}


def _on_meta(n_channels: int, n_frames: int) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        network = i3d(n_channels).eval()
        return run_layers(network, torch.empty(2, n_channels, n_frames, 224, 224), ENDPOINTS)


def test_layers_have_the_published_sizes() -> None:
    outputs = _on_meta(3, 64)
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == ENDPOINTS


@pytest.mark.parametrize("n_frames, times", [(16, (8, 8, 8, 4, 2)), (9, (5, 5, 5, 3, 2))])
def test_time_shrinks_by_rounding_up(n_frames: int, times: tuple[int, ...]) -> None:
    outputs = _on_meta(2, n_frames)
    names = ("Conv3d_1a_7x7", "MaxPool3d_2a_3x3", "Mixed_3c", "Mixed_4f", "Mixed_5c")
    assert tuple(outputs[name].shape[2] for name in names) == times
    assert outputs["AvgPool3d"].shape[2] == 1


@pytest.mark.parametrize("n_channels, count", [(3, 12_697_264), (2, 12_675_312)])
def test_parameters_are_as_many_as_published(n_channels: int, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in i3d(n_channels).parameters()) == count


def test_the_first_convolution_sees_two_rows_of_padding_in_front_and_three_behind() -> None:
    unit = i3d().eval()[0]
    torch.nn.init.ones_(unit.conv.weight)
    y = unit(torch.ones(1, 3, 8, 8, 8))[0, 0]
    inside = [5, 7, 6, 4]  # of 7 taps, from positions -2, 0, 2 and 4 of 8
    expected = 3 * np.einsum("i,j,k->ijk", inside, inside, inside) / np.sqrt(1 + 1e-3)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-6)


def test_branches_of_a_unit_join_in_the_published_order() -> None:
    unit = i3d().eval()[5]
    for k, branch in enumerate(unit.values(), start=1):
        last = list(branch)[-1]
        torch.nn.init.zeros_(last.conv.weight)
        torch.nn.init.constant_(last.norm.bias, k)
    y = unit(torch.rand(1, 192, 2, 3, 3))[0, :, 0, 0, 0]
    assert y.tolist() == [1] * 64 + [2] * 128 + [3] * 32 + [4] * 32


@pytest.fixture(scope="module")
def kinetics() -> Network:
    try:
        find_weights("i3d-kinetics400-rgb")
    except ValueError as error:
        pytest.skip(str(error))
    return load_network("i3d-rgb", "i3d-kinetics400-rgb")


CLIPS = ("v_ApplyEyeMakeup_g01_c01", "v_Bowling_g01_c01", "v_SoccerJuggling_g23_c01")


@pytest.mark.parametrize("clip", CLIPS)
def test_outputs_are_those_of_the_published_network(
    shared: Path, kinetics: Network, clip: str
) -> None:
    reference = np.load(shared / f"reference/i3d/{clip}.npz")
    window = (reference["input16"].astype(np.float32) / 127.5 - 1).transpose(3, 0, 1, 2)
    layers = {"Conv3d_1a_7x7": "conv1a16_mean", "Mixed_4f": "mixed4f16_mean",
              "Mixed_5c": "mixed5c16_mean"}  # fmt: skip
    outputs = kinetics(window[None], layers)
    assert np.abs(outputs["logits"][0] - reference["logits16"]).max() < 2e-3
    for ours, theirs in layers.items():
        mean = outputs[ours][0].mean(axis=(1, 2, 3))
        assert np.abs(mean - reference[theirs]).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("clip, name", [(CLIPS[1], "bowling"), (CLIPS[2], "juggling soccer ball")])
def test_real_clips_are_recognised(shared: Path, kinetics: Network, clip: str, name: str) -> None:
    capture = cv2.VideoCapture(str(shared / f"data/ucf101_clips/{clip}.avi"))
    frames = np.stack([capture.read()[1][..., ::-1] for _ in range(64)])
    outputs = kinetics(kinetics.preprocess(np.ascontiguousarray(frames)))
    scores = np.exp(outputs["logits"][0] - outputs["logits"][0].max())
    assert kinetics.classes[int(scores.argmax())] == name
    assert scores.max() / scores.sum() > 0.95
    reference = np.load(shared / f"reference/i3d/{clip}.npz")["logits64"]
    assert np.abs(outputs["logits"][0] - reference).max() < 2e-3
