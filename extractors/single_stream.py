"""Single-stream networks of Karpathy et al.: where in a network the frames of a clip meet.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014.
One stack of five convolutions in four forms: a single frame; early fusion (the first convolution
spans the clip); late fusion (two frames, joined in the first full layer); slow fusion (the first
three convolutions each span some frames). In the form of two resolutions one stack sees the whole
picture at half its size, the context, and another its centre, the fovea.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cinefeat.extractors.layers import (
    ConvUnit,
    LinearUnit,
    MaxPool,
    classifier,
    named_chain,
    scaled,
)

Fusion = Literal["single", "early", "late", "slow"]

# frames of a clip; for late fusion its first and its last are seen, 15 apart
WINDOWS: dict[Fusion, int] = {"single": 1, "early": 10, "late": 16, "slow": 10}
_CHANNELS = (96, 256, 384, 384, 256)
_HIDDEN = 4096
# temporal extent and stride of the first three convolutions
_EXTENTS: dict[Fusion, tuple[tuple[int, int], ...]] = {
    "single": ((1, 1), (1, 1), (1, 1)),
    "early": ((10, 1), (1, 1), (1, 1)),
    "late": ((1, 1), (1, 1), (1, 1)),
    "slow": ((4, 2), (2, 2), (2, 1)),
}


class SingleStream(nn.Module):
    """One of Karpathy's networks, with random weights.

    Maps clips (N, 3, T, size, size), RGB, T as in `WINDOWS`, to scores (N, n_classes).

    Parameters
    ----------
    fusion : "single", "early", "late" or "slow"
    n_classes : int
        487 for Sports-1M.
    size : int
        Side of a frame in pixels: 170 published, 178 with two resolutions; at least 24, and 48
        and even with two resolutions.
    two_resolutions : bool
        Whether context and fovea, each of half the side, go through a stack each.
    width : float
        Factor of all channels; 1 is the paper's.

    Raises
    ------
    ValueError
        If the form is unknown, or the frames are too small.

    Notes
    -----
    The paper does not state its padding. Zeros that keep ``ceil(side / stride)`` positions leave
    7 x 7 positions both of 170 px after three pools and of 89 px after two, so with two
    resolutions the last pool is left out, as the equal size of both streams needs. How far
    the temporal kernels of slow fusion step is chosen so that 10 frames give 4, 2 and 1 responses.
    """

    def __init__(
        self,
        fusion: Fusion = "slow",
        n_classes: int = 487,
        size: int = 170,
        two_resolutions: bool = False,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if fusion not in WINDOWS:
            raise ValueError(f"fusion is {fusion!r}; choose one of {', '.join(WINDOWS)}")
        side = size // 2 if two_resolutions else size
        if side < 24 or (two_resolutions and size % 2):
            raise ValueError(
                f"frames of {size} px; at least 24 are needed, with two resolutions an even "
                "number from 48"
            )
        self.fusion, self.size, self.two_resolutions = fusion, size, two_resolutions
        names = ("context", "fovea") if two_resolutions else ("frame",)
        has_last_pool = not two_resolutions
        self.streams = nn.ModuleDict({name: _stack(fusion, width, has_last_pool) for name in names})
        n_maps = len(names) * (2 if fusion == "late" else 1)
        n_flat = n_maps * scaled(_CHANNELS[-1], width) * _positions(side, has_last_pool) ** 2
        hidden = scaled(_HIDDEN, width)
        self.head = named_chain(
            {
                "fc6": LinearUnit(n_flat, hidden),
                "dropout6": nn.Dropout(0.5),
                "fc7": LinearUnit(hidden, hidden),
                "dropout7": nn.Dropout(0.5),
                "logits": classifier(hidden, n_classes),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores (N, n_classes) of clips (N, 3, T, size, size)."""
        wanted = (3, WINDOWS[self.fusion], self.size, self.size)
        if tuple(x.shape[1:]) != wanted:
            raise ValueError(f"clips have shape {tuple(x.shape)}; (N, {wanted}) is needed")
        groups = [x[:, :, :1], x[:, :, -1:]] if self.fusion == "late" else [x]
        maps = [
            stream(self._view(group, name)).flatten(1)
            for group in groups
            for name, stream in self.streams.items()
        ]
        return self.head(torch.cat(maps, dim=1))

    def _view(self, x: Tensor, name: str) -> Tensor:
        half = self.size // 2
        if name == "context":
            return F.avg_pool3d(x, (1, 2, 2))
        start = (self.size - half) // 2
        return x[..., start : start + half, start : start + half] if name == "fovea" else x


def _stack(fusion: Fusion, width: float, has_last_pool: bool) -> nn.Sequential:
    c1, c2, c3, c4, c5 = (scaled(n, width) for n in _CHANNELS)
    (t1, s1), (t2, s2), (t3, s3) = _EXTENTS[fusion]
    half: tuple[int, int, int] = (1, 2, 2)
    return named_chain(
        {
            "conv1": ConvUnit(3, c1, (t1, 11, 11), (s1, 3, 3), (0, 5, 5)),
            "norm1": _local_norm(),
            "pool1": MaxPool(half, half),
            "conv2": ConvUnit(c1, c2, (t2, 5, 5), (s2, 1, 1), (0, 2, 2)),
            "norm2": _local_norm(),
            "pool2": MaxPool(half, half),
            "conv3": ConvUnit(c2, c3, (t3, 3, 3), (s3, 1, 1), (0, 1, 1)),
            "conv4": ConvUnit(c3, c4, (1, 3, 3), padding=(0, 1, 1)),
            "conv5": ConvUnit(c4, c5, (1, 3, 3), padding=(0, 1, 1)),
            "pool5": MaxPool(half, half) if has_last_pool else None,
        }
    )


def _positions(side: int, has_last_pool: bool) -> int:
    return -(-side // 3) // (8 if has_last_pool else 4)


def _local_norm() -> nn.LocalResponseNorm:
    # torch divides alpha by the number of channels, the published formula does not
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.5, k=2.0)
