"""Two-stream fusion: the maps of two networks joined at their last convolution.

Feichtenhofer et al., "Convolutional two-stream network fusion for video action recognition", CVPR 2016.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HIDDEN = 4096
_SHARES = (0.25, 0.75)  # of the spatial and the temporal maps, as in the released code


class TwoStreamFusion(nn.Module):
    """Fusion of spatial and temporal maps by a convolution, pooling in space and time, and scores.

    The fused tower convolves the concatenated maps [spatial; temporal], pools 2x2 in space and over
    all of time by the maximum, and ends in three full layers; the temporal tower goes on by itself in
    the same way without the convolution.

    Parameters
    ----------
    n_spatial, n_temporal : int
        Maps of each stream; 512 each for VGG-16.
    size : int
        Rows and columns of a map; 14 for VGG-16.
    n_classes : int
    fusion : "conv3d" or "conv2d"
        A kernel of 3x3x3, or 1x1 at every time.
    width : float
        Factor of the fused maps and of the 4096 units of the full layers.
    dropout : float
        0.85 in the released code.

    Notes
    -----
    The convolution begins as the paper's: it adds the maps of equal number of both streams, a
    quarter of the spatial and three quarters of the temporal one, in 3-D blurred by a Gaussian
    of deviation 1. Streams of different networks have no maps that belong together; there it is only
    a beginning. With `width` below 1 the first maps are taken.

    Examples
    --------
    >>> head = TwoStreamFusion(8, 8, size=14, n_classes=3, width=0.01)
    >>> maps = torch.rand(2, 5, 8, 14, 14)  # two videos, five times
    >>> head(maps, maps).shape  # of the fused and of the temporal tower
    torch.Size([2, 2, 3])
    """

    def __init__(
        self,
        n_spatial: int,
        n_temporal: int,
        size: int,
        n_classes: int,
        fusion: Literal["conv3d", "conv2d"] = "conv3d",
        width: float = 1.0,
        dropout: float = 0.85,
    ) -> None:
        super().__init__()
        n_fused, side = max(1, round(n_spatial * width)), 3 if fusion == "conv3d" else 1
        self.fusion = nn.Conv3d(n_spatial + n_temporal, n_fused, side, padding=side // 2)
        _begin_as_a_sum(self.fusion, n_spatial)
        n_hidden, pooled = max(1, round(_HIDDEN * width)), (size // 2) ** 2
        self.fused = _full_layers(n_fused * pooled, n_hidden, n_classes, dropout)
        self.temporal = _full_layers(n_temporal * pooled, n_hidden, n_classes, dropout)

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        """Return the scores (N, 2, n_classes) of the fused and the temporal tower.

        Maps are (N, T, C, size, size) of both streams at the same T times.
        """
        spatial, temporal = spatial.transpose(1, 2), temporal.transpose(1, 2)
        fused = F.relu(self.fusion(torch.cat([spatial, temporal], dim=1)))
        towers = [self.fused(_pool(fused)), self.temporal(_pool(temporal))]
        return torch.stack(towers, dim=1)


def _pool(maps: Tensor) -> Tensor:
    return F.max_pool2d(maps.amax(dim=2), 2)


def _begin_as_a_sum(fusion: nn.Conv3d, n_spatial: int) -> None:
    side = fusion.kernel_size[0]
    line = torch.exp(-0.5 * torch.arange(-(side // 2), side // 2 + 1).square())
    blur = torch.einsum("i,j,k->ijk", line, line, line)
    blur /= blur.sum()
    n_temporal = fusion.in_channels - n_spatial
    halves = [
        share * torch.eye(fusion.out_channels, n)
        for share, n in zip(_SHARES, (n_spatial, n_temporal), strict=True)
    ]
    with torch.no_grad():
        fusion.weight.copy_(torch.cat(halves, dim=1)[..., None, None, None] * blur)
        nn.init.zeros_(fusion.bias)  # type: ignore[arg-type]


def _full_layers(n_in: int, n_hidden: int, n_classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(n_in, n_hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(n_hidden, n_hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(n_hidden, n_classes),
    )
