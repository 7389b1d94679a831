"""Models that learn from pixels: what their windows are like, first weights, rates, and refusals."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from cinefeat.extractors import load_network
from cinefeat.extractors.finetune import FineTuned
from cinefeat.extractors.networks import build_network, network_entry
from cinefeat.extractors.pairing import PairNetwork
from cinefeat.extractors.tsn import bn_inception
from cinefeat.extractors.weights import WeightRecord, weight_bytes
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.network_models import MODELS, build_model, spec_of
from cinefeat.pipeline.network_settings import NetworkSettings
from cinefeat.pipeline.pixel_models import fine_tune_rate, transfer_loss
from cinefeat.pipeline.recipe import load_recipe


def _settings(model: str, stream: dict[str, Any] | None = None, **values: Any) -> Any:
    streams = [{"name": "s", "inputs": ["frames"], **(stream or {})}]
    table = {"model": model, "streams": streams, "n_epochs": 1, **values}
    return TypeAdapter(NetworkSettings).validate_python(table)


def _model(settings: Any, n_classes: int = 4) -> Any:
    return build_model(settings, settings.streams[0], [], n_classes)


def _tsn_file(path: Path, n_classes: int = 7, width: float = 0.1) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    body = bn_inception(3, n_classes, width=width)
    tensors = {n: t for n, t in body.state_dict().items() if "num_batches" not in n}
    options = {"n_classes": n_classes}
    path.write_bytes(weight_bytes(tensors, WeightRecord("tsn-rgb", options=options)))
    return tensors


@pytest.mark.parametrize(
    "model, values, shape, resize",
    [
        ("single-stream", {"fusion": "single"}, (3, 1, 170, 170), 200),
        ("single-stream", {"fusion": "slow"}, (3, 10, 170, 170), 200),
        ("single-stream", {"fusion": "late", "size": 178}, (3, 16, 178, 178), 209),
        ("fstcn", {}, (3, 30, 204, 204), 240),
        ("ltc", {}, (3, 60, 71, 71), (81, 108)),
        ("ltc", {"window": 16, "size": 112}, (3, 16, 112, 112), (128, 171)),
        ("ltc", {"stream": {"inputs": ["flow"]}, "size": 58}, (2, 60, 58, 58), (67, 89)),
        ("t3d", {}, (3, 32, 224, 224), 256),
        ("fine-tune", {"network": "c3d"}, (3, 16, 112, 112), (128, 171)),
        ("fine-tune", {"network": "tsn-rgb", "size": 112}, (3, 112, 112), (128, 170)),
        ("fine-tune", {"network": "tsn-rgb"}, (3, 224, 224), (256, 340)),
        ("fine-tune", {"network": "i3d-rgb", "window": 16}, (3, 16, 224, 224), 256),
    ],
)
def test_windows_are_the_published(model: str, values: Any, shape: tuple, resize: Any) -> None:
    settings = _settings(model, **values)
    spec = spec_of(settings, settings.streams[0])
    assert spec is not None
    assert (spec.shape, spec.resize) == (shape, resize)


@pytest.mark.parametrize(
    "model, values",
    [
        ("single-stream", {"fusion": "slow", "size": 60, "width": 0.1}),
        ("fstcn", {"size": 75, "width": 0.1}),
        ("ltc", {"window": 16, "size": 32, "width": 0.1}),
        ("t3d", {"window": 16, "size": 32, "width": 0.125}),
        ("fine-tune", {"network": "i3d-rgb", "window": 16, "size": 32, "width": 0.1}),
        ("fine-tune", {"network": "tsn-rgb", "size": 64, "width": 0.1}),
    ],
)
def test_a_built_model_scores_the_windows_that_it_asks_for(model: str, values: Any) -> None:
    settings = _settings(model, **values)
    spec = spec_of(settings, settings.streams[0])
    assert spec is not None
    scores = _model(settings).eval()(torch.zeros(2, 1, *spec.shape))
    assert scores.shape == (2, 4)


def test_fine_tuning_begins_with_the_weights_and_fixes_the_norms(tmp_path: Path) -> None:
    tensors = _tsn_file(tmp_path / "w.safetensors")
    stream = {"weights": str(tmp_path / "w.safetensors")}
    settings = _settings(
        "fine-tune", stream, network="tsn-rgb", size=64, width=0.1, partial_norm=True
    )
    network = _model(settings).body
    assert isinstance(network, FineTuned)
    state = network.body.state_dict()
    assert all(torch.equal(state[n], t) for n, t in tensors.items() if not n.startswith("logits"))
    assert state["logits.weight"].shape[0] == 4
    n_fixed = sum(not p.requires_grad for p in network.parameters())
    assert n_fixed == 2 * 68


def test_weights_of_frames_begin_a_network_of_flow(tmp_path: Path) -> None:
    tensors = _tsn_file(tmp_path / "w.safetensors")
    stream = {"inputs": ["flow"], "weights": str(tmp_path / "w.safetensors")}
    settings = _settings("fine-tune", stream, network="tsn-flow", size=64, width=0.1)
    state = _model(settings).body.body.state_dict()
    first = state["conv1_7x7_s2.conv.weight"]
    assert first.shape[1] == 10
    mean = tensors["conv1_7x7_s2.conv.weight"].mean(1)
    torch.testing.assert_close(first[:, 3], mean)


def test_wrong_weights_are_refused_in_one_sentence(tmp_path: Path) -> None:
    _tsn_file(tmp_path / "w.safetensors")
    stream = {"weights": str(tmp_path / "w.safetensors")}
    with pytest.raises(InputError, match="holds weights of 'tsn-rgb', and"):
        _model(_settings("fine-tune", stream, network="c3d"))
    with pytest.raises(InputError, match="does not fit the network of the recipe"):
        _model(_settings("fine-tune", stream, network="tsn-rgb", width=0.2))
    with pytest.raises(InputError, match="c3d takes windows of 112 px and 16 frames"):
        _model(_settings("fine-tune", network="c3d", size=56))
    with pytest.raises(InputError, match="resnet50 cannot be fine-tuned"):
        _model(_settings("fine-tune", network="resnet50"))


def test_norms_without_weights_are_not_fixed() -> None:
    with pytest.raises(
        ValueError, match="partial_norm keeps norms that stream 's' has not learned"
    ):
        _settings("fine-tune", network="tsn-rgb", partial_norm=True)


def test_rates_are_those_of_the_layers() -> None:
    settings = _settings("fine-tune", network="c3d", rates={"fc7": 2, "logits": 10}, other_rate=0)
    found = {n: fine_tune_rate(settings, n) for n, _ in _model(settings).named_parameters()}
    assert {rate for name, rate in found.items() if ".fc7." in name} == {2}
    assert {rate for name, rate in found.items() if ".logits." in name} == {10}
    assert {rate for name, rate in found.items() if ".conv" in name} == {0}


def test_the_first_convolution_of_flow_learns_faster_in_the_shipped_recipe() -> None:
    settings = load_recipe("tsn-flow-fine-tuned").network
    with torch.device("meta"):
        names = [name for name, _ in bn_inception(10).named_parameters()]
    rates = {name: fine_tune_rate(settings, f"body.body.{name}") for name in names}
    assert {name for name, rate in rates.items() if rate == 5} == {
        name for name in names if name.startswith("conv1_")
    }
    assert set(rates.values()) == {1, 5}


def test_rates_of_layers_that_are_not_there_are_refused() -> None:
    with pytest.raises(InputError, match=r"names 'fc9', and c3d has no such layer.*conv1a.*fc7"):
        _model(_settings("fine-tune", network="c3d", width=0.02, rates={"fc9": 2}))


def test_fstcn_joins_crops_and_windows_by_their_sparsity() -> None:
    # two windows of ten crops, the crops of a window side by side
    scores = torch.full((1, 20, 2), 0.5, dtype=torch.float64)
    scores[0, 3], scores[0, 13] = torch.tensor([0.9, 0.1]), torch.tensor([0.3, 0.7])
    join, sizes = MODELS["fstcn"].join, {"size": 75, "test_crops": 10}
    # crop 3: SCI 0.8 and 0.4; the other crops say 0.5
    expected = [(0.8 * 0.9 + 0.4 * 0.3) / 1.2, 0.5]
    assert join(_settings("fstcn", **sizes), scores)[0].tolist() == pytest.approx(expected)
    mean = join(_settings("fstcn", join="mean", **sizes), scores)
    torch.testing.assert_close(mean, scores.mean(dim=1))


@pytest.mark.parametrize(
    "values, words", [({"scores": "logits"}, "softmax"), ({"consensus": "max"}, "average")]
)
def test_sparsity_needs_the_probabilities_of_windows(values: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _settings("fstcn", **values)
    assert _settings("fstcn", join="mean", **values).join == "mean"


def test_transfer_pairs_every_clip_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cinefeat.pipeline.pixel_models.load_plain", _random_images)
    settings = _settings(
        "t3d-transfer", images="densenet121", images_weights="w", window=16, size=32, width=0.125
    )
    assert not settings.classifies
    assert [file.group for file in settings.weight_files] == ["densenet121"]
    network = _model(settings)
    assert isinstance(network, PairNetwork)
    assert MODELS["t3d-transfer"].loss is transfer_loss
    found = transfer_loss(network, {"x0": torch.randn(3, 1, 3, 16, 32, 32)})
    assert found["loss"].isfinite()
    with pytest.raises(ValueError, match="one clip left"):
        transfer_loss(network, {"x0": torch.randn(1, 1, 3, 16, 32, 32)})


@pytest.mark.parametrize(
    "model, name, values",
    [
        ("ltc", "ltc-rgb-60", {"window": 16, "size": 32, "width": 0.1}),
        ("t3d", "t3d", {"window": 16, "size": 32, "width": 0.125}),
        ("fine-tune", "c3d", {"network": "c3d", "width": 0.02}),
        ("fine-tune", "i3d-rgb", {"network": "i3d-rgb", "window": 16, "size": 32, "width": 0.1}),
    ],
)
def test_an_exported_network_scores_as_the_trained_one(
    tmp_path: Path, model: str, name: str, values: Any
) -> None:
    settings = _settings(model, **values)
    stream, network = settings.streams[0], _model(settings).eval()
    exported = MODELS[model].weights
    assert exported is not None
    tensors, record = exported(settings, stream, network, ["a", "b", "c", "d"])
    (tmp_path / "w.safetensors").write_bytes(weight_bytes(tensors, record))
    loaded = load_network(name, tmp_path / "w.safetensors")
    spec = spec_of(settings, stream)
    assert spec is not None
    assert loaded.spec.shape == spec.shape
    x = torch.randn(2, *spec.shape)
    found = loaded(x)
    assert found["features"].shape == (2, loaded.spec.feature_size)
    torch.testing.assert_close(
        torch.from_numpy(found["logits"]), network(x[:, None]).detach(), atol=1e-4, rtol=1e-3
    )


def test_t3d_begins_with_what_the_transfer_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cinefeat.pipeline.pixel_models.load_plain", _random_images)
    sizes = {"window": 16, "size": 32, "width": 0.125}
    first = _settings("t3d-transfer", images="densenet121", images_weights="w", **sizes)
    network = _model(first)
    exported = MODELS["t3d-transfer"].weights
    assert exported is not None
    tensors, record = exported(first, first.streams[0], network, ["a"])
    (tmp_path / "w.safetensors").write_bytes(weight_bytes(tensors, record))
    then = _settings("t3d", {"weights": str(tmp_path / "w.safetensors")}, **sizes)
    state = _model(then).body.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items())
    assert set(state) - set(network.videos.state_dict()) == {"logits.weight", "logits.bias"}


def _random_images(name: str, _: str) -> Any:
    body = build_network(name, {"width": 0.125})
    n_features = body.get_submodule("norm5.norm").get_parameter("weight").shape[0]
    return body, replace(network_entry(name).spec, feature_size=n_features), WeightRecord(name)
