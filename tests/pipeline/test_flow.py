"""The flow stage with a trained MotionNet: stored as other flow is, identified by its weights."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cinefeat.extractors.motion_flow import MotionFlow
from cinefeat.extractors.networks import build_network
from cinefeat.extractors.weights import WeightRecord, weight_bytes
from cinefeat.pipeline.errors import ClipError, InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.plan import plan
from cinefeat.pipeline.protocol import Fold
from cinefeat.pipeline.settings import MotionNetFlowSettings, Recipe
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.flow import read_fields, run
from cinefeat.pipeline.store import ProductWriter, read_arrays
from cinefeat.pipeline.video import VideoReader

SIDE = 64
FOLD = Fold("all", train=("c",), test=())


def write_motionnet(path: Path, seed: int = 0) -> Path:
    """Write the weights of a small MotionNet whose flow is not 0."""
    torch.manual_seed(seed)
    body = build_network("motionnet", {"width": 0.05})
    torch.nn.init.normal_(body.get_submodule("flow.levels.flow2").weight, std=0.02)
    changes = {"resize": SIDE, "crop": SIDE, "feature_size": 20 * SIDE**2}
    record = WeightRecord("motionnet", "a test", {"width": 0.05}, changes)
    path.write_bytes(weight_bytes(body.state_dict(), record))
    return path


def write_video(path: Path, n_frames: int) -> Clip:
    """Write a video of noise."""
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 72))
    for _ in range(n_frames):
        writer.write(rng.integers(0, 256, (72, 96, 3), np.uint8))
    writer.release()
    return Clip("c", path, "x")


def _stored(clip: Clip, settings: MotionNetFlowSettings, folder: Path) -> Path:
    target = folder / "flow.h5"
    job = Job("flow", target, settings, (clip,), {}, {}, "c")
    with ProductWriter(target, {}) as product:
        run(job, product)
    return target


@pytest.mark.parametrize("storage, tolerance", [("uint8", 0.08), ("float16", 0.01)])
def test_motionnet_is_stored_like_other_flow(
    tmp_path: Path, storage: str, tolerance: float
) -> None:
    weights = write_motionnet(tmp_path / "motionnet.safetensors")
    clip = write_video(tmp_path / "c.avi", 14)
    settings = MotionNetFlowSettings(method="motionnet", weights=str(weights), storage=storage)  # type: ignore[arg-type]
    product = _stored(clip, settings, tmp_path)
    with VideoReader(clip.path) as video:
        expected = np.stack(list(MotionFlow(weights).of_video(frame for frame, _, _ in video)))
    found = np.stack(list(read_fields(product)))
    assert found.shape == (13, 72, 96, 2)
    assert np.abs(expected).max() > 0.5
    assert np.allclose(found, np.clip(expected, -20, 20), atol=tolerance)
    times = read_arrays(product, ["frame", "seconds"])
    assert times["frame"].tolist() == list(range(13))
    assert np.allclose(times["seconds"], np.arange(13) / 25)


def test_a_video_of_one_frame_is_a_clips_failure(tmp_path: Path) -> None:
    weights = write_motionnet(tmp_path / "motionnet.safetensors")
    settings = MotionNetFlowSettings(method="motionnet", weights=str(weights))
    with pytest.raises(ClipError, match="flow needs two"):
        _stored(write_video(tmp_path / "c.avi", 1), settings, tmp_path)


def _recipe(weights: Path, origin: str = "") -> Recipe:
    flow = MotionNetFlowSettings(method="motionnet", weights=str(weights), origin=origin)
    return Recipe(name="x", title="x", source="x", flow=flow)


def test_other_weights_are_another_identity(tmp_path: Path) -> None:
    clip = Clip("c", tmp_path / "c.avi", "x")
    digests = [
        plan(
            _recipe(write_motionnet(tmp_path / f"{seed}.safetensors", seed)), tmp_path, [clip], FOLD
        )
        for seed in (0, 1)
    ]
    assert digests[0]["flow"].digest != digests[1]["flow"].digest


def test_missing_weights_are_told_before_any_clip(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path / "none.safetensors", "training it here")
    with pytest.raises(InputError, match=r"flow: no weight file .*; they come from training it"):
        plan(recipe, tmp_path, [], FOLD)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c3d.safetensors"
    path.write_bytes(weight_bytes({"a": torch.zeros(1)}, WeightRecord("c3d")))
    settings = MotionNetFlowSettings(method="motionnet", weights=str(path))
    with pytest.raises(InputError, match=r"flow\.weights: .* weights of 'c3d'"):
        _stored(write_video(tmp_path / "c.avi", 3), settings, tmp_path)
