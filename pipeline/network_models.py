"""The models of the table [network]: how each is built, what it reads, and its loss.

A model either reads stored arrays of the embed stage (`spec` is None): its inputs are float32
(N, T, D) features or (N, T, C, H, W) maps, T being the steps of the recipe, the first dimension of a
map's own time averaged. Or it reads pixels: normalised windows (N, K, *spec.shape) of frames or flow,
K being the segments of the recipe; then what is built maps single windows (M, *spec.shape) to scores,
and `SegmentConsensus` makes scores of videos of them, unless the model `takes_segments` itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cinefeat.classifiers.consensus import SegmentConsensus, classification_loss
from cinefeat.classifiers.training import Loss
from cinefeat.extractors.spec import InputSpec
from cinefeat.extractors.weights import Tensors, WeightRecord
from cinefeat.pipeline import pixel_models as pixels
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.head_models import (
    build_action_vlad,
    build_attention,
    build_consensus,
    build_fusion,
    build_lrcn,
    build_pooling,
    set_anchors,
    vlad_rate,
)
from cinefeat.pipeline.motion_models import (
    build_hidden,
    build_motionnet,
    joint_loss,
    motion_spec,
    unsupervised_loss,
    weights_of,
)
from cinefeat.pipeline.network_settings import (
    PixelSettings,
    StreamSettings,
    TrainedSettings,
)

Shapes = Sequence[tuple[int, ...]]


def mean_of_windows(_: Any, scores: Tensor) -> Tensor:
    """Return the mean (N, n_classes) of the scores (N, K, n_classes) of steps or windows."""
    return scores.mean(dim=1)


@dataclass(frozen=True)
class ModelEntry:
    """A model of the table.

    Parameters
    ----------
    build : callable
        ``build(settings, stream, shapes, n_classes)`` gives the network with random weights, or
        those that the stream names. `shapes` are those of one sample's inputs, without N.
    spec : callable or None
        ``spec(settings, stream)`` says what windows of pixels are like; None for stored arrays.
    loss : callable
        As `fit_network` takes it.
    inputs : tuple of tuple of int
        Of a model of stored arrays: the dimensions that its inputs may have, `FEATURES` or `MAPS`.
    prepare : callable or None
        ``prepare(settings, network, batches)`` sees some batches of training samples before training begins.
    takes_segments : bool
        Whether a network of pixels takes (N, K, ...) rather than single windows.
    join : callable
        ``join(settings, scores)`` makes scores of videos (N, n_classes) of those of their steps or
        windows (N, K, n_classes) at test.
    rate_of : callable or None
        ``rate_of(settings, name)`` is the factor of a parameter's learning rate; 0 fixes it.
    weights : callable or None
        ``weights(settings, stream, network, classes)`` gives the tensors and the record of a weight
        file, where what is trained is a network of the table `NETWORKS`.
    """

    build: Callable[[Any, StreamSettings, Shapes, int], nn.Module]
    spec: Callable[[Any, StreamSettings], InputSpec] | None = None
    loss: Loss = classification_loss
    inputs: tuple[tuple[int, ...], ...] = ()
    prepare: Callable[[Any, Any, Sequence[dict[str, Tensor]]], None] | None = None
    takes_segments: bool = False
    join: Callable[[Any, Tensor], Tensor] = mean_of_windows
    rate_of: Callable[[Any, str], float] | None = None
    weights: (
        Callable[[Any, StreamSettings, nn.Module, Sequence[str]], tuple[Tensors, WeightRecord]]
        | None
    ) = None


FEATURES, MAPS = 2, 4  # dimensions of one sample's input

MODELS: dict[str, ModelEntry] = {
    "motionnet": ModelEntry(
        build_motionnet,
        motion_spec,
        unsupervised_loss,
        takes_segments=True,
        weights=weights_of,
    ),
    "hidden-two-stream": ModelEntry(
        build_hidden, motion_spec, joint_loss, takes_segments=True, weights=weights_of
    ),
    "lrcn": ModelEntry(build_lrcn, inputs=((FEATURES,),)),
    "segment-consensus": ModelEntry(build_consensus, inputs=((FEATURES,),)),
    "attention": ModelEntry(build_attention, inputs=((FEATURES,), (FEATURES, FEATURES))),
    "action-vlad": ModelEntry(
        build_action_vlad, inputs=((MAPS,),), prepare=set_anchors, rate_of=vlad_rate
    ),
    "two-stream-fusion": ModelEntry(build_fusion, inputs=((MAPS, MAPS),)),
    "snippet-pooling": ModelEntry(build_pooling, inputs=((FEATURES,), (MAPS,))),
    "single-stream": ModelEntry(pixels.build_single_stream, pixels.single_stream_spec),
    "fstcn": ModelEntry(pixels.build_fstcn, pixels.fstcn_spec, join=pixels.join_fstcn),
    "ltc": ModelEntry(pixels.build_ltc, pixels.ltc_spec, weights=pixels.exported),
    "t3d": ModelEntry(pixels.build_t3d, pixels.t3d_spec, weights=pixels.exported),
    "t3d-transfer": ModelEntry(
        pixels.build_transfer,
        pixels.t3d_spec,
        pixels.transfer_loss,
        takes_segments=True,
        weights=pixels.exported,
    ),
    "fine-tune": ModelEntry(
        pixels.build_fine_tuned,
        pixels.fine_tune_spec,
        rate_of=pixels.fine_tune_rate,
        weights=pixels.exported,
    ),
}


def build_model(settings: Any, stream: StreamSettings, shapes: Shapes, n_classes: int) -> nn.Module:
    """Build the network of a stream, with the consensus over the windows of a video."""
    entry = MODELS[settings.model]
    found = tuple(len(shape) for shape in shapes)
    if entry.inputs and found not in entry.inputs:
        names = {FEATURES: "features", MAPS: "maps"}
        wanted = " or ".join(" and ".join(names[n] for n in kind) for kind in entry.inputs)
        raise InputError(
            f"network stream {stream.name!r} reads arrays of shapes {[*shapes]}, but model "
            f"{settings.model!r} takes {wanted}: correct its inputs"
        )
    network = entry.build(settings, stream, shapes, n_classes)
    if entry.spec is None or entry.takes_segments:
        return network
    return SegmentConsensus(network, settings.consensus, settings.segments)


def spec_of(settings: TrainedSettings, stream: StreamSettings) -> InputSpec | None:
    """Return what the windows of a stream of pixels are like, None for stored arrays."""
    spec = MODELS[settings.model].spec  # type: ignore[attr-defined]
    if spec is None:
        return None
    found = spec(settings, stream)
    if isinstance(settings, PixelSettings) and settings.whole_frame:
        from cinefeat.extractors import change_spec

        return change_spec(found, {"resize": [found.crop, found.crop]})
    return found
