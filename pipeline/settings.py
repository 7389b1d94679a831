"""The tables of a recipe: frozen pydantic records, closed to unknown keys.

Every number that changes a result is here, with its range and, where it is one, the paper's value.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_serializer, model_validator

from cinefeat.pipeline.network_settings import NetworkSettings as TrainedNetworkSettings
from cinefeat.pipeline.table import Settings, WeightFile
from cinefeat.pipeline.train_settings import TrainSettings

Channel = Literal["trajectory", "hog", "hof", "mbhx", "mbhy", "cuboid"]
CHANNELS: tuple[Channel, ...] = ("trajectory", "hog", "hof", "mbhx", "mbhy")
CHANNELS_OF = {
    "dense-trajectories": CHANNELS,
    "stip": ("hog", "hof"),
    "cuboids": ("cuboid",),
    "imported-idt": CHANNELS,
}
HAVE_MIRROR_IMAGES = ("dense-trajectories", "imported-idt")


Bound = Annotated[float, Field(gt=0, le=1000)]
Origin = Annotated[str, Field(min_length=1, description="what the imported files were made with")]


class TVL1Settings(Settings):
    """Optical flow between successive frames, stored for the stages that need it."""

    method: Literal["tvl1"] = Field(default="tvl1", description="TV-L1 (Zach, Pock, Bischof 2007)")
    preset: Literal["accurate", "opencv", "fast"] = Field(
        default="accurate", description="solver settings of cinefeat.extractors.optical_flow_tvl1"
    )
    warped: bool = Field(
        default=False,
        description="also store the flow without the camera's motion, and the homographies",
    )
    storage: Literal["uint8", "uint8-per-frame", "float16"] = Field(
        default="uint8",
        description="codes within `bound`, within each field's own bound, or floats",
    )
    bound: Bound = Field(
        default=20.0, description="pixels that the ends of the 8-bit range stand for"
    )


class ImportedFlowSettings(Settings):
    """Flow of another program, brought in by `cinefeat import-flow`."""

    method: Literal["imported"]
    name: Origin
    warped: bool = Field(
        default=False, description="also store flow without the camera's motion, from --warped"
    )
    storage: Literal["uint8", "float16"] = Field(
        default="float16",
        description="of .flo files: codes within `bound`, or floats; images stay the codes they are",
    )
    bound: Bound = Field(
        default=20.0, description="pixels that the ends of the 8-bit range of the images stand for"
    )


class MotionNetFlowSettings(Settings):
    """Flow by a trained MotionNet (Zhu et al. 2017), stored as that of TV-L1 is."""

    method: Literal["motionnet"]
    weights: str = Field(description="a weight file of the network motionnet")
    warped: Literal[False] = Field(
        default=False, description="flow without the camera's motion needs method 'tvl1'"
    )
    storage: Literal["uint8", "uint8-per-frame", "float16"] = Field(
        default="uint8",
        description="codes within `bound`, within each field's own bound, or floats",
    )
    bound: Bound = Field(
        default=20.0, description="pixels that the ends of the 8-bit range stand for"
    )
    origin: str = Field(
        default="", description="where the weights come from, told when they are not there"
    )

    @property
    def weight_files(self) -> tuple[WeightFile, ...]:
        """The weights that the products depend on."""
        return (WeightFile("flow", self.weights, self.origin),)


FlowSettings = Annotated[
    TVL1Settings | ImportedFlowSettings | MotionNetFlowSettings, Field(discriminator="method")
]


MaxRows = Annotated[int, Field(ge=1)] | None


class TrajectorySettings(Settings):
    """Dense trajectories (camera_motion false) and improved ones (true): one bag per channel."""

    extractor: Literal["dense-trajectories"]
    flow: Literal["stored", "farneback"] = Field(
        default="stored",
        description="the flow stage's product, or the reference program's own flow",
    )
    camera_motion: bool = Field(
        default=False, description="describe and select by the motion that is not the camera's"
    )
    max_rows: MaxRows = Field(
        default=None, description="keep at most this many trajectories a clip, drawn with `seed`"
    )
    seed: Annotated[int, Field(ge=0)] = 0


class StipSettings(Settings):
    """Space-time interest points (Laptev 2005) with HOG and HOF."""

    extractor: Literal["stip"]
    flow: Literal["stored", "farneback"] = "farneback"
    threshold: Annotated[float, Field(gt=0)] = 1e-9
    max_points_per_frame: MaxRows = None


class CuboidSettings(Settings):
    """Cuboids (Dollar et al. 2005) with the brightness gradient."""

    extractor: Literal["cuboids"]
    sigma: Annotated[float, Field(gt=0, le=32)] = 2.0
    tau: Annotated[float, Field(gt=0, le=64)] = 3.0
    threshold: Annotated[float, Field(gt=0)] = 2e-4
    max_points_per_frame: MaxRows = None


class ImportedTrajectorySettings(Settings):
    """Trajectories of the authors' own programs, brought in by `cinefeat import-idt`."""

    extractor: Literal["imported-idt"]
    name: Origin
    storage: Literal["float16", "float32"] = Field(
        default="float16",
        description="of the descriptors: as computed ones are stored, or every printed digit",
    )


