"""Flow of videos by MotionNet: stacks, sizes, units."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cinefeat.extractors.imaging import prepare_window, resize_frame
from cinefeat.extractors.motion_flow import MotionFlow
from cinefeat.extractors.networks import build_network
from cinefeat.extractors.spec import InputSpec
from cinefeat.extractors.weights import WeightRecord, weight_bytes

OPTIONS = {"width": 0.05}
SPEC = {"resize": 64, "crop": 64, "feature_size": 20 * 64 * 64}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    body = build_network("motionnet", OPTIONS)
    for parameter in body.get_submodule("flow.levels.flow2").parameters():
        nn.init.normal_(parameter, std=0.02)
    path = tmp_path / "motionnet.safetensors"
    record = WeightRecord("motionnet", options=OPTIONS, spec=SPEC)
    path.write_bytes(weight_bytes(body.state_dict(), record))
    return path


def _frames(n: int, height: int = 72, width: int = 100) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(n)]


@pytest.mark.parametrize("n", [0, 1, 2, 11, 12, 25])
def test_each_pair_has_a_field_of_the_size_of_its_frames(weights: Path, n: int) -> None:
    fields = list(MotionFlow(weights).of_video(iter(_frames(n))))
    assert len(fields) == max(n - 1, 0)
    assert all(field.shape == (72, 100, 2) and field.dtype == np.float32 for field in fields)


def test_a_stack_depends_on_its_own_frames_alone(weights: Path) -> None:
    frames = _frames(25)
    whole = list(MotionFlow(weights).of_video(frames))
    second = list(MotionFlow(weights).of_video(frames[10:21]))
    assert np.array_equal(np.stack(whole[10:20]), np.stack(second))


def test_memory_holds_one_stack(weights: Path) -> None:
    taken = 0

    def stream() -> Iterator[np.ndarray]:
        nonlocal taken
        for frame in _frames(40):
            taken += 1
            yield frame

    next(MotionFlow(weights).of_video(stream()))
    assert taken == 11


def test_frames_of_the_networks_own_size_go_through_unchanged(weights: Path) -> None:
    frames = _frames(11, 64, 64)
    flow = MotionFlow(weights)
    fields = np.stack(list(flow.of_video(frames)))
    window = prepare_window([resize_frame(f, flow._spec) for f in frames], flow._spec)
    with torch.inference_mode():
        expected = flow._body(torch.from_numpy(window))[0].reshape(10, 2, 64, 64)
    assert np.allclose(fields, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)


class _Constant(nn.Module):
    def forward(self, frames: Tensor) -> Tensor:
        steps = torch.tensor([1.0, 2.0] * 10).reshape(1, 20, 1, 1)
        return steps.expand(1, 20, *frames.shape[2:])


def test_displacements_are_scaled_with_the_frame(weights: Path) -> None:
    flow = MotionFlow(weights)
    flow._body = nn.Sequential(_Constant())
    (field,) = flow.of_video(_frames(2, 128, 192))
    assert np.allclose(field, [2.0, 4.0])


def test_a_change_of_colour_order_changes_the_flow(weights: Path, tmp_path: Path) -> None:
    frames = _frames(3)
    (first, _) = MotionFlow(weights).of_video(frames)
    (swapped, _) = MotionFlow(weights).of_video([frame[..., ::-1] for frame in frames])
    assert not np.allclose(first, swapped)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(weight_bytes({"a": torch.zeros(1)}, WeightRecord("c3d")))
    with pytest.raises(ValueError, match="holds weights of 'c3d', not of 'motionnet'"):
        MotionFlow(path)


def test_the_published_input_is_caffes() -> None:
    spec: InputSpec = MotionFlow(None)._spec
    assert (spec.window, spec.mean, spec.std) == (11, (104.0, 117.0, 123.0), (255.0,) * 3)
    assert spec.channel_order == "bgr"
