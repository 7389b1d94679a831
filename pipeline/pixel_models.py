"""Models of the table [network] that learn from pixels, beside those that learn flow.

Karpathy's single-stream networks, FstCN, LTC, T3D and its transfer from images, and networks of
`cinefeat.extractors.networks` that are fine-tuned from their weights. Each has a function that builds
it and one that says what its windows are like.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cinefeat.extractors import change_spec
from cinefeat.extractors.finetune import SCORES, FineTuned, start_from
from cinefeat.extractors.fstcn import WINDOW, FstCN, sci_fusion
from cinefeat.extractors.inflate import inflate_tensors
from cinefeat.extractors.layers import chain, draw_he_weights
from cinefeat.extractors.ltc import ltc
from cinefeat.extractors.networks import build_network, load_plain, network_entry
from cinefeat.extractors.pairing import PairNetwork, pair_loss
from cinefeat.extractors.single_stream import WINDOWS, SingleStream
from cinefeat.extractors.spec import InputSpec, Modality
from cinefeat.extractors.t3d import t3d
from cinefeat.extractors.weights import (
    Tensors,
    WeightRecord,
    find_weights,
    read_record,
    read_weights,
)
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.network_settings import (
    FineTuneSettings,
    FstCNSettings,
    LTCSettings,
    SingleStreamSettings,
    StreamSettings,
    T3DSettings,
    TransferSettings,
)

Shapes = Sequence[tuple[int, ...]]
# mean of Karpathy et al.; the divisor keeps He's first weights in their scale
_GREY = InputSpec("rgb", 1, 200, 170, (117.0,) * 3, (58.0,) * 3, "fc7", 4096)
_MODALITIES: dict[str, Modality] = {"frames": "rgb", "flow": "flow", "warped_flow": "warped_flow"}
_I3D_POOL = 193  # pixels below which the published average pool does not fit
# frames that LTC's crops are cut from, (height, width)
_LTC_FRAMES = {58: (67, 89), 71: (81, 108), 112: (128, 171)}


def single_stream_spec(settings: SingleStreamSettings, _: StreamSettings) -> InputSpec:
    """Return what Karpathy's networks see: crops of 170 of 200 pixels, in that ratio."""
    resize = max(round(settings.size * 200 / 170), settings.size)
    return replace(
        _GREY, window=WINDOWS[settings.fusion], shortest=0, resize=resize, crop=settings.size
    )


def build_single_stream(
    settings: SingleStreamSettings, _: StreamSettings, __: Shapes, n_classes: int
) -> nn.Module:
    """Build one of Karpathy's networks with random weights."""
    network = SingleStream(
        settings.fusion, n_classes, settings.size, settings.two_resolutions, settings.width
    )
    return draw_he_weights(network)


def fstcn_spec(settings: FstCNSettings, _: StreamSettings) -> InputSpec:
    """Return what FstCN sees: 30 frames, crops of 204 of 240 pixels, in that ratio."""
    resize = max(round(settings.size * 240 / 204), settings.size)
    return replace(_GREY, window=WINDOW, shortest=0, resize=resize, crop=settings.size)


def build_fstcn(
    settings: FstCNSettings, _: StreamSettings, __: Shapes, n_classes: int
) -> nn.Module:
    """Build FstCN with random weights, features in their first order."""
    return draw_he_weights(FstCN(n_classes, settings.size, settings.width))


def join_fstcn(settings: FstCNSettings, scores: Tensor) -> Tensor:
    """Join the probabilities (N, K, n_classes) of K windows, all crops of the first window first."""
    if settings.join == "mean":
        return scores.mean(dim=1)
    by_crop = scores.unflatten(1, (-1, settings.test_crops)).transpose(1, 2)
    return torch.from_numpy(np.stack([sci_fusion(video) for video in by_crop.cpu().numpy()]))


def ltc_spec(settings: LTCSettings, stream: StreamSettings) -> InputSpec:
    """Return what LTC sees: flow where the stream reads it, else frames."""
    _check_modality(stream)
    is_flow = stream.inputs[0] != "frames"
    spec = network_entry("ltc-flow-60" if is_flow else "ltc-rgb-60").spec
    size = settings.size
    return replace(
        spec,
        modality=_MODALITIES[stream.inputs[0]],
        window=settings.window,
        shortest=0,
        resize=_LTC_FRAMES.get(size, (round(size * 8 / 7), round(size * 32 / 21))),
        crop=size,
    )


def build_ltc(
    settings: LTCSettings, stream: StreamSettings, _: Shapes, n_classes: int
) -> nn.Module:
    """Build LTC with random weights, or those that the stream names."""
    n_channels = 3 if stream.inputs[0] == "frames" else 2
    network = ltc(
        n_channels, n_classes, settings.window, settings.size, settings.dropout, settings.width
    )
    draw_he_weights(network)
    return _started(network, stream)