DescribeSettings = Annotated[
    TrajectorySettings | StipSettings | CuboidSettings | ImportedTrajectorySettings,
    Field(discriminator="extractor"),
]


class _FromSample(Settings):
    """What every codebook is learned from: a sample of the training descriptors, per channel."""

    channels: tuple[Channel, ...] = Field(
        default=CHANNELS, min_length=1, description="descriptors that get a codebook each"
    )
    pca: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        default=None,
        description="dimensions kept by PCA before: a share up to 1, or a number above 1",
    )
    whiten: bool = Field(default=False, description="whether that PCA whitens")
    n_starts: Annotated[int, Field(ge=1)] = Field(
        default=1, description="the best of these is kept"
    )
    max_iterations: Annotated[int, Field(ge=1)] = 100
    mirror: bool = Field(default=False, description="sample from the clips' mirror images as well")
    seed: Annotated[int, Field(ge=0)] = 0


class KMeansSettings(_FromSample):
    """k-means codewords, for bags of words and VLAD."""

    codebook: Literal["k-means"]
    n_words: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=4000, description="codewords per channel (4000 in the DT papers)"
    )
    n_samples: Annotated[int, Field(ge=1)] = Field(
        default=100_000, description="training descriptors drawn (100,000 in the DT papers)"
    )


class MixtureSettings(_FromSample):
    """A mixture of Gaussians with diagonal covariances, for Fisher vectors."""

    codebook: Literal["gmm"]
    n_components: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=256, description="components per channel (256 in the iDT paper)"
    )
    n_samples: Annotated[int, Field(ge=1)] = Field(
        default=256_000, description="training descriptors drawn (256,000 in the iDT paper)"
    )


FitSettings = Annotated[KMeansSettings | MixtureSettings, Field(discriminator="codebook")]


Grid = tuple[
    Annotated[int, Field(ge=1, le=16)],
    Annotated[int, Field(ge=1, le=16)],
    Annotated[int, Field(ge=1, le=16)],
]


Mirror = Annotated[
    bool, Field(description="encode mirror images too: train on both, and average their scores")
]
Power = Annotated[float, Field(gt=0, le=1, description="exponent of the signed power")]


class BagOfWordsSettings(Settings):
    """Histograms of codewords."""

    method: Literal["bag-of-words"]
    grids: tuple[Grid, ...] = Field(
        default=((1, 1, 1),),
        min_length=1,
        description="cells along x, y and time; one histogram per grid (IJCV 2013, section 5.1)",
    )
    mirror: Mirror = False


class VLADSettings(Settings):
    """Sums of residuals to codewords."""

    method: Literal["vlad"]
    intra_norm: bool = Field(default=True, description="scale each word's block to unit length")
    residual_norm: bool = Field(default=False, description="scale each residual to unit length")
    power: Power = 0.5
    mirror: Mirror = False


