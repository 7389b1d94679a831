"""MotionNet, which learns optical flow without labels, and the temporal stream stacked on it.

Zhu, Lan, Newsam, Hauptmann, "Hidden Two-Stream Convolutional Networks for Action Recognition",
2017. MotionNet sees 11 frames at once and gives the flow of their 10 pairs at five scales; the
temporal stream looks at the finest flow, coded as flow images are, so that both are trained as one
network and no flow is stored. Its unsupervised losses are in `motion_losses`.

Flow channels are x1, y1, x2, y2, ...; pair k goes from frame k to frame k + 1.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cinefeat.extractors.layers import draw_he_weights, named_chain, scaled
from cinefeat.extractors.two_stream import vgg16

N_FRAMES: Final = 11
LEVELS: Final = (6, 5, 4, 3, 2)  # level l has frames of 1 / 2 ** (l - 1) of the input's size
SIZE_STEP: Final = 32  # sides of the input are multiples of this
FLOW_BOUND: Final = 20.0  # pixels; what the codes of the temporal stream reach
_UNIT: Final = 20.0  # pixels of the input's size that a raw output of 1 stands for
_SLOPE: Final = 0.1  # of the leaky rectification
_CHANNELS: Final = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512, 6: 1024}
_DECODED: Final = {5: 512, 4: 256, 3: 128, 2: 64}


class MotionNet(nn.Module):
    """Flow of a stack of frames at five scales, by an encoder and a decoder.

    Parameters
    ----------
    n_frames : int
        Frames of a stack, >= 2; they have ``n_frames - 1`` pairs.
    width : float
        Factor of every number of channels but the input's and the flows'; 1 is the paper's
        network, of 42 318 820 parameters with 11 frames.

    Raises
    ------
    ValueError
        If `n_frames` is less than 2 or `width` is not positive.
    """

    def __init__(self, n_frames: int = N_FRAMES, width: float = 1.0) -> None:
        super().__init__()
        if n_frames < 2 or width <= 0:
            raise ValueError(
                f"n_frames is {n_frames} and width {width}; need 2 frames and a width above 0"
            )
        self.n_frames = n_frames
        n_flow = 2 * (n_frames - 1)
        encoded = {level: scaled(n, width) for level, n in _CHANNELS.items()}
        n_in = 3 * n_frames
        for level, n_out in encoded.items():
            stride = 1 if level == 1 else 2
            self.add_module(f"conv{level}", nn.Conv2d(n_in, n_out, 3, stride, 1))
            self.add_module(f"conv{level}_1", nn.Conv2d(n_out, n_out, 3, 1, 1))
            n_in = n_out
        self.flow6 = nn.Conv2d(n_in, n_flow, 3, 1, 1)
        for level, full in _DECODED.items():
            n_out = scaled(full, width)
            self.add_module(f"deconv{level}", nn.ConvTranspose2d(n_in, n_out, 4, 2, 1, bias=False))
            up = nn.ConvTranspose2d(n_flow, n_flow, 4, 2, 1, bias=False)
            self.add_module(f"upflow{level}", up)
            n_joined = encoded[level] + n_out + n_flow
            self.add_module(f"smooth{level}", nn.Conv2d(n_joined, n_out, 3, 1, 1))
            self.add_module(f"flow{level}", nn.Conv2d(n_out, n_flow, 3, 1, 1))
            n_in = n_out
        self._draw_weights()

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Estimate flow at every level.

        Parameters
        ----------
        frames : Tensor of shape (N, 3 n_frames, H, W)
            Normalised frames, stacked along the channels; H and W multiples of 32.

        Returns
        -------
        tuple of 5 Tensors
            Levels 6, 5, 4, 3, 2, coarse to fine: (N, 2 (n_frames - 1), H / 2 ** (level - 1), W / 2
            ** (level - 1)), in pixels of their own level.
        """
        maps = self._encode(frames)
        x, raw = maps[6], self.flow6(maps[6])
        flows = [in_pixels(raw, 6)]
        for level in LEVELS[1:]:
            up = F.leaky_relu(self._at("deconv", level)(x), _SLOPE)
            joined = torch.cat([maps[level], up, self._at("upflow", level)(raw)], dim=1)
            x = self._at("smooth", level)(joined)
            raw = self._at("flow", level)(x)
            flows.append(in_pixels(raw, level))
        return tuple(flows)

    def _encode(self, frames: Tensor) -> dict[int, Tensor]:
        check_sides(frames)
        maps, x = {}, frames
        for level in _CHANNELS:
            x = F.leaky_relu(self._at("conv", level)(x), _SLOPE)
            x = F.leaky_relu(self.get_submodule(f"conv{level}_1")(x), _SLOPE)
            maps[level] = x
        return maps

    def _at(self, name: str, level: int) -> nn.Module:
        return self.get_submodule(f"{name}{level}")

    def _draw_weights(self) -> None:
        """Draw weights for leaky rectification; let coarse flow pass up as it is."""
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, a=_SLOPE, nonlinearity="leaky_relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            if name.startswith("flow"):
                nn.init.normal_(layer.weight, std=1e-3)
            elif name.startswith("upflow"):
                layer.weight.data = bilinear_kernel(layer.in_channels)


