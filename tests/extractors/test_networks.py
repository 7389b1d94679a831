"""Loading networks: the table's promises, layers by name, weights that fit, and refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cinefeat.extractors.layers import run_layers
from cinefeat.extractors.networks import (
    NETWORKS,
    Network,
    build_network,
    expected_shapes,
    load_network,
)
from cinefeat.extractors.weights import WeightRecord, sha256_of, weight_bytes

WITHOUT_SCORES = {"motionnet", "t3d"}  # flow has none; T3D's classes come with its training


@pytest.mark.parametrize("name", NETWORKS)
def test_a_window_of_the_specification_gives_the_feature_it_promises(name: str) -> None:
    spec = NETWORKS[name].spec
    with torch.device("meta"):
        network = build_network(name).eval()
        outputs = run_layers(network, torch.empty(3, *spec.shape), {spec.features, "logits"})
    assert outputs[spec.features].flatten(1).shape == (3, spec.feature_size)
    if name in WITHOUT_SCORES:
        assert "logits" not in outputs
    else:
        assert outputs["logits"].ndim == 2


@pytest.mark.parametrize("name", NETWORKS)
def test_preprocessing_gives_the_shape_that_the_network_takes(name: str) -> None:
    spec = NETWORKS[name].spec
    frame = np.zeros((240, 320, spec.n_channels), np.float32 if spec.is_flow else np.uint8)
    network = Network(name, torch.nn.Sequential(), spec, "cpu")
    assert network.preprocess(np.stack([frame] * spec.window)).shape == (1, *spec.shape)


@pytest.fixture(scope="module")
def lite0() -> Network:
    return load_network("efficientnet-lite0")


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(3, 3, 224, 224)).astype(np.float32)


def test_outputs_are_features_scores_and_the_layers_asked_for(
    lite0: Network, images: np.ndarray
) -> None:
    outputs = lite0(images, ("block4", "features"))
    assert {name: value.shape for name, value in outputs.items()} == {
        "features": (3, 1280),
        "logits": (3, 1000),
        "block4": (3, 40, 28, 28),
    }
    assert all(value.dtype == np.float32 for value in outputs.values())
    assert lite0.layers[:2] == ("stem", "block0")


def test_a_window_does_not_depend_on_its_batch(lite0: Network, images: np.ndarray) -> None:
    together = lite0(images)
    for k in range(3):
        alone = lite0(images[k : k + 1])
        np.testing.assert_array_equal(alone["features"][0], together["features"][k])


def test_the_number_of_threads_changes_no_bit(lite0: Network, images: np.ndarray) -> None:
    n_threads = torch.get_num_threads()
    try:
        found = []
        for n in (1, 2):
            torch.set_num_threads(n)
            found.append(lite0(images[:1])["logits"])
    finally:
        torch.set_num_threads(n_threads)
    np.testing.assert_array_equal(*found)


def test_windows_are_left_as_they_were(lite0: Network, images: np.ndarray) -> None:
    before = images.copy()
    lite0(images)
    np.testing.assert_array_equal(images, before)


def test_random_weights_are_the_same_every_time(lite0: Network, images: np.ndarray) -> None:
    state = torch.random.get_rng_state()
    again = load_network("efficientnet-lite0")
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(again(images)["logits"], lite0(images)["logits"])


@pytest.mark.parametrize(
    "shape", [(3, 224, 224), (1, 3, 224, 225), (1, 1, 224, 224), (0, 3, 224, 224)]
)
def test_windows_of_another_shape_are_refused(lite0: Network, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes \(N, 3, 224, 224\)"):
        lite0(np.zeros(shape, np.float32))


def test_an_unknown_layer_lists_the_known(lite0: Network, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"no layer \['fc7'\]; it has \['stem', "):
        lite0(images, ("fc7",))


def test_a_network_of_any_length_takes_any_length_it_can() -> None:
    network = load_network("i3d-flow")
    windows = np.zeros((1, 2, 9, 224, 224), np.float32)
    assert network(windows)["features"].shape == (1, 1024)
    with pytest.raises(ValueError, match="T >= 9"):
        network(windows[:, :, :8])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("i3d",), "no network 'i3d'; known are i3d-rgb, "),
        (("i3d-rgb", "no-such"), "no weight file 'no-such', and no known weights"),
    ],
)
def test_unknown_names_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_network(*arguments)


def test_half_precision_is_for_cuda() -> None:
    with pytest.raises(ValueError, match="needs device='cuda'"):
        load_network("resnet50", precision="float16")


def _write(path: Path, record: WeightRecord, drop: str = "") -> Path:
    shapes = expected_shapes("efficientnet-lite0", record.options)
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items() if name != drop}
    path.write_bytes(weight_bytes(tensors, record))
    return path


def test_weights_bring_their_classes_and_their_input(tmp_path: Path, images: np.ndarray) -> None:
    record = WeightRecord(
        "efficientnet-lite0",
        "made here",
        {"n_classes": 2},
        {"mean": (1.0, 2.0, 3.0), "channel_order": "bgr"},
        ("sit", "stand"),
    )
    path = _write(tmp_path / "w.safetensors", record)
    network = load_network("efficientnet-lite0", path)
    assert network.classes == ("sit", "stand")
    assert network.spec.mean == (1.0, 2.0, 3.0)
    assert network.spec.channel_order == "bgr"
    assert network.sha256 == sha256_of(path)
    assert network(images[:1])["logits"].tolist() == [[0, 0]]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "w.safetensors", WeightRecord("efficientnet-lite0"))
    with pytest.raises(ValueError, match="holds weights of 'efficientnet-lite0', not of 'c3d'"):
        load_network("c3d", path)


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    record = WeightRecord("efficientnet-lite0")
    path = _write(tmp_path / "w.safetensors", record, drop="head.norm.bias")
    with pytest.raises(ValueError, match=r"w\.safetensors: lacks head\.norm\.bias$"):
        load_network("efficientnet-lite0", path)