class FisherSettings(Settings):
    """Improved Fisher vectors."""

    method: Literal["fisher"]
    power: Power = 0.5
    mirror: Mirror = False


EncodeSettings = Annotated[
    BagOfWordsSettings | VLADSettings | FisherSettings, Field(discriminator="method")
]


class NetworkSettings(Settings):
    """One network, with the weights that its input specification travels with."""

    network: str = Field(description="name of cinefeat.extractors.load_network")
    weights: str = Field(description="a name of `cinefeat weights list`, or a weight file")
    layers: tuple[str, ...] = Field(default=(), description="layers stored beside the features")
    name: str = Field(
        default="",
        pattern=r"^[\w-]*$",
        description="of its arrays, where a recipe uses one network with several weights",
    )
    origin: str = Field(
        default="", description="where the weights come from, told when they are not there"
    )
    window: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="frames of this network's windows; embed.window by default"
    )

    @model_serializer(mode="wrap")
    def _without_a_window_of_its_own(self, serialise: Any) -> dict[str, Any]:
        # products made before there was the key keep their digest
        table: dict[str, Any] = serialise(self)
        return {key: value for key, value in table.items() if key != "window" or value is not None}

    @property
    def group(self) -> str:
        """Name of the network's arrays in a product."""
        return self.name or self.network


class EmbedSettings(Settings):
    """Network features of windows of frames, or of the stored flow."""

    networks: tuple[NetworkSettings, ...] = Field(min_length=1)
    segments: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="windows spread evenly over the clip; or `stride`"
    )
    stride: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="frames from one window to the next; the network's by default"
    )
    window: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="frames of a window; the network's by default"
    )
    crops: Literal[1, 10] = Field(
        default=1, description="centre, or corners and centre and mirrors, averaged"
    )
    whole_frame: bool = Field(
        default=False,
        description="squeeze the whole frame into the crop's square, so that nothing is cut off",
    )
    short_clips: Literal["repeat_last", "wrap", "error"] | None = Field(
        default=None, description="what becomes of a clip shorter than a window"
    )
    storage: Literal["float32", "float16"] = "float32"

    @property
    def weight_files(self) -> tuple[WeightFile, ...]:
        """The weights that the products depend on."""
        return tuple(WeightFile(n.group, n.weights, n.origin) for n in self.networks)

    @model_validator(mode="after")
    def _networks_have_names(self) -> Self:
        groups = [entry.group for entry in self.networks]
        twice = [group for group in groups if groups.count(group) > 1]
        if twice:
            raise ValueError(f"embed.networks has {twice[0]!r} twice; give one of them a name")
        return self

    @model_validator(mode="after")
    def _one_way_to_cover(self) -> Self:
        if self.segments is not None and self.stride is not None:
            raise ValueError("give embed.segments or embed.stride, not both")
        return self


class ImportedFeatureSettings(Settings):
    """Features of another program, brought in by `cinefeat import-features`."""

    method: Literal["imported"]
    name: Origin
    group: str = Field(
        default="imported", pattern=r"^[\w-]+$", description="of the arrays, as a network's name is"
    )
    files: str = Field(
        default="{clip}.npy",
        pattern=r"^([^/].*)?\{clip\}",
        description="files of a clip: one .npy (M, D), as {clip}_rgb.npy of video_features; or C3D's "
        "blobs, as {clip}/*.fc6-1, whose names are first frames",
    )
    window: Annotated[int, Field(ge=1)] = Field(default=16, description="frames of a row")
    stride: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="frames from one row of a .npy to the next; by default rows share the clip evenly",
    )
    storage: Literal["float32", "float16"] = "float32"


def _embed_kind(table: Any) -> str:
    method = table.get("method") if isinstance(table, dict) else getattr(table, "method", None)
    return "computed-features" if method is None else "imported-features"


