"""Models of the table [network] that learn from stored features and maps.

Each has a function that builds it with random weights; the table is that of
`cinefeat.pipeline.network_models`.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cinefeat.classifiers import KMeansCodebook
from cinefeat.classifiers.action_vlad import ActionVLAD, locations
from cinefeat.classifiers.consensus import SegmentConsensus
from cinefeat.classifiers.recurrent import LRCN, TemporalAttention
from cinefeat.classifiers.snippet_pooling import SnippetPooling
from cinefeat.classifiers.stream_fusion import TwoStreamFusion
from cinefeat.pipeline.network_settings import (
    ActionVLADSettings,
    AttentionSettings,
    ConsensusSettings,
    FusionSettings,
    LRCNSettings,
    PoolingSettings,
    StreamSettings,
)

Shapes = Sequence[tuple[int, ...]]
N_LOCATIONS = 100_000  # of which the anchors of ActionVLAD are learned


def build_lrcn(
    settings: LRCNSettings, _: StreamSettings, shapes: Shapes, n_classes: int
) -> nn.Module:
    """Build an LSTM over features."""
    return LRCN(
        shapes[0][-1], n_classes, settings.n_units, settings.width, dropout=settings.dropout
    )


def build_consensus(
    settings: ConsensusSettings, _: StreamSettings, shapes: Shapes, n_classes: int
) -> nn.Module:
    """Build linear scores of features and their consensus."""
    scores = nn.Sequential(nn.Dropout(settings.dropout), nn.Linear(shapes[0][-1], n_classes))
    return SegmentConsensus(scores, settings.consensus, settings.steps)


def build_attention(
    settings: AttentionSettings, _: StreamSettings, shapes: Shapes, n_classes: int
) -> nn.Module:
    """Build temporal attention over one or two features."""
    n_features = sum(shape[-1] for shape in shapes)
    return TemporalAttention(
        n_features,
        n_classes,
        settings.n_glances,
        settings.width,
        settings.dropout,
        settings.penalty,
    )


def build_action_vlad(
    settings: ActionVLADSettings, _: StreamSettings, shapes: Shapes, n_classes: int
) -> nn.Module:
    """Build ActionVLAD on maps, its anchors still random."""
    return ActionVLAD(shapes[0][1], n_classes, settings.n_anchors, settings.width, settings.dropout)


def set_anchors(
    settings: ActionVLADSettings, network: ActionVLAD, batches: Sequence[dict[str, Tensor]]
) -> None:
    """Begin the anchors of ActionVLAD by k-means on locations of training clips."""
    found = torch.cat([locations(batch["x0"]).flatten(0, 1) for batch in batches]).numpy()
    rng = np.random.default_rng(settings.seed)
    sample = found[rng.permutation(len(found))[:N_LOCATIONS]]
    codebook = KMeansCodebook(network.n_anchors, random_state=settings.seed).fit(sample)
    network.set_anchors(codebook.codewords_, settings.alpha)


def vlad_rate(settings: ActionVLADSettings, name: str) -> float:
    """Return the rate factor of a parameter: anchors and assignment learn more slowly."""
    return 1.0 if name.startswith("scores.") else settings.anchor_rate


def build_fusion(
    settings: FusionSettings, stream: StreamSettings, shapes: Shapes, n_classes: int
) -> nn.Module:
    """Build two-stream fusion of spatial and temporal maps."""
    spatial, temporal = shapes
    return TwoStreamFusion(
        spatial[1],
        temporal[1],
        spatial[-1],
        n_classes,
        settings.fusion,
        settings.width,
        settings.dropout,
    )


def build_pooling(
    settings: PoolingSettings, _: StreamSettings, shapes: Shapes, n_classes: int
) -> nn.Module:
    """Build two full layers and a maximum over time, on features or maps."""
    n_steps, *rest = shapes[0]
    return SnippetPooling(
        math.prod(rest), n_steps, n_classes, settings.variant, settings.width, settings.dropout
    )
