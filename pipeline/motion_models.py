"""Models of the table [network] that learn optical flow: MotionNet and the hidden two-stream network.

Zhu, Lan, Newsam, Hauptmann, "Hidden Two-Stream Convolutional Networks for Action Recognition", 2017.
MotionNet learns from frames alone. The temporal stream is VGG-16 on the flow of a MotionNet, both
trained as one by the labels and the unsupervised losses, structural similarity at a tenth; the
spatial stream is VGG-16 on single frames.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from cinefeat.classifiers.consensus import SegmentConsensus, classification_loss
from cinefeat.extractors import change_spec
from cinefeat.extractors.finetune import start_from
from cinefeat.extractors.layers import draw_he_weights, scaled
from cinefeat.extractors.motion_losses import JOINT_WEIGHTS, motion_losses
from cinefeat.extractors.motionnet import MotionNet, flows_and_scores, hidden_two_stream
from cinefeat.extractors.networks import NETWORKS
from cinefeat.extractors.spec import InputSpec
from cinefeat.extractors.two_stream import vgg16
from cinefeat.extractors.weights import WeightRecord, check_tensors, find_weights, read_weights
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.network_settings import (
    HiddenTwoStreamSettings,
    MotionNetSettings,
    StreamSettings,
)

Shapes = Sequence[tuple[int, ...]]
_FLOW = "flow.levels."  # of the tensors of a MotionNet in its weight files
_STREAMS = {"spatial": "vgg16-spatial", "temporal": "hidden-temporal"}


class JointTraining(nn.Module):
    """A temporal stream on its own flow, for both of its losses.

    Parameters
    ----------
    body : nn.Sequential
        Of `hidden_two_stream`.
    """

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, windows: Tensor) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """Return scores (N, K, n_classes) of windows (N, K, C, H, W); in training, flows too.

        The flows are those of `MotionNet` of the N K windows.
        """
        flows, scores = flows_and_scores(self.body, windows.flatten(0, 1))
        scores = scores.unflatten(0, windows.shape[:2])
        return (scores, flows) if self.training else scores


def build_motionnet(
    settings: MotionNetSettings, stream: StreamSettings, _: Shapes, __: int
) -> MotionNet:
    """Build a MotionNet with random weights, or those that the stream names."""
    network = MotionNet(settings.n_frames, settings.width)
    if stream.weights:
        _take_motionnet(network, stream)
    return network


def build_hidden(
    settings: HiddenTwoStreamSettings, stream: StreamSettings, _: Shapes, n_classes: int
) -> nn.Module:
    """Build one stream; the temporal one may begin with the weights of a MotionNet or of its own."""
    size, width, dropout = settings.size, settings.width, settings.dropout
    if stream.name == "spatial":
        spatial = vgg16(3, n_classes, dropout, width=width, size=size)
        draw_he_weights(spatial)
        if stream.weights:
            _start(spatial, stream)
        return SegmentConsensus(spatial, "none")
    body = hidden_two_stream(settings.n_frames, n_classes, width, size=size, dropout=dropout)
    if stream.weights and _read(stream)[1].network == "motionnet":
        _take_motionnet(body.get_submodule("codes.levels"), stream)
    elif stream.weights:
        _start(body, stream)
    return JointTraining(body)


def motion_spec(
    settings: MotionNetSettings | HiddenTwoStreamSettings, stream: StreamSettings
) -> InputSpec:
    """Return what windows a stream takes: stacks of frames, or single ones."""
    return change_spec(NETWORKS[_network_of(settings, stream)].spec, _changes(settings, stream))


def unsupervised_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the losses of a MotionNet on stacks `x0` (N, K, C, H, W): see `motion_losses`."""
    frames = batch["x0"].flatten(0, 1)
    return motion_losses(model(frames), frames)


def joint_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the losses of a hidden two-stream network.

    Those of the labels, and of a temporal stream in training also the `photometric` one, which with
    the other unsupervised ones is part of `loss`.
    """
    found = model(batch["x0"])
    scores, flows = found if isinstance(found, tuple) else (found, None)
    judged = classification_loss(nn.Identity(), {"x0": scores, "label": batch["label"]})
    if flows is None:
        return judged
    motion = motion_losses(flows, batch["x0"].flatten(0, 1), JOINT_WEIGHTS)
    return {
        **judged,
        "loss": judged["loss"] + motion["loss"],
        "photometric": motion["photometric"],
    }


def weights_of(
    settings: MotionNetSettings | HiddenTwoStreamSettings,
    stream: StreamSettings,
    network: nn.Module,
    classes: Sequence[str],
) -> tuple[dict[str, Tensor], WeightRecord]:
    """Return the tensors and the record of a weight file of a trained stream."""
    name, changes = _network_of(settings, stream), _changes(settings, stream)
    options: dict[str, Any] = {"width": settings.width}
    if stream.name != "spatial" or name == "motionnet":
        options["n_frames"] = settings.n_frames
    if isinstance(settings, MotionNetSettings):
        tensors = {_FLOW + key: tensor for key, tensor in network.state_dict().items()}
        return tensors, WeightRecord(name, options=options, spec=changes)
    options |= {"n_classes": len(classes), "size": settings.size}
    tensors = network.get_submodule("body").state_dict()
    return tensors, WeightRecord(name, options=options, spec=changes, classes=tuple(classes))


def _network_of(
    settings: MotionNetSettings | HiddenTwoStreamSettings, stream: StreamSettings
) -> str:
    """Return the name of a stream's network in `NETWORKS`."""
    return "motionnet" if isinstance(settings, MotionNetSettings) else _STREAMS[stream.name]


def _changes(
    settings: MotionNetSettings | HiddenTwoStreamSettings, stream: StreamSettings
) -> dict[str, Any]:
    """Return what differs from the usual input of a stream's network."""
    changes: dict[str, Any] = {"resize": settings.resize, "crop": settings.size}
    name = _network_of(settings, stream)
    if name == "motionnet":
        changes["feature_size"] = 2 * (settings.n_frames - 1) * settings.size**2
    else:
        changes["feature_size"] = scaled(4096, settings.width)
    if name != "vgg16-spatial":
        n = settings.n_frames
        changes |= {"window": n, "shortest": n, "stride": n - 1}
    return changes


def _take_motionnet(network: nn.Module, stream: StreamSettings) -> None:
    """Copy a MotionNet's weights into a network of its size."""
    tensors, record = _read(stream)
    if record.network != "motionnet":
        raise InputError(f"{stream.weights} holds weights of {record.network!r}, not 'motionnet'")
    tensors = {name.removeprefix(_FLOW): tensor for name, tensor in tensors.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    check_tensors(tensors, shapes, stream.weights)
    network.load_state_dict(tensors)


def _start(body: nn.Sequential, stream: StreamSettings) -> None:
    """Copy the weights of a whole stream, but for scores of other classes."""
    tensors, record = _read(stream)
    if record.network != _STREAMS[stream.name]:
        raise InputError(
            f"{stream.weights} holds weights of {record.network!r}, not {_STREAMS[stream.name]!r}"
        )
    start_from(body, tensors, stream.weights)


def _read(stream: StreamSettings) -> tuple[dict[str, Tensor], WeightRecord]:
    return read_weights(find_weights(stream.weights))
