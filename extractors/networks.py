"""The table of networks, and loading one with its weights for inference."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cinefeat.extractors.c3d import c3d
from cinefeat.extractors.densenet import densenet
from cinefeat.extractors.efficientnet import efficientnet_lite0
from cinefeat.extractors.fold import inference_form
from cinefeat.extractors.i3d import i3d
from cinefeat.extractors.imaging import preprocess
from cinefeat.extractors.layers import run_layers
from cinefeat.extractors.ltc import ltc
from cinefeat.extractors.motionnet import N_FRAMES, hidden_two_stream, motionnet
from cinefeat.extractors.resnet import resnet
from cinefeat.extractors.spec import InputSpec, change_spec
from cinefeat.extractors.t3d import t3d
from cinefeat.extractors.tsn import bn_inception
from cinefeat.extractors.two_stream import cnn_m, vgg16
from cinefeat.extractors.weights import (
    WeightRecord,
    check_tensors,
    find_weights,
    read_weights,
    sha256_of,
)

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class NetworkEntry:
    """A network of the table: how it is built, and what it takes."""

    build: Callable[..., nn.Sequential]
    spec: InputSpec
    options: Mapping[str, Any] = field(default_factory=dict)


# means and deviations in grey levels, in the network's channel order
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)
_CAFFE_BGR = (104.0, 117.0, 128.0)
_SPORTS1M_BGR = (100.61, 108.05, 107.81)
_ONE = (1.0, 1.0, 1.0)
_TEN_CROP_SIZE = (256, 340)

_I3D_RGB = InputSpec(
    "rgb", 64, 256, 224, (127.5,) * 3, (127.5,) * 3, "features", 1024, stride=64, shortest=9
)
_I3D_FLOW = InputSpec(
    "flow", 64, 256, 224, (0.0, 0.0), (20.0, 20.0), "features", 1024, stride=64, shortest=9
)
_C3D = InputSpec(
    "rgb", 16, (128, 171), 112, _SPORTS1M_BGR, _ONE, "fc6", 4096, stride=8, channel_order="bgr"
)
_CNN_M_SPATIAL = InputSpec(
    "rgb", 1, 256, 224, (103.939, 116.779, 123.68), _ONE, "fc7", 2048,
    layout="stack", channel_order="bgr",
)  # fmt: skip
_CNN_M_TEMPORAL = InputSpec(
    "flow", 10, 256, 224, (0.0, 0.0), (1.0, 1.0), "fc7", 2048,
    layout="stack", flow_bound=0.0, is_flow_centred=True,
)  # fmt: skip
_VGG16_SPATIAL = InputSpec(
    "rgb", 1, _TEN_CROP_SIZE, 224, _IMAGENET_MEAN, _IMAGENET_STD, "fc7", 4096, layout="stack"
)
_VGG16_TEMPORAL = InputSpec(
    "flow", 10, _TEN_CROP_SIZE, 224, (127.5, 127.5), (57.63, 57.63), "fc7", 4096,
    layout="stack", is_flow_coded=True,
)  # fmt: skip
_TSN_RGB = InputSpec(
    "rgb", 1, _TEN_CROP_SIZE, 224, _CAFFE_BGR, _ONE, "global_pool", 1024,
    layout="stack", channel_order="bgr",
)  # fmt: skip
_TSN_FLOW = InputSpec(
    "flow", 5, _TEN_CROP_SIZE, 224, (128.0, 128.0), (1.0, 1.0), "global_pool", 1024,
    layout="stack", is_flow_coded=True,
)  # fmt: skip
_LTC_RGB = InputSpec(
    "rgb", 60, (81, 108), 71, _SPORTS1M_BGR[::-1], (255.0,) * 3, "fc7", 2048, stride=4
)
_LTC_FLOW = InputSpec(
    "flow", 60, (81, 108), 71, (0.0, 0.0), (1.0, 1.0), "fc7", 2048,
    stride=4, flow_bound=0.0, is_flow_centred=True,
)  # fmt: skip
_IMAGE = InputSpec(
    "rgb", 1, 256, 224, _IMAGENET_MEAN, _IMAGENET_STD, "features", 2048, layout="stack"
)
_RESNET_SPATIAL = replace(_IMAGE, resize=_TEN_CROP_SIZE)
_RESNET_TEMPORAL = replace(_VGG16_TEMPORAL, features="features", feature_size=2048)
_MOTIONNET = InputSpec(
    "rgb", N_FRAMES, _TEN_CROP_SIZE, 224, (104.0, 117.0, 123.0), (255.0,) * 3,
    "flow", 2 * (N_FRAMES - 1) * 224**2, layout="stack", stride=N_FRAMES - 1, channel_order="bgr",
)  # fmt: skip
_HIDDEN_TEMPORAL = replace(_MOTIONNET, features="fc7", feature_size=4096)
_T3D = InputSpec(
    "rgb", 32, 256, 224, _IMAGENET_MEAN, _IMAGENET_STD, "features", 896, stride=32, shortest=15
)
_LITE0 = replace(_IMAGE, mean=(127.0,) * 3, std=(128.0,) * 3, feature_size=1280)

NETWORKS: dict[str, NetworkEntry] = {
    "i3d-rgb": NetworkEntry(i3d, _I3D_RGB),
    "i3d-flow": NetworkEntry(i3d, _I3D_FLOW, {"n_channels": 2}),
    "c3d": NetworkEntry(c3d, _C3D),
    "cnn-m-spatial": NetworkEntry(cnn_m, _CNN_M_SPATIAL),
    "cnn-m-temporal": NetworkEntry(
        cnn_m, _CNN_M_TEMPORAL, {"n_channels": 20, "has_second_norm": False}
    ),
    "vgg16-spatial": NetworkEntry(vgg16, _VGG16_SPATIAL),
    "vgg16-temporal": NetworkEntry(
        vgg16, _VGG16_TEMPORAL, {"n_channels": 20, "dropout": (0.9, 0.8)}
    ),
    "tsn-rgb": NetworkEntry(bn_inception, _TSN_RGB),
    "tsn-flow": NetworkEntry(bn_inception, _TSN_FLOW, {"n_channels": 10, "dropout": 0.7}),
    "tsn-warped-flow": NetworkEntry(
        bn_inception,
        replace(_TSN_FLOW, modality="warped_flow"),
        {"n_channels": 10, "dropout": 0.7},
    ),
    "tsn-rgb-difference": NetworkEntry(
        bn_inception,
        replace(_TSN_RGB, modality="rgb_difference", window=6, shortest=6),
        {"n_channels": 15},
    ),
    "ltc-rgb-60": NetworkEntry(ltc, _LTC_RGB),
    "ltc-rgb-100": NetworkEntry(
        ltc, replace(_LTC_RGB, window=100, shortest=100), {"n_frames": 100}
    ),
    "ltc-flow-60": NetworkEntry(ltc, _LTC_FLOW, {"n_channels": 2, "dropout": 0.9}),
    "ltc-flow-100": NetworkEntry(
        ltc,
        replace(_LTC_FLOW, window=100, shortest=100),
        {"n_channels": 2, "n_frames": 100, "dropout": 0.9},
    ),
    "motionnet": NetworkEntry(motionnet, _MOTIONNET),
    "hidden-temporal": NetworkEntry(hidden_two_stream, _HIDDEN_TEMPORAL),
    "efficientnet-lite0": NetworkEntry(efficientnet_lite0, _LITE0),
    "densenet121": NetworkEntry(densenet, replace(_IMAGE, feature_size=1024)),
    "t3d": NetworkEntry(t3d, _T3D, {"n_classes": None}),
    "resnet50": NetworkEntry(resnet, _IMAGE),
    "resnet101": NetworkEntry(resnet, _IMAGE, {"depth": 101}),
    "resnet152-spatial": NetworkEntry(resnet, _RESNET_SPATIAL, {"depth": 152, "n_classes": 101}),
    "resnet152-temporal": NetworkEntry(
        resnet, _RESNET_TEMPORAL, {"depth": 152, "n_channels": 20, "n_classes": 101}
    ),
}


class Network:
    """A network with its weights and its input specification, ready to embed windows.

    Made by `load_network`. Calling it with normalised windows returns named outputs.

    Attributes
    ----------
    name : str
        Name in `NETWORKS`.
    spec : InputSpec
    layers : tuple of str
        Names of the layers that can be asked for, from input to output.
    classes : tuple of str
        Names of the classes in the order of the scores; empty where they are not known.
    sha256 : str
        Of the weight file; empty without one.
    """

    def __init__(
        self,
        name: str,
        body: nn.Sequential,
        spec: InputSpec,
        device: str,
        *,
        classes: tuple[str, ...] = (),
        sha256: str = "",
        precision: Literal["float32", "float16"] = "float32",
    ) -> None:
        self.name, self.spec, self.classes, self.sha256 = name, spec, classes, sha256
        self.layers = tuple(layer for layer, _ in body.named_children())
        self._body, self._device, self._is_half = body, torch.device(device), precision != "float32"

    def __call__(
        self, windows: NDArray[Any] | Tensor, layers: Collection[str] = ()
    ) -> dict[str, Float32]:
        """Embed normalised windows.

        Parameters
        ----------
        windows : ndarray or Tensor of shape (N, *spec.shape), float32
            From `preprocess`. For networks of any length T may differ from the specification's.
        layers : collection of str
            Names of layers whose outputs are wanted besides.

        Returns
        -------
        dict of str to ndarray, float32
            "features" (N, spec.feature_size), "logits" (N, n_classes) where the network has
            class scores, and the layers asked for, as in the paper after their ReLU.

        Raises
        ------
        ValueError
            If the windows have another shape, or a layer does not exist.

        Notes
        -----
        On the CPU windows go through one at a time: a window's outputs do not depend on the
        others in its batch, to the last bit.
        """
        windows = torch.as_tensor(windows, dtype=torch.float32)
        self._check_windows(windows)
        if unknown := [layer for layer in layers if layer not in self.layers]:
            raise ValueError(f"{self.name} has no layer {unknown}; it has {list(self.layers)}")
        wanted = {self.spec.features, *layers, *({"logits"} & set(self.layers))}
        with torch.inference_mode():
            if self._device.type == "cpu":
                parts = [run_layers(self._body, window[None], wanted) for window in windows]
                found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            else:
                found = self._run_on_device(windows, wanted)
        outputs = {name: value.float().cpu().numpy() for name, value in found.items()}
        features = outputs[self.spec.features].reshape(len(windows), -1)
        kept = {name: outputs[name] for name in layers}
        scores = {name: outputs[name] for name in ("logits",) if name in outputs}
        return {"features": features, **scores, **kept}

    def preprocess(self, frames: NDArray[Any], n_crops: Literal[1, 10] = 1) -> Float32:
        """Turn one window of frames, or of flow, into the network's input.

        Parameters
        ----------
        frames : ndarray of shape (T, H, W, 3) uint8 RGB, or (T, H, W, 2) float32 flow in pixels
        n_crops : 1 or 10

        Returns
        -------
        ndarray of shape (n_crops, *spec.shape), float32
        """
        return preprocess(frames, self.spec, n_crops)

    def _run_on_device(self, windows: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        cudnn = torch.backends.cudnn
        with (
            cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False),
            torch.autocast(self._device.type, torch.float16, enabled=self._is_half),
        ):
            return run_layers(self._body, windows.to(self._device), wanted)

    def _check_windows(self, windows: Tensor) -> None:
        shape, spec = tuple(windows.shape[1:]), self.spec
        is_any_length = spec.shortest < spec.window and spec.layout == "volume"
        fits = len(shape) == len(spec.shape) and all(
            n == m or (is_any_length and axis == 1 and n >= spec.shortest)
            for axis, (n, m) in enumerate(zip(shape, spec.shape, strict=False))
        )
        if not fits or len(windows) == 0:
            length = f", or T >= {spec.shortest}" if is_any_length else ""
            raise ValueError(
                f"windows have shape {tuple(windows.shape)}; {self.name} takes (N, "
                f"{', '.join(map(str, spec.shape))}){length}"
            )


def load_network(
    name: str,
    weights: str | Path | None = None,
    device: str = "cpu",
    *,
    precision: Literal["float32", "float16"] = "float32",
) -> Network:
    """Load a network for inference.

    Parameters
    ----------
    name : str
        Name in `NETWORKS`: "i3d-rgb", "c3d", "tsn-rgb", ...
    weights : str, Path or None
        A name of `cinefeat weights list`, or a weight file. None draws random weights, the same
        ones every time.
    device : str
        "cpu", "cuda", "cuda:1".
    precision : "float32" or "float16"
        "float16" computes in mixed precision, on a CUDA device only.

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        If the name is not known, or the weights are missing, damaged, or of another network.

    Examples
    --------
    ::

        network = load_network("i3d-rgb", "i3d-kinetics400-rgb")
        outputs = network(network.preprocess(frames), layers=("Mixed_4f",))
    """
    if precision == "float16" and not device.startswith("cuda"):
        raise ValueError(f"precision 'float16' needs device='cuda', not {device!r}")
    body, spec, record = load_plain(name, weights)
    sha256 = "" if weights is None else sha256_of(find_weights(weights))
    body = inference_form(body.eval().requires_grad_(False).to(device))
    return Network(
        name, body, spec, device, classes=record.classes, sha256=sha256, precision=precision
    )


def load_plain(
    name: str, weights: str | Path | None = None
) -> tuple[nn.Sequential, InputSpec, WeightRecord]:
    """Load a network in the form in which it is trained, its input, and its weights' record.

    Parameters, errors and the meaning of None are those of `load_network`.
    """
    entry = network_entry(name)
    if weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build_network(name), entry.spec, WeightRecord(name)
    body, record = _filled(name, find_weights(weights))
    return body, change_spec(entry.spec, record.spec), record


def network_entry(name: str) -> NetworkEntry:
    """Return a network of the table; an unknown name is a `ValueError` that lists the known."""
    if name not in NETWORKS:
        raise ValueError(f"no network {name!r}; known are {', '.join(NETWORKS)}")
    return NETWORKS[name]


def build_network(name: str, options: Mapping[str, Any] | None = None) -> nn.Sequential:
    """Build a network of the table with random weights, in the form in which it is trained."""
    entry = network_entry(name)
    return entry.build(**{**entry.options, **(options or {})})


def expected_shapes(
    name: str, options: Mapping[str, Any] | None = None
) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor that the weights of a network hold."""
    with torch.device("meta"):
        return _shapes(build_network(name, options))


def _filled(name: str, path: Path) -> tuple[nn.Sequential, WeightRecord]:
    tensors, record = read_weights(path)
    if record.network != name:
        raise ValueError(f"{path} holds weights of {record.network!r}, not of {name!r}")
    with torch.device("meta"):
        body = build_network(name, record.options)
    check_tensors(tensors, _shapes(body), str(path))
    body.load_state_dict(tensors, strict=False, assign=True)
    return body, record


def _shapes(body: nn.Sequential) -> dict[str, tuple[int, ...]]:
    state = body.state_dict().items()
    return {key: tuple(t.shape) for key, t in state if not key.endswith("num_batches_tracked")}