class FullFlow(nn.Module):
    """The finest flow of `MotionNet` in pixels of the input, at the input's size."""

    def __init__(self, levels: MotionNet) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, frames: Tensor) -> Tensor:
        """Return the flow (N, 2 pairs, H, W) of frames (N, 3 (pairs + 1), H, W)."""
        return self.of_levels(self.levels(frames))

    def of_levels(self, flows: tuple[Tensor, ...]) -> Tensor:
        """Return the same of the flows at all levels."""
        return _doubled(2 * flows[-1])


class FlowCodes(nn.Module):
    """The finest flow as the temporal stream takes it: codes of flow images less 128.

    Flow in pixels of the input is clipped to 20 on either side, mapped to 0..255, doubled in size
    and centred.
    """

    def __init__(self, levels: MotionNet) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, frames: Tensor) -> Tensor:
        """Return the codes (N, 2 pairs, H, W), in -128..127, of frames (N, 3 (pairs + 1), H, W)."""
        return self.of_levels(self.levels(frames))

    def of_levels(self, flows: tuple[Tensor, ...]) -> Tensor:
        """Return the same of the flows at all levels."""
        bounded = torch.clamp(2 * flows[-1], -FLOW_BOUND, FLOW_BOUND)
        return _doubled((bounded + FLOW_BOUND) * (255 / (2 * FLOW_BOUND))) - 128


def motionnet(n_frames: int = N_FRAMES, width: float = 1.0) -> nn.Sequential:
    """Build MotionNet with random weights, as a network that gives full-sized flow.

    Parameters
    ----------
    n_frames : int
    width : float
        Factor of the numbers of channels; 1 is the paper's.

    Returns
    -------
    nn.Sequential
        One layer, `flow`: maps (N, 3 n_frames, H, W), sides multiples of 32, to (N, 2 (n_frames -
        1), H, W) in pixels.

    Notes
    -----
    The published network doubles the size of its finest flow, of half the input's size, by a fixed
    transposed convolution, which fades to 0 over the outermost pixels; here the border is repeated.
    """
    return named_chain({"flow": FullFlow(MotionNet(n_frames, width))})


def hidden_two_stream(
    n_frames: int = N_FRAMES,
    n_classes: int | None = 101,
    width: float = 1.0,
    *,
    size: int = 224,
    dropout: tuple[float, float] = (0.9, 0.8),
) -> nn.Sequential:
    """Build the temporal stream on its own flow, with random weights.

    Parameters
    ----------
    n_frames : int
        Frames of a stack.
    n_classes : int or None
        Length of the scores `logits`; None ends the network in fc7.
    width : float
        Factor of the channels of both parts; 1 is the paper's.
    size : int
        Side of a frame in pixels, a multiple of 32.
    dropout : (float, float)
        After fc6 and fc7.

    Returns
    -------
    nn.Sequential
        `codes` (of `MotionNet`'s flow), then the layers of VGG-16: maps (N, 3 n_frames, size, size)
        to scores (N, n_classes); fc7 has ``4096 width`` components.
    """
    stream = vgg16(2 * (n_frames - 1), n_classes, dropout, width=width, size=size)
    draw_he_weights(stream)
    codes = FlowCodes(MotionNet(n_frames, width))
    return named_chain({"codes": codes, **dict(stream.named_children())})


def flows_and_scores(network: nn.Sequential, frames: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """Run a `hidden_two_stream` network once for both of its losses.

    Returns
    -------
    flows : tuple of 5 Tensors
        As `MotionNet.forward` returns them.
    scores : Tensor of shape (N, n_classes)
    """
    codes = network[0]
    assert isinstance(codes, FlowCodes)
    flows = codes.levels(frames)
    return flows, network[1:](codes.of_levels(flows))


def in_pixels(raw: Tensor, level: int) -> Tensor:
    """Return a raw output of a level in pixels of that level: times 0.625 at level 6, 10 at 2."""
    return raw * (_UNIT / 2 ** (level - 1))


def bilinear_kernel(n_channels: int) -> Tensor:
    """Return the 4x4 weights of a transposed convolution that doubles each channel's size.

    Examples
    --------
    >>> bilinear_kernel(2)[:, :, 1, 1]
    tensor([[0.5625, 0.0000],
            [0.0000, 0.5625]])
    """
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    return torch.eye(n_channels)[:, :, None, None] * torch.outer(line, line)


def check_sides(frames: Tensor) -> None:
    """Refuse frames whose sides are no multiples of 32."""
    height, width = frames.shape[-2:]
    if height % SIZE_STEP or width % SIZE_STEP:
        raise ValueError(
            f"frames of {width}x{height}; MotionNet halves them five times: "
            f"pad both sides to multiples of {SIZE_STEP}"
        )


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
