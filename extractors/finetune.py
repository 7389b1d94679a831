"""Training a network of the table from weights that were learned elsewhere.

What the published trainings have in common: the scores are replaced for the new classes, and the
norms behind the first keep what they have learned (partial batch norm: Wang et al., temporal
segment networks, ECCV 2016).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cinefeat.extractors.weights import check_tensors

SCORES = "logits."


class FineTuned(nn.Module):
    """A network in training, all of whose norms but the first may be fixed.

    Parameters
    ----------
    body : nn.Sequential
        A network that ends in scores.
    partial_norm : bool
        Whether the statistics, scales and offsets of every batch norm behind the first stay.
    """

    def __init__(self, body: nn.Sequential, partial_norm: bool = False) -> None:
        super().__init__()
        self.body = body
        norms = [m for m in body.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
        self._fixed = norms[1:] if partial_norm else []
        for norm in self._fixed:
            norm.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "FineTuned":
        """Set training mode for all but the fixed norms."""
        super().train(mode)
        for norm in self._fixed:
            norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores (N, n_classes) of windows."""
        return self.body(x)


def start_from(body: nn.Sequential, tensors: Mapping[str, Tensor], what: str = "weights") -> bool:
    """Copy learned weights into a network, but for scores of other classes.

    Parameters
    ----------
    body : nn.Sequential
        A network of the width of the weights. Changed in place.
    tensors : mapping of str to Tensor
        All of the network's tensors; scores may be absent, or for another number of classes.
    what : str
        Where the tensors come from, for messages.

    Returns
    -------
    bool
        Whether the scores were taken too.

    Raises
    ------
    ValueError
        If a tensor is missing, too many or misshapen; it is named.
    """
    state = {k: v for k, v in body.state_dict().items() if not k.endswith("num_batches_tracked")}
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    taken = all(name in tensors and tuple(tensors[name].shape) == shapes[name]
                for name in shapes if name.startswith(SCORES))  # fmt: skip
    if not taken:
        tensors = {name: t for name, t in tensors.items() if not name.startswith(SCORES)}
        shapes = {name: s for name, s in shapes.items() if not name.startswith(SCORES)}
    check_tensors(tensors, shapes, what)
    with torch.no_grad():
        for name in shapes:
            state[name].copy_(tensors[name])
    return taken