def _check_modality(stream: StreamSettings) -> None:
    if stream.inputs[0] not in _MODALITIES:
        raise InputError(
            f"network stream {stream.name!r} has inputs {list(stream.inputs)}, but model 'ltc' "
            "reads frames, flow or warped_flow"
        )


def t3d_spec(settings: T3DSettings, _: StreamSettings) -> InputSpec:
    """Return what T3D sees: crops of 224 of 256 pixels, in that ratio."""
    resize = round(settings.size * 256 / 224)
    spec = network_entry("t3d").spec
    return replace(spec, window=settings.window, shortest=0, resize=resize, crop=settings.size)


def build_t3d(
    settings: T3DSettings, stream: StreamSettings, _: Shapes, n_classes: int | None
) -> nn.Module:
    """Build T3D with random weights, or those that the stream names."""
    network = t3d(
        settings.depth,
        n_classes,
        settings.transitions,
        halves_channels=settings.halves_channels,
        dropout=settings.dropout,
        width=settings.width,
    )
    draw_he_weights(network)
    return _started(network, stream)


class _Renormalised(nn.Module):
    """Frames as one network takes them, given as another does."""

    def __init__(self, given: InputSpec, wanted: InputSpec) -> None:
        super().__init__()
        shape = (1, 3, 1, 1)
        scale = torch.tensor(given.std) / torch.tensor(wanted.std)
        shift = (torch.tensor(given.mean) - torch.tensor(wanted.mean)) / torch.tensor(wanted.std)
        self.register_buffer("scale", scale.reshape(shape))
        self.register_buffer("shift", shift.reshape(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return images of the shape of `x` (N, 3, H, W)."""
        return x * self.get_buffer("scale") + self.get_buffer("shift")


def build_transfer(
    settings: TransferSettings, stream: StreamSettings, shapes: Shapes, _: int
) -> PairNetwork:
    """Build a fixed image network, T3D without scores, and the head that compares them.

    Raises
    ------
    InputError
        If `images` is no network of single RGB images.
    """
    body, spec, _record = load_plain(settings.images, settings.images_weights)
    is_image = (spec.modality, spec.window, spec.channel_order) == ("rgb", 1, "rgb")
    if not is_image or spec.layout != "stack":
        raise InputError(f"network.images is {settings.images!r}; it takes no single RGB images")
    names = [name for name, _ in body.named_children()]
    layers = list(body.children())[: names.index(spec.features) + 1]
    images = chain(_Renormalised(t3d_spec(settings, stream), spec), *layers, nn.Flatten())
    videos = build_t3d(settings, stream, shapes, None)
    last = videos.get_submodule("norm5.norm").get_parameter("weight")
    return PairNetwork(images, videos, spec.feature_size, len(last), settings.width)


def transfer_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `pair_loss` of a batch of windows (N, 1, 3, T, H, W), each of another video."""
    clips = batch["x0"][:, 0]
    if len(clips) < 2:
        raise ValueError(
            "a batch has one clip left, and unpaired clips need two: choose another batch_size"
        )
    numbers = torch.arange(len(clips), device=clips.device)
    return pair_loss(model, {"clip": clips, "frames": clips, "video": numbers})


def fine_tune_spec(settings: FineTuneSettings, stream: StreamSettings) -> InputSpec:
    """Return what the network's weights take, at the length and size of the recipe."""
    spec = network_entry(settings.network).spec
    if stream.weights:
        spec = change_spec(spec, read_record(find_weights(stream.weights)).spec)
    window, size = settings.window or spec.window, settings.size or spec.crop
    share = size / spec.crop
    if isinstance(spec.resize, int):
        resize: int | tuple[int, int] = round(spec.resize * share)
    else:
        resize = (round(spec.resize[0] * share), round(spec.resize[1] * share))
    return replace(
        spec, window=window, shortest=min(spec.shortest, window), resize=resize, crop=size
    )


def build_fine_tuned(
    settings: FineTuneSettings, stream: StreamSettings, _: Shapes, n_classes: int
) -> nn.Module:
    """Build a network for new classes with the weights that the stream names.

    Raises
    ------
    InputError
        If the weights are of another network or width.
    """
    options: dict[str, Any] = {"n_classes": n_classes, "width": settings.width}
    spec = network_entry(settings.network).spec
    given = (settings.size or spec.crop, settings.window or spec.window)
    if settings.network == "c3d" and given != (spec.crop, spec.window):
        raise InputError(
            f"c3d takes windows of 112 px and 16 frames; network.size and window are {given}"
        )
    tensors = None
    if stream.weights:
        tensors, record = read_weights(find_weights(stream.weights))
        if network_entry(record.network).build is not network_entry(settings.network).build:
            raise InputError(
                f"{stream.weights} holds weights of {record.network!r}, and network.network is "
                f"{settings.network!r}"
            )
        options = {**record.options, **network_entry(settings.network).options, **options}
    options |= _pool_option(settings)
    try:
        network = build_network(settings.network, options)
    except TypeError as error:
        raise InputError(f"{settings.network} cannot be fine-tuned: {error}") from error
    _check_rates(settings, network)
    if tensors is None:
        draw_he_weights(network)
    else:
        _start(network, tensors, stream.weights)
    return FineTuned(network, settings.partial_norm)


def _check_rates(settings: FineTuneSettings, network: nn.Sequential) -> None:
    """Refuse a rate of a layer that the network does not have."""
    layers = [
        name
        for name, layer in network.named_children()
        if next(layer.parameters(), None) is not None
    ]
    inner = {part for name, _ in network.named_parameters() for part in name.split(".")}
    if unknown := settings.rates.keys() - inner:
        raise InputError(
            f"network.rates names {min(unknown)!r}, and {settings.network} has no such layer; it "
            f"has {', '.join(layers)}"
        )


def fine_tune_rate(settings: FineTuneSettings, name: str) -> float:
    """Return the factor of the learning rate of a parameter: that of its layer."""
    found = [rate for layer, rate in settings.rates.items() if layer in name.split(".")]
    return found[0] if found else settings.other_rate


def exported(
    settings: LTCSettings | T3DSettings | FineTuneSettings,
    stream: StreamSettings,
    network: nn.Module,
    classes: Sequence[str],
) -> tuple[Tensors, WeightRecord]:
    """Return the tensors and the record of a weight file of a trained LTC, T3D or tuned network.

    Of the transfer it is the video network, which has no scores.
    """
    inner = "videos" if isinstance(settings, TransferSettings) else "body"
    inner = "body.body" if isinstance(settings, FineTuneSettings) else inner
    state = network.get_submodule(inner).state_dict()
    tensors = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    n_classes = len(tensors["logits.bias"]) if "logits.bias" in tensors else None
    options: dict[str, Any] = {"n_classes": n_classes, "width": settings.width}
    name, spec, more = _identity(settings, stream)
    size = _feature_size(tensors, spec.features)
    usual, changed = network_entry(name).spec.to_dict(), replace(spec, feature_size=size).to_dict()
    changes = {key: value for key, value in changed.items() if value != usual[key]}
    kept = () if n_classes is None else tuple(classes)
    return tensors, WeightRecord(name, "", options | more, changes, kept)


def _identity(settings: Any, stream: StreamSettings) -> tuple[str, InputSpec, dict[str, Any]]:
    """Return the name of what was trained in `NETWORKS`, its input, and its builder's options."""
    if isinstance(settings, FineTuneSettings):
        more: dict[str, Any] = {}
        if stream.weights:
            more = dict(read_record(find_weights(stream.weights)).options)
        more |= _pool_option(settings)
        kept = {key: value for key, value in more.items() if key not in ("n_classes", "width")}
        return settings.network, fine_tune_spec(settings, stream), kept
    if isinstance(settings, LTCSettings):
        name = "ltc-rgb-60" if stream.inputs[0] == "frames" else "ltc-flow-60"
        more = {"n_frames": settings.window, "size": settings.size, "dropout": settings.dropout}
        return name, ltc_spec(settings, stream), more
    names = ("depth", "transitions", "halves_channels", "dropout")
    return "t3d", t3d_spec(settings, stream), {name: getattr(settings, name) for name in names}


def _feature_size(tensors: Tensors, layer: str) -> int:
    """Return the length of a feature: of a full layer, or of the map before the mean."""
    if f"{layer}.linear.bias" in tensors:
        return len(tensors[f"{layer}.linear.bias"])
    if "norm5.norm.bias" in tensors:
        return len(tensors["norm5.norm.bias"])
    return tensors["logits.weight"].shape[1]


def _pool_option(settings: FineTuneSettings) -> dict[str, Any]:
    """Return whether a picture is large enough for the average pool of I3D."""
    if settings.size is None or not settings.network.startswith("i3d"):
        return {}
    return {"has_average_pool": settings.size >= _I3D_POOL}


def _started(network: nn.Sequential, stream: StreamSettings) -> nn.Sequential:
    if stream.weights:
        tensors, _ = read_weights(find_weights(stream.weights))
        _start(network, tensors, stream.weights)
    return network


def _start(network: nn.Sequential, tensors: Tensors, weights: str) -> None:
    """Copy learned weights into a network, those of RGB also into one of flow."""
    wanted = {n: tuple(t.shape) for n, t in network.state_dict().items() if n in tensors}
    body = {name: shape for name, shape in wanted.items() if not name.startswith(SCORES)}
    try:
        start_from(network, {**tensors, **inflate_tensors(tensors, body)}, weights)
    except ValueError as error:
        raise InputError(f"{weights} does not fit the network of the recipe: {error}") from error
