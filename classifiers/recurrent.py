"""Heads that read the features of a video's steps one after the other: LRCN, temporal attention.

References
----------
.. [1] Donahue et al. Long-term recurrent convolutional networks for visual recognition and
   description. CVPR 2015.
.. [2] Yao et al. Describing videos by exploiting temporal structure. ICCV 2015.
"""

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
