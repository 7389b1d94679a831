"""The kinds of the table [network]: one for each model that is trained here."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from cinefeat.pipeline.table import Settings, WeightFile

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Side = Annotated[int, Field(ge=16, le=1024, description="of the square that is seen, in pixels")]
Rate = Annotated[float, Field(ge=0, le=100)]
PIXELS = ("frames", "flow", "warped_flow")


class StreamSettings(Settings):
    """One network that is trained: what it reads, and what its scores count."""

    name: str = Field(pattern=r"^[\w-]+$", description="of its product")
    inputs: tuple[str, ...] = Field(
        min_length=1,
        description="arrays of the embed stage, as i3d-rgb/features; or frames, flow, warped_flow",
    )
    weight: Positive = Field(default=1.0, description="of its scores in the mean of the streams")
    weights: str = Field(default="", description="weights that a fine-tuned network begins with")
    origin: str = Field(
        default="", description="where the weights come from, told when they are not there"
    )


class TrainedSettings(Settings):
    """What all trained networks have in common: streams, width, and how they are trained."""

    classifies: ClassVar[bool] = True

    streams: tuple[StreamSettings, ...] = Field(min_length=1)
    width: Annotated[float, Field(gt=0, le=4)] = Field(
        default=1.0, description="factor of all layers; 1 is the paper's"
    )
    scores: Literal["softmax", "logits"] = Field(
        default="softmax", description="what is averaged over steps, windows and streams"
    )
    n_epochs: Count
    batch_size: Count = 32
    optimiser: Literal["sgd", "nesterov", "adam", "adadelta"] = Field(
        default="sgd", description="nesterov is sgd with Nesterov's momentum"
    )
    learning_rate: Positive = 1e-3
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    milestones: tuple[Count, ...] = Field(
        default=(), description="epochs from which on the rate is a tenth of what it was"
    )
    clip_norm: Positive | None = Field(
        default=None, description="gradients of greater norm are scaled down to it"
    )
    validation: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.0, description="share of the training clips, whole groups, that says when to stop"
    )
    patience: Count | None = Field(
        default=None, description="epochs without a lower validation loss before training ends"
    )
    mixed_precision: bool = Field(default=False, description="bfloat16 products, for GPUs")
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _patience_has_something_to_watch(self) -> Self:
        if self.patience is not None and self.validation == 0:
            raise ValueError(
                f"patience = {self.patience} needs a validation part: set validation, as to 0.2"
            )
        return self

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.optimiser == "nesterov" and self.momentum == 0:
            raise ValueError('momentum = 0 has nothing for nesterov: use optimiser = "sgd"')
        return self

    @property
    def stream_names(self) -> tuple[str, ...]:
        """Names of the stage's products."""
        return tuple(stream.name for stream in self.streams)

    @property
    def reads_groups(self) -> bool:
        """Whether the validation part is cut by the clips' groups."""
        return self.validation > 0

    @property
    def weight_files(self) -> tuple[WeightFile, ...]:
        """The weights that fine-tuned networks begin with."""
        return tuple(
            WeightFile(stream.name, stream.weights, stream.origin)
            for stream in self.streams
            if stream.weights
        )


class _Head(TrainedSettings):
    """A network on stored features or maps."""

    steps: Count = Field(
        default=25, description="rows of a clip that it sees: one from each of as many equal parts"
    )
    normalise: bool = Field(
        default=False,
        description="scale each step's features, or a map's at each place, to unit length",
    )


class PixelSettings(TrainedSettings):
    """A network on windows of decoded frames or of stored flow."""

    segments: Count = Field(
        default=1, description="windows of a clip in a training sample, one from each equal part"
    )
    consensus: Literal["none", "average", "max", "weighted"] = Field(
        default="average", description="of the scores of the windows of a sample"
    )
    test_windows: Count = Field(default=5, description="windows of a clip, evenly spaced, at test")
    test_crops: Literal[1, 10] = 1
    whole_frame: bool = Field(
        default=False, description="squeeze the whole frame into the network's square at test"
    )
    scale: tuple[Positive, ...] = Field(
        default=(1.0, 0.875, 0.75, 0.66),
        min_length=1,
        description="sides of the random training crops, as shares of the frame's short side",
    )
    flip: bool = Field(default=True, description="mirror half of the training samples")


