"""Pictures of activations: a small C3D and a video whose strongest place is known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from cinefeat.extractors.layers import ConvUnit, MaxPool, named_chain
from cinefeat.extractors.networks import NETWORKS, NetworkEntry
from cinefeat.extractors.spec import InputSpec
from cinefeat.extractors.weights import WeightRecord, weight_bytes
from cinefeat.pipeline import cli
from cinefeat.pipeline.activations import draw_activations
from cinefeat.pipeline.errors import InputError

SPEC = InputSpec(
    "rgb", 4, (32, 32), 32, (0.0,) * 3, (1.0,) * 3, "pool1", 2 * 4 * 16 * 16, stride=2,
    channel_order="bgr",
)  # fmt: skip
FLASH = 13  # the frame with the bright spot


def _tiny(n_classes: int | None = None) -> nn.Sequential:
    unit = ConvUnit(3, 2, (3, 3, 3), padding=(1, 1, 1))
    return named_chain({"conv1": unit, "pool1": MaxPool((1, 2, 2), (1, 2, 2))})


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Weights whose map 1 adds up the red of 3 x 3 x 3 pixels, and whose map 0 sees nothing."""
    monkeypatch.setitem(NETWORKS, "tiny", NetworkEntry(_tiny, SPEC))
    body = _tiny()
    for parameter in body.parameters():
        nn.init.zeros_(parameter)
    body.get_submodule("conv1").conv.weight.data[1, 2] = 1
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(weight_bytes(body.state_dict(), WeightRecord("tiny")))
    return str(path)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "flash.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25, (32, 32))
    for t in range(20):
        frame = np.zeros((32, 32, 3), np.uint8)
        if t == FLASH:
            frame[8:11, 20:23, 2] = 255  # red, in BGR
        writer.write(frame)
    writer.release()
    return path


def test_the_window_and_the_place_of_the_strongest_response_are_shown(
    tmp_path: Path, weights: str, video: Path
) -> None:
    out = tmp_path / "a.png"
    (shown,) = draw_activations(video, "tiny", weights, "conv1", [1], out=out)
    assert shown.channel == 1
    assert shown.first <= FLASH <= shown.last
    assert shown.activation == pytest.approx(9 * 255, rel=0.05)
    picture = cv2.imread(str(out))[..., ::-1]
    assert picture.shape == (18 + 64, 4 * 32, 3)
    column = 32 * (FLASH - shown.first)
    frames, projected = picture[18:50], picture[50:]
    assert frames[9, column + 21, 0] > 230
    assert frames[9, column + 21, 1:].max() < 40
    red = projected[..., 0].astype(int)
    assert red[9, column + 21] == 255  # the strongest value
    assert (projected[..., 1:] == 128).all()  # green and blue have no part in it
    assert (red[:, column : column + 32] != 128).sum() == 9  # the filter's 3 x 3


def test_the_strongest_maps_are_shown_without_a_choice(
    tmp_path: Path, weights: str, video: Path
) -> None:
    shown = draw_activations(video, "tiny", weights, "pool1", 2, out=tmp_path / "a.png")
    assert [one.channel for one in shown] == [1, 0]
    assert shown[1].activation == 0


def test_a_window_can_be_chosen(tmp_path: Path, weights: str, video: Path) -> None:
    (shown,) = draw_activations(
        video, "tiny", weights, "conv1", [1], start=3, out=tmp_path / "a.png"
    )
    assert (shown.first, shown.last, shown.activation) == (3, 6, 0)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"layer": "conv9"},
            "no layer 'conv9'; layers that can be projected back are conv1, pool1",
        ),
        ({"maps": [2]}, "no map 2; the layer has maps 0 to 1"),
        ({"network": "i3d-flow"}, "holds weights of 'tiny', not of 'i3d-flow'"),
        ({"weights": "c3d.safetensors"}, "no weight file 'c3d.safetensors'"),
        ({"start": 18}, "--start is 18; .* has 20 frames, and a window 4"),
        ({"video": Path("none.avi")}, "none.avi"),
        ({"out": Path("/dev/null/a.png")}, "name a folder, not a file"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    tmp_path: Path, weights: str, video: Path, change: dict, message: str
) -> None:
    good = {"video": video, "network": "tiny", "weights": weights, "layer": "conv1", "maps": [1]}
    with pytest.raises(InputError, match=message):
        draw_activations(**{**good, "out": tmp_path / "a.png", **change})  # type: ignore[arg-type]
    assert not list(tmp_path.glob("*.png"))


def test_a_network_of_flow_is_refused(tmp_path: Path, video: Path) -> None:
    path = tmp_path / "flow.safetensors"
    with torch.device("meta"):
        body = NETWORKS["ltc-flow-60"].build(2, None, 16, 32, 0.9)
    tensors = {k: torch.zeros(t.shape) for k, t in body.state_dict().items()}
    options = {"n_classes": None, "n_frames": 16, "size": 32}
    path.write_bytes(weight_bytes(tensors, WeightRecord("ltc-flow-60", options=options)))
    with pytest.raises(InputError, match="ltc-flow-60 takes flow"):
        draw_activations(video, "ltc-flow-60", str(path), "conv1", 1, out=tmp_path / "a.png")


def test_the_command_says_what_it_drew(
    tmp_path: Path, weights: str, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"show-activations {video} --network tiny --weights {weights} --layer conv1 --maps 1"
    with pytest.raises(SystemExit) as ended:
        cli.main([*line.split(), "-o", str(tmp_path / "a.png")])
    assert ended.value.code == 0
    assert "conv1 map 1: 2" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main([*line.replace("--maps 1", "--maps x").split(), "-o", "a.png"])
    assert ended.value.code == 2
    assert "--maps is 'x'" in capsys.readouterr().err
