"""ActionVLAD: trainable aggregation of local features over a whole video.

Girdhar et al., "ActionVLAD: Learning spatio-temporal aggregation for action classification", CVPR 2017.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cinefeat.classifiers.types import Array


class ActionVLAD(nn.Module):
    """Sums of residuals to anchors over all places and times of a video, and linear scores.

    Every location's features, scaled to unit length, are softly assigned to K anchors; per anchor the
    residuals are summed over all frames, rows and columns jointly. Each anchor's sum is scaled to
    unit length, and then the whole vector of K * n_features.

    Parameters
    ----------
    n_features : int
        Maps of the layer, 512 for VGG-16.
    n_classes : int
    n_anchors : int
        64 in the paper.
    width : float
        Factor of `n_anchors`.
    dropout : float
        Of the vector; the paper mentions 0.5, the released code has none.

    Notes
    -----
    Anchors are random until `set_anchors` is called; from then on assignment and anchors are
    parameters of their own, as in the released code. Weights of the scores are drawn with a deviation
    of 0.01 and cut at two deviations.

    Examples
    --------
    >>> head = ActionVLAD(n_features=8, n_classes=3, n_anchors=4)
    >>> head(torch.rand(2, 5, 8, 7, 7)).shape  # two videos, five steps, maps of 7x7
    torch.Size([2, 3])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        n_anchors: int = 64,
        width: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_anchors = max(1, round(n_anchors * width))
        self.anchors = nn.Parameter(F.normalize(torch.randn(self.n_anchors, n_features), dim=1))
        self.assignment = nn.Linear(n_features, self.n_anchors)
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(self.n_anchors * n_features, n_classes)
        nn.init.trunc_normal_(self.scores.weight, std=0.01, a=-0.02, b=0.02)
        nn.init.zeros_(self.scores.bias)

    def set_anchors(self, anchors: Array, alpha: float = 1000.0) -> None:
        """Set anchors (K, n_features), and the assignment that is hard but for ties near them.

        The assignment's weights are ``2 alpha c_k``, its biases ``-alpha |c_k|^2``.
        """
        found = torch.as_tensor(np.asarray(anchors), dtype=torch.float32)
        if found.shape != self.anchors.shape:
            raise ValueError(
                f"anchors of shape {tuple(found.shape)}; {tuple(self.anchors.shape)} needed"
            )
        with torch.no_grad():
            self.anchors.copy_(found)
            self.assignment.weight.copy_(2 * alpha * found)
            self.assignment.bias.copy_(-alpha * found.square().sum(dim=1))

    def encode(self, x: Tensor) -> Tensor:
        """Return the vectors (N, K * n_features) of maps (N, T, n_features, H, W)."""
        places = locations(x)
        shares = self.assignment(places).softmax(dim=2)
        sums = torch.einsum("npk,npd->nkd", shares, places)
        residuals = sums - shares.sum(dim=1)[..., None] * self.anchors
        return F.normalize(F.normalize(residuals, dim=2).flatten(1), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores (N, n_classes) of maps (N, T, n_features, H, W)."""
        return self.scores(self.dropout(self.encode(x)))


def locations(x: Tensor) -> Tensor:
    """Return the features (N, T * H * W, C) of all locations of maps (N, T, C, H, W), unit length."""
    return F.normalize(x.permute(0, 1, 3, 4, 2).flatten(1, 3), dim=2)