EmbedTable = Annotated[
    Annotated[EmbedSettings, Tag("computed-features")]
    | Annotated[ImportedFeatureSettings, Tag("imported-features")],
    Discriminator(_embed_kind),
]


class PoolSettings(Settings):
    """One vector per clip and network from the features of its windows."""

    pooling: Literal["mean", "max", "segments"] = "mean"
    n_segments: Annotated[int, Field(ge=1)] = Field(default=3, description='for "segments"')
    l2_norm: bool = Field(default=True, description="scale the vector to unit length")


class EvaluateSettings(Settings):
    """Scores of the test clips."""

    network_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.5,
        description="of [network]'s scores in the mean with [train]'s, where a recipe has both",
    )
    norm: Literal["l2", "raw"] = Field(
        default="l2", description="of each clip's scores before that mean"
    )


# table -> the table without which it means nothing
REQUIRED_TABLES = {"fit": ("describe",), "encode": ("fit",), "pool": ("embed",),
                   "train": ("encode", "pool")}  # fmt: skip
_CODEBOOK_OF = {"bag-of-words": "k-means", "vlad": "k-means", "fisher": "gmm"}


class Recipe(Settings):
    """A method: its name, its source, and the settings of each stage that it uses."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    source: str = Field(description="paper, and what departs from it")
    flow: FlowSettings | None = None
    describe: DescribeSettings | None = None
    embed: EmbedTable | None = None
    fit: FitSettings | None = None
    encode: EncodeSettings | None = None
    pool: PoolSettings | None = None
    train: TrainSettings | None = None
    network: TrainedNetworkSettings | None = None
    evaluate: EvaluateSettings = EvaluateSettings()

    @field_validator("flow", mode="before")
    @classmethod
    def _flow_is_computed_unless_said(cls, table: Any) -> Any:
        return {"method": "tvl1", **table} if isinstance(table, dict) else table

    @model_validator(mode="after")
    def _tables_fit_together(self) -> Self:
        for table, tables in REQUIRED_TABLES.items():
            if getattr(self, table) is not None and not any(getattr(self, t) for t in tables):
                raise ValueError(f"table [{table}] needs table [{'] or ['.join(tables)}]")
        if self.describe is not None:
            self._check_flow(self.describe)
        if self.fit is not None and self.describe is not None:
            self._check_channels(self.fit, self.describe)
        if self.encode is not None and self.fit is not None:
            needed = _CODEBOOK_OF[self.encode.method]
            if self.fit.codebook != needed:
                raise ValueError(
                    f"encode.method {self.encode.method!r} needs fit.codebook {needed!r}"
                )
        if self.encode is not None and self.train is not None:
            self._check_kernel(self.train.classifier, self.encode.method)
        return self

    def _check_flow(self, describe: Any) -> None:
        if getattr(describe, "flow", None) != "stored":
            return
        if self.flow is None:
            raise ValueError("describe.flow 'stored' needs table [flow]")
        if getattr(describe, "camera_motion", False) and not self.flow.warped:
            raise ValueError("describe.camera_motion on stored flow needs flow.warped = true")

    @staticmethod
    def _check_kernel(classifier: str, method: str) -> None:
        if classifier in ("chi-square-svm", "hellinger-svm") and method != "bag-of-words":
            raise ValueError(
                f"train.classifier {classifier!r} compares histograms, and encode.method {method!r} "
                "has negative values: use 'linear-svm', or 'bag-of-words'"
            )

    @staticmethod
    def _check_channels(fit: Any, describe: Any) -> None:
        given = CHANNELS_OF[describe.extractor]
        missing = [name for name in fit.channels if name not in given]
        if missing:
            raise ValueError(
                f"fit.channels has {missing[0]!r}; {describe.extractor} gives {', '.join(given)}"
            )
        if fit.mirror and describe.extractor not in HAVE_MIRROR_IMAGES:
            raise ValueError(f"fit.mirror: {describe.extractor} has no mirrored descriptors")
