"""MotionNet and the hidden two-stream network as models of [network], and as weight files after."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from synthetic import motion_only_videos
from torch import Tensor, nn

from cinefeat.classifiers.training import TrainingSettings, fit_network
from cinefeat.extractors import load_network
from cinefeat.extractors.motion_flow import MotionFlow
from cinefeat.extractors.weights import read_weights
from cinefeat.pipeline import cli
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.motion_models import joint_loss, unsupervised_loss
from cinefeat.pipeline.network_models import build_model, spec_of
from cinefeat.pipeline.network_settings import NetworkSettings
from cinefeat.pipeline.stages.network import read_network
from cinefeat.pipeline.store import ProductWriter
from cinefeat.pipeline.trained_weights import export_weights

SMALL = {"width": 0.02, "n_frames": 3, "size": 32, "resize": 32, "n_epochs": 1, "batch_size": 4}
CLASSES = ["bend", "jack", "run", "walk"]


def _settings(model: str, *streams: str, weights: Path | str = "", **changes: Any) -> Any:
    chosen = [{"name": name, "inputs": ["frames"], "weights": str(weights)} for name in streams]
    table = {"model": model, "streams": chosen, **SMALL, **changes}
    return TypeAdapter(NetworkSettings).validate_json(json.dumps(table))


def _built(settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model(settings, settings.streams[0], [], len(CLASSES))


def _batch(n_channels: int) -> dict[str, Tensor]:
    torch.manual_seed(1)
    windows = torch.rand(2, 2, n_channels, 32, 32) - 0.5
    return {"x0": windows, "label": torch.tensor([1, 3])}


def _product(folder: Path, settings: Any, network: nn.Module) -> Path:
    """Store a network as the stage does."""
    path = folder / f"{settings.streams[0].name}.h5"
    about = {"model": settings.model, "stream": settings.streams[0].name, "shapes": []}
    with ProductWriter(path, {"settings": settings.model_dump_json()}) as product:
        for name, tensor in network.state_dict().items():
            product.write(f"weights/{name}", tensor.numpy())
        product.write("classes_", np.array(CLASSES))
        product.set_attrs(about)
    return path


def test_motionnet_learns_in_the_loop_without_labels() -> None:
    settings = _settings("motionnet", "motion", width=0.05)
    network, batch = _built(settings), _batch(9)
    assert not settings.classifies
    begin = unsupervised_loss(network, batch)["loss"].item()
    how = TrainingSettings(n_epochs=8, batch_size=2, optimiser="adam", learning_rate=3e-3)
    history = fit_network(network, unsupervised_loss, lambda n, s: {"x0": batch["x0"]}, 2, how)
    assert history.curves["train/loss"][-1] < begin
    assert set(history.curves) == {
        f"train/{n}" for n in ("loss", "photometric", "smoothness", "ssim")
    }


@pytest.mark.parametrize("stream, n_channels", [("spatial", 3), ("temporal", 9)])
def test_both_streams_take_windows_and_a_gradient_reaches_all(stream: str, n_channels: int) -> None:
    settings = _settings("hidden-two-stream", stream, width=0.05, dropout=(0.0, 0.0))
    network, batch = _built(settings), _batch(n_channels)
    spec = spec_of(settings, settings.streams[0])
    assert spec is not None
    assert spec.shape == (n_channels, 32, 32)
    losses = joint_loss(network.train(), batch)
    losses["loss"].backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not without
    assert ("photometric" in losses) == (stream == "temporal")
    assert network.eval()(batch["x0"]).shape == (2, 2, 4)
    assert set(joint_loss(network, batch)) == {"loss", "accuracy"}


def test_the_unsupervised_losses_are_part_of_the_joint_one() -> None:
    settings = _settings("hidden-two-stream", "temporal", width=0.05, dropout=(0.0, 0.0))
    network, batch = _built(settings), _batch(9)
    joint = joint_loss(network.train(), batch)
    labels_alone = joint_loss(network.eval(), batch)
    assert joint["accuracy"] == labels_alone["accuracy"]
    assert joint["loss"] > labels_alone["loss"] + joint["photometric"]


def test_a_trained_motionnet_becomes_a_flow_method(tmp_path: Path) -> None:
    settings = _settings("motionnet", "motion", width=0.05)
    network = _built(settings)
    torch.nn.init.normal_(network.get_submodule("flow2").weight, std=0.02)
    file = export_weights(_product(tmp_path, settings, network), tmp_path / "m.safetensors")
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    found = np.stack(list(MotionFlow(file).of_video(frames)))
    mean = np.array([104.0, 117.0, 123.0])
    stack = ((frames[..., ::-1] - mean) / 255).transpose(0, 3, 1, 2).reshape(1, 9, 32, 32)
    with torch.no_grad():
        finest = network(torch.from_numpy(stack).float())[-1]
    expected = 2 * torch.nn.functional.interpolate(finest, scale_factor=2, mode="bilinear")
    expected = expected.reshape(2, 2, 32, 32).permute(0, 2, 3, 1)
    assert np.allclose(found, expected.numpy(), atol=1e-5)
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize("stream, name", [
    ("spatial", "vgg16-spatial"), ("temporal", "hidden-temporal"),
])  # fmt: skip
def test_trained_streams_are_networks_of_the_table(tmp_path: Path, stream: str, name: str) -> None:
    settings = _settings("hidden-two-stream", stream, width=0.05)
    network = _built(settings).eval()
    product = _product(tmp_path, settings, network)
    file = export_weights(product, tmp_path / "s.safetensors")
    loaded = load_network(name, file)
    windows = _batch(loaded.spec.shape[0])["x0"]
    with torch.no_grad():
        expected = network(windows)[:, 0].numpy()
    outputs = loaded(windows[:, 0])
    assert loaded.classes == tuple(CLASSES)
    assert outputs["features"].shape == (2, loaded.spec.feature_size)
    assert np.allclose(outputs["logits"], expected, atol=1e-4)
    _, stored, classes = read_network(product)
    assert list(classes) == CLASSES
    with torch.no_grad():
        assert torch.equal(stored(windows), network(windows))


def test_the_temporal_stream_begins_with_a_motionnet(tmp_path: Path) -> None:
    learned = _built(_settings("motionnet", "motion"))
    torch.nn.init.normal_(learned.get_submodule("flow2").weight)
    product = _product(tmp_path, _settings("motionnet", "motion"), learned)
    file = export_weights(product, tmp_path / "m.safetensors")
    network = _built(_settings("hidden-two-stream", "temporal", weights=file))
    state = network.get_submodule("body.codes.levels").state_dict()
    assert all(torch.equal(state[name], x) for name, x in learned.state_dict().items())
    wider = _settings("hidden-two-stream", "temporal", weights=file, width=0.05)
    with pytest.raises(ValueError, match=r"conv1\.weight"):
        _built(wider)
    with pytest.raises(InputError, match="holds weights of 'motionnet', not 'vgg16-spatial'"):
        _built(_settings("hidden-two-stream", "spatial", weights=file))


def test_a_stream_begins_with_weights_of_its_own_but_for_other_classes(tmp_path: Path) -> None:
    settings = _settings("hidden-two-stream", "temporal")
    learned = _built(settings)
    nn.init.ones_(learned.get_parameter("body.fc7.linear.weight"))
    file = export_weights(_product(tmp_path, settings, learned), tmp_path / "s.safetensors")
    again = _settings("hidden-two-stream", "temporal", weights=file)
    torch.manual_seed(2)
    network = build_model(again, again.streams[0], [], 7)
    state, first = network.state_dict(), learned.state_dict()
    same = [
        n for n in state if state[n].shape == first[n].shape and torch.equal(state[n], first[n])
    ]
    assert set(state) - set(same) == {"body.logits.weight", "body.logits.bias"}


def test_only_networks_of_the_table_are_exported(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with ProductWriter(path, {"settings": "{}"}) as product:
        product.set_attrs({"model": "lrcn", "stream": "rgb"})
    with pytest.raises(InputError, match="holds a 'lrcn'; weight files hold trained motionnet"):
        export_weights(path, tmp_path / "a.safetensors")
    with ProductWriter(tmp_path / "b.h5", {}) as product:
        product.write("x", np.zeros(1))
    with pytest.raises(InputError, match="holds no network"):
        export_weights(tmp_path / "b.h5", tmp_path / "a.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("changes, message", [
    ({"size": 40}, "multiple of 32"),
    ({"size": 64}, "size = 64 is more than resize = 32"),
    ({"n_frames": 1}, "greater than or equal to 2"),
    ({"patience": 3}, "patience = 3 needs a validation part"),
    ({"optimiser": "nesterov", "momentum": 0.0}, "momentum = 0 has nothing for nesterov"),
])  # fmt: skip
def test_impossible_settings_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _settings("motionnet", "motion", **changes)
    with pytest.raises(ValidationError, match="streams are 'spatial' and 'temporal'"):
        _settings("hidden-two-stream", "rgb")


RECIPE = """
name = "motion"
title = "t"
source = "s"
[network]
model = "motionnet"
streams = [{name = "motion", inputs = ["frames"]}]
width = 0.02
n_frames = 3
size = 32
resize = 48
n_epochs = 2
batch_size = 4
optimiser = "adam"
"""


def _cinefeat(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert ended.value.code == 0


@pytest.mark.slow
def test_training_to_flow_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    motion_only_videos(tmp_path / "videos", n_groups=2)
    Path("motion.toml").write_text(RECIPE)
    place = ("--videos", "videos", "--store", "store", "--jobs", 1)
    _cinefeat("fit-network", "motion.toml", *place, "--protocol", "leave-one-group-out")
    product, curves = capsys.readouterr().out.split()[:2]
    assert Path(curves).exists()
    _cinefeat("weights", "export", product, "-o", "motionnet.safetensors")
    _, record = read_weights(Path("motionnet.safetensors"))
    assert record.network == "motionnet"
    Path("flow.toml").write_text(
        'name = "flow"\ntitle = "t"\nsource = "s"\n'
        '[flow]\nmethod = "motionnet"\nweights = "motionnet.safetensors"\n'
    )
    _cinefeat("stage", "flow", "flow.toml", *place)
    assert list(Path("store/flow").rglob("*.h5"))
