"""FstCN: 3-D kernels factorised into spatial layers and, after them, temporal ones.

Sun et al., "Human Action Recognition using Factorized Spatio-Temporal Convolutional Networks",
ICCV 2015. Spatial layers see every frame; the temporal path sees differences of frames 9 apart,
the spatial path one frame. Scores of several clips and crops are joined by their sparsity.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cinefeat.extractors.layers import ConvUnit, LinearUnit, MaxPool, named_chain, scaled

N_FRAMES = 5  # of a clip
STRIDE = 5  # frames from one to the next
DISTANCE = 9  # frames between those whose difference is taken
WINDOW = (N_FRAMES - 1) * STRIDE + DISTANCE + 1  # 30 consecutive frames hold all of them
_SMALLEST = 75  # side in pixels of which one position is left


class FstCN(nn.Module):
    """FstCN with random weights.

    Maps windows (N, 3, 30, size, size) of consecutive RGB frames to scores (N, n_classes). Frames
    0, 5, ... 20 make the clip; the same frames and those 9 later make the absolute differences.

    Parameters
    ----------
    n_classes : int
    size : int
        Side of a frame in pixels, 204 published, at least 75.
    width : float
        Factor of all channels; 1 is the paper's.

    Raises
    ------
    ValueError
        If the frames are too small, or `width` is not positive.

    Notes
    -----
    The temporal layers see a picture of time by feature, one channel for each position; the
    features are put in order by a learned matrix, a permutation in the limit, at first the
    identity. Training takes a random frame of the clip for the spatial path, evaluation the middle
    one. The first two convolutions are not padded; the paper does not say.
    """

    def __init__(self, n_classes: int = 101, size: int = 204, width: float = 1.0) -> None:
        super().__init__()
        if size < _SMALLEST:
            raise ValueError(f"frames of {size} px; FstCN needs at least {_SMALLEST}")
        self.size = size
        n_maps, n_filters = scaled(128, width), scaled(32, width)
        n_positions = _positions(size) ** 2
        self.spatial_layers = _lower_layers(width)
        self.temporal_maps = _upper_layers(width)
        self.order = nn.Parameter(torch.eye(n_maps))
        self.temporal = nn.ModuleList(
            [
                ConvUnit(n_positions, n_filters, (side, side), padding=(side // 2,) * 2)
                for side in (3, 5)
            ]
        )
        self.temporal_dropout = nn.Dropout(0.5)
        self.temporal_head = _path_head(2 * n_filters * N_FRAMES * n_maps, width)
        self.spatial_maps = _upper_layers(width)
        self.spatial_head = _path_head(n_maps * n_positions, width)
        joint = scaled(2048, width)
        self.head = nn.Sequential(LinearUnit(2 * joint, joint), nn.Linear(joint, n_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores (N, n_classes) of windows (N, 3, 30, size, size)."""
        if tuple(x.shape[1:]) != (3, WINDOW, self.size, self.size):
            raise ValueError(
                f"windows have shape {tuple(x.shape)}; (N, 3, {WINDOW}, {self.size}, {self.size}) "
                "is needed"
            )
        clip = x[:, :, :-DISTANCE:STRIDE]
        later = x[:, :, DISTANCE::STRIDE]
        chosen = int(torch.randint(N_FRAMES, ())) if self.training else N_FRAMES // 2
        frame = self.spatial_maps(self.spatial_layers(clip[:, :, chosen]))
        spatial = self.spatial_head(frame.flatten(1))
        return self.head(torch.cat([self._temporal(later - clip), spatial], dim=1))

    def _temporal(self, differences: Tensor) -> Tensor:
        frames = differences.abs().transpose(1, 2)  # (N, T, 3, H, W)
        maps = self.temporal_maps(self.spatial_layers(frames.flatten(0, 1)))
        maps = maps.unflatten(0, (len(frames), N_FRAMES)).flatten(3)  # (N, T, f, xy)
        pictures = torch.einsum("ntfp,fg->nptg", maps, self.order)
        convolved = torch.cat([layer(pictures) for layer in self.temporal], dim=1)
        return self.temporal_head(self.temporal_dropout(convolved).flatten(1))


def sparsity_concentration(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the sparsity concentration index of distributions: 1 for one class, 0 for uniform.

    Parameters
    ----------
    probabilities : ndarray of shape (..., n_classes)
        Not negative, of positive sum; at least two classes.

    Returns
    -------
    ndarray of shape (...)
        ``(N max p / sum p - 1) / (N - 1)``.

    Examples
    --------
    >>> sparsity_concentration(np.array([[0.5, 0.5], [1.0, 0.0]]))
    array([0., 1.])
    """
    n_classes = probabilities.shape[-1]
    if n_classes < 2 or (probabilities < 0).any() or (probabilities.sum(-1) <= 0).any():
        raise ValueError(
            f"probabilities of shape {probabilities.shape}; two classes or more, none negative, "
            "are needed"
        )
    share = probabilities.max(-1) / probabilities.sum(-1)
    return (n_classes * share - 1) / (n_classes - 1)


def sci_fusion(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
    """Join the class probabilities of a video's clips and crops.

    For each crop the mean over the clips, weighted by their sparsity; over the crops the maximum.

    Parameters
    ----------
    probabilities : ndarray of shape (n_crops, n_clips, n_classes)

    Returns
    -------
    ndarray of shape (n_classes,)

    Notes
    -----
    A crop all of whose clips are uniform has no weights; its clips then count alike.

    Examples
    --------
    >>> sci_fusion(np.array([[[0.5, 0.5], [0.9, 0.1]]]))
    array([0.9, 0.1])
    """
    weights = sparsity_concentration(probabilities)
    sums = weights.sum(1, keepdims=True)
    shares = np.where(sums > 0, weights / np.where(sums > 0, sums, 1), 1 / weights.shape[1])
    return (shares[..., None] * probabilities).sum(1).max(0)


def _lower_layers(width: float) -> nn.Sequential:
    c1, c2, c3 = (scaled(n, width) for n in (96, 256, 512))
    return named_chain(
        {
            "conv1": ConvUnit(3, c1, (7, 7), (2, 2), (0, 0)),
            "norm1": _local_norm(),
            "pool1": MaxPool((3, 3), (2, 2)),
            "conv2": ConvUnit(c1, c2, (5, 5), (2, 2), (0, 0)),
            "norm2": _local_norm(),
            "pool2": MaxPool((3, 3), (2, 2)),
            "conv3": ConvUnit(c2, c3, (3, 3), padding=(1, 1)),
            "conv4": ConvUnit(c3, c3, (3, 3), padding=(1, 1)),
        }
    )


def _upper_layers(width: float) -> nn.Sequential:
    n_in, n_out = scaled(512, width), scaled(128, width)
    return nn.Sequential(ConvUnit(n_in, n_out, (3, 3), padding=(1, 1)), MaxPool((3, 3), (3, 3)))


def _path_head(n_in: int, width: float) -> nn.Sequential:
    c1, c2 = scaled(4096, width), scaled(2048, width)
    return nn.Sequential(LinearUnit(n_in, c1), nn.Dropout(0.5), LinearUnit(c1, c2), nn.Dropout(0.5))


def _positions(size: int) -> int:
    side = (size - 7) // 2 + 1
    side = (side - 3) // 2 + 1
    side = (side - 5) // 2 + 1
    side = (side - 3) // 2 + 1
    return side // 3


def _local_norm() -> nn.LocalResponseNorm:
    # torch divides alpha by the number of channels, the published formula does not
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
