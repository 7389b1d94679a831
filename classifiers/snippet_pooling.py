"""Pooling over the frames of a video at different depths.

Ng et al., "Beyond short snippets: deep networks for video classification", CVPR 2015, section 3.1.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Variant = Literal["conv", "late", "slow", "local", "time-conv"]

_HIDDEN = 4096
_WINDOW, _STRIDE = 10, 5  # frames of a local pool, and from one to the next
_N_KERNELS = 256  # of the time-domain convolution


class SnippetPooling(nn.Module):
    """Two full layers, the maximum over time somewhere among them, and linear scores.

    ===========  ==================================================================================
    "conv"       maximum over all frames, then both full layers
    "late"       both full layers on every frame, then the maximum
    "slow"       maximum in windows of 10 frames, a full layer, the maximum over windows, the other
    "local"      maximum in windows, both full layers on each; all of them give the scores
    "time-conv"  256 convolutions over windows of frames, then as "conv"
    ===========  ==================================================================================

    Parameters
    ----------
    n_features : int
        Components of a frame: features, or flattened maps of the last convolution.
    n_steps : int
        Frames of a video.
    n_classes : int
    variant : str
    width : float
        Factor of the 4096 units of each full layer, and of the kernels.
    dropout : float

    Notes
    -----
    The paper's windows overlap by half; where a video has fewer frames than a window, there is one.

    Examples
    --------
    >>> import torch
    >>> SnippetPooling(16, n_steps=8, n_classes=3, width=0.01)(torch.rand(2, 8, 16)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        n_features: int,
        n_steps: int,
        n_classes: int,
        variant: Variant = "conv",
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.variant, self.window = variant, min(_WINDOW, n_steps)
        n_hidden, n_in, n_out = max(1, round(_HIDDEN * width)), n_features, 1
        if variant == "time-conv":
            n_in = max(1, round(_N_KERNELS * width))
            self.convolution = nn.Conv1d(n_features, n_in, self.window, _STRIDE)
        if variant == "local":
            n_out = (n_steps - self.window) // _STRIDE + 1
        self.first = nn.Sequential(nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Dropout(dropout))
        self.second = nn.Sequential(nn.Linear(n_hidden, n_hidden), nn.ReLU(), nn.Dropout(dropout))
        self.scores = nn.Linear(n_hidden * n_out, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores (N, n_classes) of features (N, T, D) or maps (N, T, C, H, W)."""
        x = x.flatten(2)
        if self.variant == "conv":
            return self.scores(self.second(self.first(x.amax(dim=1))))
        if self.variant == "late":
            return self.scores(self.second(self.first(x)).amax(dim=1))
        if self.variant == "time-conv":
            maps = F.relu(self.convolution(x.transpose(1, 2)))
            return self.scores(self.second(self.first(maps.amax(dim=2))))
        local = F.max_pool1d(x.transpose(1, 2), self.window, _STRIDE).transpose(1, 2)
        if self.variant == "slow":
            return self.scores(self.second(self.first(local).amax(dim=1)))
        return self.scores(self.second(self.first(local)).flatten(1))
