"""C3D: eight 3x3x3 convolutions and three fully connected layers on 16 frames of 112 x 112.

Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015. Its
feature is fc6 after ReLU; a video's descriptor is the L2-normalised mean over its windows.
"""

from typing import Literal

from torch import nn

from cinefeat.extractors.layers import (
    ConvUnit,
    LinearUnit,
    MaxPool,
    Size,
    classifier,
    named_chain,
    scaled,
)

# convolution -> output channels
CONVOLUTIONS: dict[str, int] = {
    "conv1a": 64,
    "conv2a": 128,
    "conv3a": 256,
    "conv3b": 256,
    "conv4a": 512,
    "conv4b": 512,
    "conv5a": 512,
    "conv5b": 512,
}
_CUBE: Size = (2, 2, 2)


def c3d(
    n_classes: int | None = 487, pool5: Literal["ceil", "pad"] = "ceil", width: float = 1.0
) -> nn.Sequential:
    """Build C3D with random weights.

    Parameters
    ----------
    n_classes : int or None
        Length of the scores `logits` (487: Sports-1M); None ends the network in fc7.
    pool5 : "ceil" or "pad"
        How 7 rows become 4: {0, 1}, {2, 3}, {4, 5}, {6} as Caffe does, or {0}, {1, 2}, {3, 4},
        {5, 6} as several PyTorch ports do. Weights trained with one need that one.
    width : float
        Factor of all channels; 1 is the paper's.

    Returns
    -------
    nn.Sequential
        Maps (N, 3, 16, 112, 112), BGR, to scores (N, n_classes). 79 991 015 parameters with 487
        classes.

    Raises
    ------
    ValueError
        If `pool5` is neither, or `width` is not positive.
    """
    if pool5 not in ("ceil", "pad"):
        raise ValueError(f"pool5 is {pool5!r}; choose 'ceil' or 'pad'")
    layers: dict[str, nn.Module | None] = {}
    n_in = 3
    for name, n_published in CONVOLUTIONS.items():
        n_out = scaled(n_published, width)
        layers[name] = ConvUnit(n_in, n_out, (3, 3, 3), padding=(1, 1, 1))
        n_in = n_out
        if name == "conv1a":
            layers["pool1"] = MaxPool((1, 2, 2), (1, 2, 2))
        elif name in ("conv2a", "conv3b", "conv4b"):
            layers[f"pool{name[4]}"] = MaxPool(_CUBE, _CUBE)
    layers["pool5"] = MaxPool(_CUBE, _CUBE, "ceil" if pool5 == "ceil" else (0, 1, 1))
    layers["flat"] = nn.Flatten()
    hidden = scaled(4096, width)
    layers["fc6"] = LinearUnit(16 * n_in, hidden)
    layers["dropout6"] = nn.Dropout(0.5)
    layers["fc7"] = LinearUnit(hidden, hidden)
    layers["dropout7"] = nn.Dropout(0.5)
    layers["logits"] = classifier(hidden, n_classes)
    return named_chain(layers)
