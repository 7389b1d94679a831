"""What a network takes: the input specification that travels with its weights.

Most failures of ported networks are wrong inputs (channel order, means, scale, frame rate), so
all of it is one record, kept in the weight file beside the weights.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

Modality = Literal["rgb", "rgb_difference", "flow", "warped_flow"]
ShortClips = Literal["repeat_last", "wrap", "error"]


@dataclass(frozen=True)
class InputSpec:
    """One window of a network's input, from decoded frames or from flow in pixels.

    In this order: resize, clip flow, centre or code it, crop, reorder channels, subtract `mean`,
    divide by `std`, take differences.

    Parameters
    ----------
    modality : "rgb", "rgb_difference", "flow" or "warped_flow"
        Frames (T, H, W, 3) uint8 RGB, or flow (T, H, W, 2) float32 in pixels, (x, y).
    window : int
        Frames or flow fields that the network sees at once.
    resize : int or (int, int)
        Length of the short side, aspect kept; or height and width, aspect not kept. In pixels.
    crop : int
        Side of the square that is cut out, in pixels.
    mean, std : tuple of float
        One number for each channel of a frame (for flow, of a field) in the network's order, in
        the units of the data: grey levels 0..255, flow codes 0..255, or pixels.
    features : str
        Name of the layer that serves as the feature.
    feature_size : int
        Length of the feature vector.
    stride : int
        Frames from one window to the next, where a video is covered densely.
    shortest : int
        Fewest frames that the network can take; 0 stands for `window`.
    layout : "volume" or "stack"
        (C, T, H, W), or all frames in one stack of channels (T C, H, W).
    channel_order : "rgb" or "bgr"
        Order in which the network takes the colours.
    flow_bound : float
        Flow is clipped to ``[-flow_bound, flow_bound]`` pixels; 0 leaves it unclipped.
    is_flow_coded : bool
        Whether flow enters as the code 0..255 of the flow images of TSN
        (`cinefeat.extractors.quantise.encode_tsn`) rather than in pixels.
    is_flow_centred : bool
        Whether the mean of each component over a field is subtracted from it.
    short_clips : "repeat_last", "wrap" or "error"
        What becomes of a video with fewer frames than a window (`cinefeat.extractors.sampling`).

    Examples
    --------
    >>> spec = InputSpec("rgb", 16, (128, 171), 112, (100.0,) * 3, (1.0,) * 3, "fc6", 4096)
    >>> spec.shape, spec.shortest
    ((3, 16, 112, 112), 16)
    """

    modality: Modality
    window: int
    resize: int | tuple[int, int]
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    features: str
    feature_size: int
    stride: int = 1
    shortest: int = 0
    layout: Literal["volume", "stack"] = "volume"
    channel_order: Literal["rgb", "bgr"] = "rgb"
    flow_bound: float = 20.0
    is_flow_coded: bool = False
    is_flow_centred: bool = False
    short_clips: ShortClips = "repeat_last"

    def __post_init__(self) -> None:
        # JSON has lists where this record has tuples
        for name in ("resize", "mean", "std"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        object.__setattr__(self, "shortest", self.shortest or self.window)
        if len(self.mean) != self.n_channels or len(self.std) != self.n_channels:
            raise ValueError(
                f"mean {self.mean} and std {self.std} need {self.n_channels} numbers each "
                f"for modality {self.modality!r}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std is {self.std}; a divisor must be positive")
        side = self.resize if isinstance(self.resize, int) else min(self.resize)
        if side < self.crop:
            raise ValueError(f"crop is {self.crop} px of frames resized to {self.resize}")

    @property
    def n_channels(self) -> int:
        """Channels of one frame or field: 3 or 2."""
        return 2 if self.is_flow else 3

    @property
    def is_flow(self) -> bool:
        """Whether windows are made of flow rather than frames."""
        return self.modality in ("flow", "warped_flow")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one normalised window: (C, T, H, W), or (C, H, W) for a stack."""
        steps = self.window - (self.modality == "rgb_difference")
        if self.layout == "stack":
            return steps * self.n_channels, self.crop, self.crop
        return self.n_channels, steps, self.crop, self.crop

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, as a weight file stores them."""
        return asdict(self)


def change_spec(spec: InputSpec, changes: Mapping[str, Any]) -> InputSpec:
    """Return a specification with some fields replaced, as weights with another input need.

    Raises
    ------
    ValueError
        If a field does not exist.

    Examples
    --------
    >>> spec = InputSpec("rgb", 16, 128, 112, (0.0,) * 3, (1.0,) * 3, "fc6", 4096)
    >>> change_spec(spec, {"window": 32}).window
    32
    """
    known = {field.name for field in fields(InputSpec)}
    if unknown := sorted(set(changes) - known):
        raise ValueError(f"an input specification has no {unknown}; it has {sorted(known)}")
    return replace(spec, **changes)
