"""The networks of two-stream recognition: CNN-M-2048, and VGG-16 for the very deep variant.

Simonyan and Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos",
NIPS 2014 (CNN-M-2048); Wang et al., "Towards Good Practices for Very Deep Two-Stream ConvNets",
2015 (VGG-16). The spatial stream sees one frame, the temporal one 10 flow fields as 20 channels
x1, y1, x2, y2, ...
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

# convolutions of each of VGG-16's five blocks: how many, of how many channels
_VGG16: tuple[tuple[int, int], ...] = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def cnn_m(
    n_channels: int = 3, n_classes: int | None = 101, has_second_norm: bool = True
) -> nn.Sequential:
    """Build CNN-M-2048 with random weights.

    Parameters
    ----------
    n_channels : int
        3 for the spatial stream, 20 for the temporal one.
    n_classes : int or None
        Length of the scores `logits`; None ends the network in fc7.
    has_second_norm : bool
        Whether local response normalisation also follows conv2; the temporal stream has none there.

    Returns
    -------
    nn.Sequential
        Maps (N, n_channels, 224, 224) to scores (N, n_classes); fc7 has 2048 components.

    Notes
    -----
    The normalisation divides by ``(2 + 1e-4 s) ** 0.75``, s the sum of squares over 5 channels.
    Pools round up, which the published sizes need (6 x 6 before fc6).
    """
    layers: dict[str, nn.Module | None] = {
        "conv1": ConvUnit(n_channels, 96, (7, 7), (2, 2), (0, 0)),
        "norm1": _local_norm(),
        "pool1": MaxPool((3, 3), (2, 2), "ceil"),
        "conv2": ConvUnit(96, 256, (5, 5), (2, 2), (1, 1)),
        "norm2": _local_norm() if has_second_norm else None,
        "pool2": MaxPool((3, 3), (2, 2), "ceil"),
        "conv3": ConvUnit(256, 512, (3, 3)),
        "conv4": ConvUnit(512, 512, (3, 3)),
        "conv5": ConvUnit(512, 512, (3, 3)),
        "pool5": MaxPool((3, 3), (2, 2), "ceil"),
        "flat": nn.Flatten(),
        "fc6": LinearUnit(512 * 6 * 6, 4096),
        "dropout6": nn.Dropout(0.9),
        "fc7": LinearUnit(4096, 2048),
        "dropout7": nn.Dropout(0.9),
        "logits": classifier(2048, n_classes),
    }
    return named_chain(layers)


def vgg16(
    n_channels: int = 3,
    n_classes: int | None = 101,
    dropout: tuple[float, float] = (0.9, 0.9),
    *,
    width: float = 1.0,
    size: int = 224,
) -> nn.Sequential:
    """Build VGG-16 with random weights.

    Parameters
    ----------
    n_channels : int
        3 for the spatial stream, 20 for the temporal one.
    n_classes : int or None
        Length of the scores `logits`; None ends the network in fc7.
    dropout : (float, float)
        After fc6 and fc7; (0.9, 0.8) for the temporal stream.
    width : float
        Factor of the channels of every layer; 1 is the paper's.
    size : int
        Side of an input in pixels, a multiple of 32.

    Returns
    -------
    nn.Sequential
        Maps (N, n_channels, size, size) to scores (N, n_classes); fc7 has ``4096 width``
        components.
    """
    layers: dict[str, nn.Module | None] = {}
    n_in = n_channels
    for block, (count, full) in enumerate(_VGG16, start=1):
        n_out = scaled(full, width)
        for position in range(1, count + 1):
            layers[f"conv{block}_{position}"] = ConvUnit(n_in, n_out, (3, 3), padding=(1, 1))
            n_in = n_out
        layers[f"pool{block}"] = MaxPool((2, 2), (2, 2))
    layers["flat"] = nn.Flatten()
    n_hidden = scaled(4096, width)
    layers["fc6"] = LinearUnit(n_in * (size // 32) ** 2, n_hidden)
    layers["dropout6"] = nn.Dropout(dropout[0])
    layers["fc7"] = LinearUnit(n_hidden, n_hidden)
    layers["dropout7"] = nn.Dropout(dropout[1])
    layers["logits"] = classifier(n_hidden, n_classes)
    return named_chain(layers)


def _local_norm() -> nn.LocalResponseNorm:
    # torch divides alpha by the number of channels, the published formula does not
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
