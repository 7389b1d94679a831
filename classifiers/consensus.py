"""Scores of a video from those of its snippets: the consensus of temporal segment networks.

Wang et al., "Temporal Segment Networks: Towards Good Practices for Deep Action Recognition", ECCV
2016: snippets share a network's weights, and the loss is that of the consensus of their scores.
"""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rule = Literal["none", "average", "max", "weighted"]


class SegmentConsensus(nn.Module):
    """A network of single snippets, and the consensus over the snippets of a video.

    Parameters
    ----------
    body : nn.Module
        Maps snippets (M, ...) to scores (M, n_classes).
    rule : "average", "max", "weighted" or "none"
        Mean, greatest, or learned weighted mean (from equal weights on) of each class's scores;
        "none" keeps the scores of every snippet.
    n_segments : int
        Snippets of a video, where they are weighted.

    Examples
    --------
    >>> network = SegmentConsensus(nn.Linear(4, 2), "max")
    >>> network(torch.zeros(5, 3, 4)).shape
    torch.Size([5, 2])
    """

    def __init__(self, body: nn.Module, rule: Rule = "average", n_segments: int = 1) -> None:
        super().__init__()
        self.body, self.rule = body, rule
        if rule == "weighted":
            self.weights = nn.Parameter(torch.full((n_segments,), 1 / n_segments))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores (N, n_classes), or (N, K, n_classes), of snippets (N, K, ...)."""
        scores = self.body(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        if self.rule == "none":
            return scores
        if self.rule == "max":
            return scores.amax(dim=1)
        if self.rule == "average":
            return scores.mean(dim=1)
        if len(self.weights) != x.shape[1]:
            raise ValueError(f"{x.shape[1]} snippets of a video, and {len(self.weights)} weights")
        return torch.einsum("k,nkc->nc", self.weights, scores)


def classification_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the cross-entropy `loss` and the `accuracy` of a network's scores.

    Inputs are the batch's `x0`, `x1`, ... in this order, labels its `label` (N,) int64. Of scores
    (N, S, n_classes), as of the steps of a recurrent network, every one has to be right, and the
    accuracy is that of their mean probabilities. A network may return its scores and a penalty,
    which is added.

    Examples
    --------
    >>> batch = {"x0": torch.tensor([[5.0, 0.0], [0.0, 5.0]]), "label": torch.tensor([0, 1])}
    >>> classification_loss(nn.Identity(), batch)["accuracy"].item()
    1.0
    """
    found = model(*inputs_of(batch))
    scores, penalty = found if isinstance(found, tuple) else (found, 0.0)
    scores = scores.float()
    steps = scores[:, None] if scores.ndim == 2 else scores
    labels = batch["label"][:, None].expand(steps.shape[:2])
    loss = F.cross_entropy(steps.flatten(0, 1), labels.flatten())
    guess = steps.softmax(dim=2).mean(dim=1).argmax(dim=1)
    return {"loss": loss + penalty, "accuracy": (guess == batch["label"]).float().mean()}


def inputs_of(batch: Mapping[str, Tensor]) -> list[Tensor]:
    """Return a batch's inputs `x0`, `x1`, ... in order."""
    return [batch[f"x{i}"] for i in range(sum(name[0] == "x" for name in batch))]
