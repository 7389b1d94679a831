"""MotionNet and the stream stacked on it: sizes, parameters, scales, and that they learn."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cinefeat.extractors.motion_losses import motion_losses
from cinefeat.extractors.motionnet import (
    LEVELS,
    FlowCodes,
    FullFlow,
    MotionNet,
    bilinear_kernel,
    flows_and_scores,
    hidden_two_stream,
    in_pixels,
    motionnet,
)
from cinefeat.extractors.networks import load_plain
from cinefeat.extractors.weights import WeightRecord, weight_bytes

# facts sheet: name -> inputs, outputs, kernel, has a bias; in the order of the network
LAYERS = {
    "conv1": (33, 64, 3, True), "conv1_1": (64, 64, 3, True),
    "conv2": (64, 128, 3, True), "conv2_1": (128, 128, 3, True),
    "conv3": (128, 256, 3, True), "conv3_1": (256, 256, 3, True),
    "conv4": (256, 512, 3, True), "conv4_1": (512, 512, 3, True),
    "conv5": (512, 512, 3, True), "conv5_1": (512, 512, 3, True),
    "conv6": (512, 1024, 3, True), "conv6_1": (1024, 1024, 3, True),
    "flow6": (1024, 20, 3, True),
    "deconv5": (1024, 512, 4, False), "upflow5": (20, 20, 4, False),
    "smooth5": (512 + 512 + 20, 512, 3, True), "flow5": (512, 20, 3, True),
    "deconv4": (512, 256, 4, False), "upflow4": (20, 20, 4, False),
    "smooth4": (512 + 256 + 20, 256, 3, True), "flow4": (256, 20, 3, True),
    "deconv3": (256, 128, 4, False), "upflow3": (20, 20, 4, False),
    "smooth3": (256 + 128 + 20, 128, 3, True), "flow3": (128, 20, 3, True),
    "deconv2": (128, 64, 4, False), "upflow2": (20, 20, 4, False),
    "smooth2": (128 + 64 + 20, 64, 3, True), "flow2": (64, 20, 3, True),
}  # fmt: skip
N_PARAMETERS = 42_318_820


def _parameters(n_in: int, n_out: int, kernel: int, has_bias: bool) -> int:
    return n_in * n_out * kernel**2 + n_out * has_bias


def test_layers_and_parameters_are_the_published() -> None:
    with torch.device("meta"):
        network = MotionNet()
    found = {
        name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()
    }
    assert found == {name: _parameters(*sizes) for name, sizes in LAYERS.items()}
    assert sum(found.values()) == N_PARAMETERS


def test_flows_of_ten_pairs_have_the_published_sizes() -> None:
    with torch.device("meta"):
        flows = MotionNet()(torch.empty(2, 33, 224, 224))
    sides = [7, 14, 28, 56, 112]
    assert [tuple(flow.shape) for flow in flows] == [(2, 20, side, side) for side in sides]


def test_the_temporal_stream_has_the_published_sizes() -> None:
    with torch.device("meta"):
        network = hidden_two_stream().eval()
        flows, scores = flows_and_scores(network, torch.empty(1, 33, 224, 224))
    assert len(flows) == 5
    assert tuple(scores.shape) == (1, 101)
    n_vgg16 = 138_357_544 + 17 * 64 * 9 - 899 * (4096 + 1)  # 20 channels in, 101 classes out
    assert sum(p.numel() for p in network.parameters()) == N_PARAMETERS + n_vgg16


@pytest.mark.parametrize("level, factor", [(6, 0.625), (5, 1.25), (4, 2.5), (3, 5), (2, 10)])
def test_raw_outputs_have_the_published_scales(level: int, factor: float) -> None:
    assert in_pixels(torch.tensor(2.0), level) == 2 * factor


def test_the_same_motion_is_halved_from_level_to_level() -> None:
    # a raw output means the same share of the frame everywhere, so that it can be passed up
    assert [in_pixels(torch.tensor(1.0), n) * 2 ** (n - 1) for n in LEVELS] == [20] * 5


def test_codes_are_those_of_flow_images_less_128() -> None:
    pixels = torch.tensor([-30.0, -20.0, 0.0, 1.0, 20.0, 30.0]).reshape(1, 6, 1, 1)
    half = (pixels / 2).expand(1, 6, 4, 4)  # at half the input's size
    codes = FlowCodes(MotionNet(4, 0.02)).of_levels((half,))
    assert codes.shape == (1, 6, 8, 8)
    assert torch.allclose(codes[0, :, 3, 3], torch.tensor([-128, -128, -0.5, 5.875, 127, 127]))


def test_full_flow_is_in_pixels_of_the_input() -> None:
    flow = FullFlow(MotionNet(2, 0.02)).of_levels((torch.full((1, 2, 4, 4), 1.5),))
    assert torch.equal(flow, torch.full((1, 2, 8, 8), 3.0))


def test_upsampling_starts_as_bilinear() -> None:
    x = torch.rand(1, 3, 5, 6)
    up = F.conv_transpose2d(x, bilinear_kernel(3), stride=2, padding=1)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.allclose(up[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-6)


def test_both_losses_reach_every_parameter() -> None:
    torch.manual_seed(0)
    network = hidden_two_stream(3, 4, 0.05, size=32)
    frames = torch.rand(2, 9, 32, 32) - 0.5
    flows, scores = flows_and_scores(network, frames)
    loss = motion_losses(flows, frames)["loss"] + F.cross_entropy(scores, torch.tensor([1, 3]))
    loss.backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not without


def test_unsupervised_losses_alone_reach_every_parameter_of_motionnet() -> None:
    torch.manual_seed(0)
    network = MotionNet(3, 0.05)
    frames = torch.rand(2, 9, 64, 64) - 0.5
    motion_losses(network(frames), frames)["loss"].backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not without


def test_the_whole_runs_as_its_parts() -> None:
    torch.manual_seed(0)
    network = hidden_two_stream(3, 4, 0.05, size=32).eval()
    frames = torch.rand(2, 9, 32, 32)
    assert torch.equal(network(frames), flows_and_scores(network, frames)[1])


@pytest.mark.parametrize("size", [(32, 40), (33, 64)])
def test_sides_that_cannot_be_halved_five_times_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        motionnet(2, 0.02)(torch.zeros(1, 6, *size))


@pytest.mark.parametrize("n_frames, width", [(1, 1.0), (2, 0.0)])
def test_impossible_sizes_are_refused(n_frames: int, width: float) -> None:
    with pytest.raises(ValueError, match="n_frames"):
        MotionNet(n_frames, width)


def _clips(n: int, n_frames: int, size: int) -> Tensor:
    """Frames of blurred noise, each clip moving by whole pixels in its own direction."""
    torch.manual_seed(1)
    still = F.avg_pool2d(torch.rand(n, 3, size + 4, size + 4), 5, 1)
    still = (still - still.mean()) / (4 * still.std())
    steps = [(k % 5 - 2, k % 3 - 1) for k in range(n)]
    clips = [
        torch.cat([one.roll((t * y, t * x), (1, 2)) for t in range(n_frames)])
        for one, (x, y) in zip(still, steps, strict=True)
    ]
    return torch.stack(clips)


def test_ten_clips_are_learned_by_heart_through_their_flow() -> None:
    clips, labels = _clips(10, 3, 32), torch.arange(10) % 5
    torch.manual_seed(0)
    network = hidden_two_stream(3, 5, 0.1, size=32, dropout=(0.0, 0.0))
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(120):
        flows, scores = flows_and_scores(network, clips)
        error = F.cross_entropy(scores, labels)
        if error < 0.1:
            break
        optimiser.zero_grad()
        (error + 0.01 * motion_losses(flows, clips)["loss"]).backward()
        optimiser.step()
    with torch.no_grad():
        assert torch.equal(network.eval()(clips).argmax(1), labels)


@pytest.mark.parametrize("name", ["motionnet", "hidden-temporal"])
def test_a_stored_network_is_the_same_network(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"n_frames": 3, "width": 0.05}
    if name == "hidden-temporal":
        options |= {"n_classes": 4, "size": 64}
    network = (motionnet if name == "motionnet" else hidden_two_stream)(**options).eval()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(weight_bytes(network.state_dict(), WeightRecord(name, options=options)))
    loaded, _, _ = load_plain(name, path)
    frames = torch.rand(1, 9, 64, 64)
    stored = loaded.state_dict()
    assert all(torch.equal(stored[n], tensor) for n, tensor in network.state_dict().items())
    assert torch.allclose(loaded.eval()(frames), network(frames), atol=1e-6)
