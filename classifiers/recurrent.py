"""Heads that read the features of a video's steps one after the other: LRCN, temporal attention.

References
----------
.. [1] Donahue et al. Long-term recurrent convolutional networks for visual recognition and
   description. CVPR 2015.
.. [2] Yao et al. Describing videos by exploiting temporal structure. ICCV 2015.
"""

import torch
from torch import Tensor, nn


class LRCN(nn.Module):
    """An LSTM over per-frame features, with class scores at every step [1]_.

    Parameters
    ----------
    n_features : int
        Components of a step's features: 4096 (fc6) in the paper.
    n_classes : int
    n_units : int
        256 in the paper; it also tries 512 and 1024.
    width : float
        Factor of `n_units`.
    dropout : float
        Of the features and of the hidden states; 0.9 and 0.5 in the released networks.

    Notes
    -----
    The LSTM has the usual gates, without peepholes, and torch's two bias vectors. The loss is the
    mean over the steps; at test the probabilities of all steps are averaged.

    Examples
    --------
    >>> LRCN(n_features=16, n_classes=3)(torch.rand(2, 8, 16)).shape  # scores at each of 8 steps
    torch.Size([2, 8, 3])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        n_units: int = 256,
        width: float = 1.0,
        dropout: tuple[float, float] = (0.9, 0.5),
    ) -> None:
        super().__init__()
        units = max(1, round(n_units * width))
        self.input_dropout, self.output_dropout = nn.Dropout(dropout[0]), nn.Dropout(dropout[1])
        self.lstm = nn.LSTM(n_features, units, batch_first=True)
        self.scores = nn.Linear(units, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores (N, T, n_classes) of features (N, T, n_features)."""
        states, _ = self.lstm(self.input_dropout(x))
        return self.scores(self.output_dropout(states))


class TemporalAttention(nn.Module):
    """An LSTM that looks at all steps of a video through soft attention [2]_, for class labels.

    At each of `n_glances` steps the state ``h`` gives every step i of the video a weight,
    ``softmax_i(U tanh(W_c v_i + W_d h + b) + c)``; the weighted mean of the features, times a gate
    ``sigmoid(w h + b)``, goes into the LSTM. State and attended features then give the scores of the
    classes, where the paper has those of the next word.

    Parameters
    ----------
    n_features : int
        Components of a step, [2-D; 3-D] features one after the other.
    n_classes : int
    n_glances : int
        Steps of the LSTM; the paper has one for each word.
    width : float
        Factor of the LSTM's 3518 units and of the 468 of the layer before the scores.
    dropout : float
        Of the LSTM's gates and of the layer before the scores; 0.5 in the release.
    penalty : float
        Weight of the squares of how far each step's attention, summed over the glances, is from an
        equal share.

    Notes
    -----
    There is no previous word, so its embedding and the weights on it are left out. The paper's
    penalty wants a sum of 1 for each step, as a caption has about as many words as there are steps;
    here it is the share ``n_glances / T``.

    Examples
    --------
    >>> scores, penalty = TemporalAttention(16, 3, width=0.01)(torch.rand(2, 8, 16))
    >>> scores.shape, penalty.ndim
    (torch.Size([2, 3]), 0)
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        n_glances: int = 1,
        width: float = 1.0,
        dropout: float = 0.5,
        penalty: float = 0.706,
    ) -> None:
        super().__init__()
        units, n_hidden = max(1, round(3518 * width)), max(1, round(468 * width))
        self.n_glances, self.penalty = n_glances, penalty
        self.features_in = nn.Linear(n_features, n_features, bias=False)
        self.state_in = nn.Linear(units, n_features)
        self.energy = nn.Linear(n_features, 1)
        self.first_state = nn.Linear(n_features, units)
        self.first_memory = nn.Linear(n_features, units)
        self.selector = nn.Linear(units, 1)
        self.recurrent = nn.Linear(units, 4 * units, bias=False)
        self.context = nn.Linear(n_features, 4 * units)
        self.dropout = nn.Dropout(dropout)
        self.state_out = nn.Linear(units, n_hidden)
        self.context_out = nn.Linear(n_features, n_hidden, bias=False)
        self.scores = nn.Linear(n_hidden, n_classes)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the scores (N, n_classes) of features (N, T, D), given whole or in parts.

        In training also the penalty on the attention, a scalar.
        """
        x = torch.cat(inputs, dim=2)
        mean, keys = x.mean(dim=1), self.features_in(x)
        state, memory = self.first_state(mean).tanh(), self.first_memory(mean).tanh()
        seen = torch.zeros_like(x[..., 0])
        for _ in range(self.n_glances):
            energy = self.energy((keys + self.state_in(state)[:, None]).tanh())
            attention = energy[..., 0].softmax(dim=1)
            seen = seen + attention
            context = torch.einsum("nt,ntd->nd", attention, x) * self.selector(state).sigmoid()
            state, memory = self._step(state, memory, context)
        hidden = (self.state_out(state) + self.context_out(context)).tanh()
        scores = self.scores(self.dropout(hidden))
        if not self.training:
            return scores
        missed = self.n_glances / x.shape[1] - seen
        return scores, self.penalty * missed.square().sum(dim=1).mean()

    def _step(self, state: Tensor, memory: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        gates, new = (self.recurrent(state) + self.context(context)).split(
            [3 * state.shape[1], state.shape[1]], dim=1
        )
        enter, keep, leave = self.dropout(gates).sigmoid().chunk(3, dim=1)
        memory = keep * memory + enter * new.tanh()
        return leave * memory.tanh(), memory
