"""From an image network to a video network: do frames and clip belong together?

The transfer of Diba et al., "Temporal 3D ConvNets", 2017: an image network whose weights stay as
they are sees the frames of a clip one by one, the video network sees the clip, and a small head
decides from both features whether frames and clip are of the same video and time. Nothing is
labelled by hand; the video network learns from what the image network knows.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cinefeat.extractors.layers import LinearUnit, scaled

_HIDDEN = (512, 128)


class PairNetwork(nn.Module):
    """A fixed image network, a video network that learns, and the head that compares them.

    Parameters
    ----------
    images, videos : nn.Module
        Networks that end in their features (N, n) of images (N, 3, H, W), and of clips
        (N, 3, T, H, W).
    n_images, n_videos : int
        Lengths of those features: 1024 each in the paper.
    width : float
        Factor of the head's channels; 1 is the paper's 512 and 128.
    """

    def __init__(
        self, images: nn.Module, videos: nn.Module, n_images: int, n_videos: int, width: float = 1.0
    ) -> None:
        super().__init__()
        self.images = images.requires_grad_(False).eval()
        self.videos = videos
        # both features are brought to one scale; those of a rectified image network are not
        self.scale = nn.BatchNorm1d(n_images + n_videos)
        c1, c2 = (scaled(n, width) for n in _HIDDEN)
        self.head = nn.Sequential(
            LinearUnit(n_images + n_videos, c1), LinearUnit(c1, c2), nn.Linear(c2, 2)
        )

    def train(self, mode: bool = True) -> "PairNetwork":
        """Set training mode for all but the image network, whose statistics stay."""
        super().train(mode)
        self.images.eval()
        return self

    def image_features(self, frames: Tensor) -> Tensor:
        """Return the image network's mean features (N, n_images) of frames (N, 3, T, H, W)."""
        with torch.no_grad():
            images = frames.transpose(1, 2)
            return self.images(images.flatten(0, 1)).unflatten(0, images.shape[:2]).mean(1)

    def forward(self, frames: Tensor, clips: Tensor, others: Tensor | None = None) -> Tensor:
        """Decide whether frames and clips belong together.

        Parameters
        ----------
        frames : Tensor of shape (N, 3, T, H, W), or (N, n_images)
            As the image network takes them, or its features of them, computed before.
        clips : Tensor of shape (N, 3, T, H, W), or (N, n_videos)
            As the video network takes them, or its features of them.
        others : Tensor of shape (M, 2), int64, or None
            Numbers of a clip and of the frames of another video, to be compared too.

        Returns
        -------
        Tensor of shape (N, 2), or (N + M, 2)
            Scores of "another video" and "the same": of every clip with its own frames, then of
            the pairs of `others`.
        """
        images = frames if frames.ndim == 2 else self.image_features(frames)
        videos = clips if clips.ndim == 2 else self.videos(clips)
        pairs = torch.cat([images, videos], dim=1)
        if others is not None:
            unpaired = torch.cat([images[others[:, 1]], videos[others[:, 0]]], dim=1)
            pairs = torch.cat([pairs, unpaired])
        return self.head(self.scale(pairs))


def pair_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return loss and accuracy of the paired/unpaired decision over a batch of clips.

    Every clip is paired with its own frames, and with those of all other videos in the batch.
    Both kinds of pairs count one half, as if there were as many of each.

    Parameters
    ----------
    model : PairNetwork
    batch : mapping
        "clip" (N, 3, T, H, W) as the video network takes it, "frames", the same frames as the
        image network takes them, or the networks' features of them; "video" (N,), a number for
        each video, of which there must be two or more.

    Returns
    -------
    mapping with "loss" and "accuracy", scalars

    Notes
    -----
    The paper draws one other video for each clip; features are computed once here, so that all
    others cost little more, and a small corpus teaches more in a step.
    """
    others = unpaired(batch["video"])
    scores = model(batch["frames"], batch["clip"], others)
    n_paired = len(scores) - len(others)
    targets = (torch.arange(len(scores), device=scores.device) < n_paired).long()
    losses = F.cross_entropy(scores, targets, reduction="none")
    hits = (scores.argmax(1) == targets).to(losses.dtype)
    return {
        name: (values[:n_paired].mean() + values[n_paired:].mean()) / 2
        for name, values in (("loss", losses), ("accuracy", hits))
    }


def unpaired(numbers: Tensor) -> Tensor:
    """Return all pairs (clip, frames) of a batch that are of different videos.

    Parameters
    ----------
    numbers : Tensor of shape (N,), int64
        Of the videos.

    Returns
    -------
    Tensor of shape (M, 2), int64

    Raises
    ------
    ValueError
        If all clips are of one video.

    Examples
    --------
    >>> unpaired(torch.tensor([3, 3, 5])).tolist()
    [[0, 2], [1, 2], [2, 0], [2, 1]]
    """
    pairs = (numbers[:, None] != numbers).nonzero()
    if len(pairs) == 0:
        raise ValueError("a batch needs clips of two videos or more to make unpaired clips")
    return pairs