class LRCNSettings(_Head):
    """LSTM over features of frames (Donahue et al. 2015)."""

    model: Literal["lrcn"]
    n_units: Count = Field(default=256, description="256 in the paper, which also tries 1024")
    dropout: tuple[Share, Share] = Field(
        default=(0.9, 0.5), description="of the features, and of the hidden states"
    )


class ConsensusSettings(_Head):
    """Consensus of the scores of segments (Wang et al. 2016), on stored features."""

    model: Literal["segment-consensus"]
    consensus: Literal["average", "max", "weighted"] = "average"
    dropout: Share = Field(default=0.8, description="0.8 for frames, 0.7 for flow in the paper")


class _MotionSettings(PixelSettings):
    """Stacks of frames whose flow is learned."""

    n_frames: Annotated[int, Field(ge=2)] = Field(default=11, description="of a stack; 11")
    resize: Count = Field(default=256, description="shorter side of the frames at test, in pixels")
    size: Annotated[int, Field(ge=32, multiple_of=32)] = Field(
        default=224, description="side of the crops in pixels"
    )

    @model_validator(mode="after")
    def _crops_fit(self) -> Self:
        if self.size > self.resize:
            raise ValueError(f"size = {self.size} is more than resize = {self.resize}")
        return self


class MotionNetSettings(_MotionSettings):
    """Flow learned from frames without labels (Zhu et al. 2017)."""

    classifies: ClassVar[bool] = False

    model: Literal["motionnet"]


class HiddenTwoStreamSettings(_MotionSettings):
    """VGG-16 on frames, and on the flow that is learned with it (Zhu et al. 2017)."""

    model: Literal["hidden-two-stream"]
    dropout: tuple[Share, Share] = Field(default=(0.9, 0.8), description="after fc6 and fc7")

    @model_validator(mode="after")
    def _streams_are_two(self) -> Self:
        if wrong := set(self.stream_names) - {"spatial", "temporal"}:
            raise ValueError(f"stream {min(wrong)!r}: the streams are 'spatial' and 'temporal'")
        return self


class AttentionSettings(_Head):
    """Temporal attention over features (Yao et al. 2015), adapted to class labels."""

    model: Literal["attention"]
    n_glances: Count = Field(default=1, description="steps of the LSTM that attends")
    dropout: Share = 0.5
    penalty: Annotated[float, Field(ge=0)] = Field(
        default=0.706, description="of attention that is far from equal"
    )


class ActionVLADSettings(_Head):
    """Trainable sums of residuals over conv maps (Girdhar et al. 2017)."""

    model: Literal["action-vlad"]
    n_anchors: Count = Field(default=64, description="begun by k-means; 64 in the paper")
    alpha: Positive = Field(default=1000.0, description="how hard the assignment begins")
    anchor_rate: Annotated[float, Field(ge=0)] = Field(
        default=0.01, description="factor of the anchors' and the assignment's learning rate"
    )
    dropout: Share = Field(default=0.0, description="of the vector; 0.5 in the paper's text")


class FusionSettings(_Head):
    """Two streams of conv maps fused by a convolution (Feichtenhofer et al. 2016)."""

    model: Literal["two-stream-fusion"]
    fusion: Literal["conv3d", "conv2d"] = "conv3d"
    dropout: Share = 0.85


class PoolingSettings(_Head):
    """Pooling over frames at different depths (Ng et al. 2015)."""

    model: Literal["snippet-pooling"]
    variant: Literal["conv", "late", "slow", "local", "time-conv"] = "conv"
    dropout: Share = 0.5


class SingleStreamSettings(PixelSettings):
    """Single-frame, early, late and slow fusion (Karpathy et al. 2014)."""

    model: Literal["single-stream"]
    fusion: Literal["single", "early", "late", "slow"] = "slow"
    two_resolutions: bool = Field(
        default=False, description="one stack sees the frame at half its size, one its centre"
    )
    size: Side = Field(default=170, description="pixels; 178 with two resolutions in the paper")


