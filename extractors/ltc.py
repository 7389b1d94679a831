"""Long-term temporal convolutions: a small C3D on many frames of small size.

Varol, Laptev, Schmid, "Long-term Temporal Convolutions for Action Recognition", PAMI 2018. One
network for RGB (3 channels) and one for flow (2 channels).
"""

from torch import nn

from cinefeat.extractors.layers import (
    ConvUnit,
    LinearUnit,
    MaxPool,
    classifier,
    named_chain,
    scaled,
)

_CHANNELS = (64, 128, 256, 256, 256)
_HIDDEN = 2048


def ltc(
    n_channels: int = 3,
    n_classes: int | None = 101,
    n_frames: int = 60,
    size: int = 71,
    dropout: float = 0.5,
    width: float = 1.0,
) -> nn.Sequential:
    """Build LTC with random weights.

    Parameters
    ----------
    n_channels : int
        3 for RGB, 2 for flow.
    n_classes : int or None
        Length of the scores `logits`; None ends the network in fc7.
    n_frames, size : int
        Frames of a window, >= 16, and side of a frame in pixels, >= 32. Published: 20, 40, 60, 80
        or 100 frames of 58 or 71 pixels, or 16 of 112.
    dropout : float
        After fc6 and fc7: 0.5 for RGB, 0.9 for flow.
    width : float
        Factor of all channels; 1 is the paper's.

    Returns
    -------
    nn.Sequential
        Maps (N, n_channels, n_frames, size, size) to scores (N, n_classes); fc7 has 2048
        components.

    Raises
    ------
    ValueError
        If nothing is left of a window after the five pools.

    Notes
    -----
    fc6 takes ``256 floor(n_frames / 16) floor(size / 32) ** 2`` numbers. The RGB networks that
    the authors released are fine-tuned C3D with another last pool, not this network.
    """
    channels = [scaled(n, width) for n in _CHANNELS]
    hidden = scaled(_HIDDEN, width)
    n_flat = channels[-1] * (n_frames // 16) * (size // 32) ** 2
    if n_flat == 0:
        raise ValueError(f"a window of {n_frames} frames of {size} px is too small for LTC")
    layers: dict[str, nn.Module | None] = {}
    n_in = n_channels
    for block, n_out in enumerate(channels, start=1):
        kernel = (1 if block == 1 else 2, 2, 2)
        layers[f"conv{block}"] = ConvUnit(n_in, n_out, (3, 3, 3), padding=(1, 1, 1))
        layers[f"pool{block}"] = MaxPool(kernel, kernel)
        n_in = n_out
    layers["flat"] = nn.Flatten()
    layers["fc6"] = LinearUnit(n_flat, hidden)
    layers["dropout6"] = nn.Dropout(dropout)
    layers["fc7"] = LinearUnit(hidden, hidden)
    layers["dropout7"] = nn.Dropout(dropout)
    layers["logits"] = classifier(hidden, n_classes)
    return named_chain(layers)