class FstCNSettings(PixelSettings):
    """Factorised spatio-temporal convolutions (Sun et al. 2015)."""

    model: Literal["fstcn"]
    size: Side = Field(default=204, description="pixels; at least 75")
    join: Literal["sparsity", "mean"] = Field(
        default="sparsity",
        description="of a video's windows and crops: each crop's windows weighted by the sparsity "
        "of their probabilities, then the maximum over crops; or the mean of all",
    )

    @model_validator(mode="after")
    def _sparsity_is_of_probabilities(self) -> Self:
        if self.join == "sparsity" and self.scores == "logits":
            raise ValueError(
                'network.join = "sparsity" weighs probabilities: set scores = "softmax"'
            )
        if self.join == "sparsity" and self.consensus in ("max", "weighted"):
            raise ValueError(
                f'network.join = "sparsity" joins single windows, and consensus = '
                f'{self.consensus!r} leaves none: set it to "average", or join to "mean"'
            )
        return self


class LTCSettings(PixelSettings):
    """Long-term temporal convolutions (Varol et al. 2018), on frames or flow."""

    model: Literal["ltc"]
    window: Count = Field(default=60, description="frames or fields; 20 to 100 in the paper")
    size: Side = Field(default=71, description="pixels; 58, 71 or 112 in the paper")
    dropout: Share = Field(default=0.5, description="0.5 for frames, 0.9 for flow in the paper")


class T3DSettings(PixelSettings):
    """DenseNet in three dimensions with temporal transition layers (Diba et al. 2017)."""

    model: Literal["t3d"]
    depth: Literal[121, 161, 169, 201] = 121
    transitions: Literal["temporal", "plain"] = "temporal"
    halves_channels: bool = False
    window: Count = Field(default=32, description="frames; at least 15, with plain transitions 29")
    size: Side = Field(default=224, description="pixels; at least 29")
    dropout: Share = 0.0


class TransferSettings(T3DSettings):
    """What T3D learns from an image network: which frames belong to which clip (Diba et al.)."""

    classifies: ClassVar[bool] = False

    model: Literal["t3d-transfer"]  # type: ignore[assignment]
    images: str = Field(default="densenet121", description="image network, which stays as it is")
    images_weights: str = Field(description="its weights")
    images_origin: str = Field(
        default="", description="where they come from, told when they are not there"
    )

    @property
    def weight_files(self) -> tuple[WeightFile, ...]:
        """The weights of the image network, and those that the video networks begin with."""
        images = WeightFile(self.images, self.images_weights, self.images_origin)
        return (images, *super().weight_files)


class FineTuneSettings(PixelSettings):
    """A network of `cinefeat.extractors.load_network` on new classes, from its weights."""

    model: Literal["fine-tune"]
    network: str = Field(description="c3d, tsn-rgb, tsn-flow, i3d-rgb, i3d-flow, ...")
    window: Count | None = Field(default=None, description="frames; the network's by default")
    size: Side | None = Field(default=None, description="pixels; the network's by default")
    partial_norm: bool = Field(
        default=False, description="every batch norm behind the first stays as it is (TSN)"
    )
    rates: dict[str, Rate] = Field(
        default={}, description="factors of the learning rate by layer; 0 fixes a layer"
    )
    other_rate: Rate = Field(
        default=1.0, description="factor of the layers that `rates` leaves out"
    )

    @model_validator(mode="after")
    def _fixed_norms_come_from_somewhere(self) -> Self:
        bare = [stream.name for stream in self.streams if not stream.weights]
        if self.partial_norm and bare:
            raise ValueError(
                f"network.partial_norm keeps norms that stream {bare[0]!r} has not learned: give "
                "it weights"
            )
        return self


NetworkSettings = Annotated[
    LRCNSettings
    | ConsensusSettings
    | AttentionSettings
    | ActionVLADSettings
    | FusionSettings
    | PoolingSettings
    | MotionNetSettings
    | HiddenTwoStreamSettings
    | SingleStreamSettings
    | FstCNSettings
    | LTCSettings
    | T3DSettings
    | TransferSettings
    | FineTuneSettings,
    Field(discriminator="model"),
]
