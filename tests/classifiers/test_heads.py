"""The heads on stored features and maps: sizes of the papers, gradients, overfitting, formulas."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cinefeat.classifiers import (
    LRCN,
    ActionVLAD,
    SegmentConsensus,
    SnippetPooling,
    TemporalAttention,
    TrainingSettings,
    TwoStreamFusion,
    classification_loss,
    fit_network,
)

T, D, SIDE = 12, 8, 4
FEATURES, MAPS = (T, D), (T, D, SIDE, SIDE)
POOLINGS = ("conv", "late", "slow", "local", "time-conv")

# name -> (builder for small inputs, shapes of the inputs of one sample)
HEADS: dict[str, tuple[Callable[[], nn.Module], list[tuple[int, ...]]]] = {
    "lrcn": (lambda: LRCN(D, 5, width=1 / 8, dropout=(0.0, 0.0)), [FEATURES]),
    "attention": (
        lambda: TemporalAttention(2 * D, 5, 3, 1 / 64, dropout=0.0),
        [FEATURES, FEATURES],
    ),
    "action-vlad": (lambda: ActionVLAD(D, 5, width=1 / 8), [MAPS]),
    "fusion-3d": (
        lambda: TwoStreamFusion(D, 2 * D, SIDE, 5, width=1 / 4, dropout=0.0),
        [MAPS, (T, 2 * D, SIDE, SIDE)],
    ),
    "fusion-2d": (
        lambda: TwoStreamFusion(D, D, SIDE, 5, "conv2d", width=1 / 4, dropout=0.0),
        [MAPS, MAPS],
    ),
    "average": (lambda: SegmentConsensus(nn.Linear(D, 5)), [FEATURES]),
    "max": (lambda: SegmentConsensus(nn.Linear(D, 5), "max"), [FEATURES]),
    "weighted": (lambda: SegmentConsensus(nn.Linear(D, 5), "weighted", T), [FEATURES]),
    **{
        name: (
            lambda name=name: SnippetPooling(D, T, 5, name, 1 / 32, dropout=0.0),  # type: ignore[misc]
            [FEATURES],
        )
        for name in POOLINGS
    },
}


def build(name: str) -> tuple[nn.Module, list[Tensor]]:
    torch.manual_seed(0)
    head = HEADS[name][0]()
    inputs = []
    for shape in HEADS[name][1]:
        own = 2 * torch.rand(10, 1, *shape[1:2], *(1 for _ in shape[2:]))  # of each clip
        inputs.append(own + torch.rand(10, *shape))
    return head, inputs


def n_parameters(head: nn.Module) -> int:
    return sum(parameter.numel() for parameter in head.parameters())


@pytest.mark.parametrize("name", HEADS)
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    head, inputs = build(name)
    if isinstance(head, ActionVLAD):
        head.set_anchors(F.normalize(torch.rand(8, D), dim=1).numpy(), alpha=2)
    batch = {f"x{i}": x for i, x in enumerate(inputs)} | {"label": torch.arange(10) % 5}
    classification_loss(head, batch)["loss"].backward()
    for key, parameter in head.named_parameters():
        assert parameter.grad is not None, key
        if key != "energy.bias":  # softmax does not see what is added to all
            assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", HEADS)
def test_ten_clips_are_learned_by_heart(name: str) -> None:
    head, inputs = build(name)
    labels = torch.arange(10) % 5

    def load(numbers: Sequence[int], seed: int) -> dict[str, Tensor]:
        batch = {f"x{i}": x[list(numbers)] for i, x in enumerate(inputs)}
        return {**batch, "label": labels[list(numbers)]}

    settings = TrainingSettings(100, 10, "adam", 0.003 if "fusion" in name else 0.01)
    history = fit_network(head, classification_loss, load, 10, settings)
    assert history.curves["train/accuracy"][-1] == 1.0
    assert history.curves["train/loss"][-1] < history.curves["train/loss"][0] / 2


@pytest.mark.parametrize("name", HEADS)
def test_loaded_weights_give_the_same_scores(name: str) -> None:
    head, inputs = build(name)
    torch.manual_seed(1)
    other = HEADS[name][0]()
    other.load_state_dict(head.state_dict())
    assert torch.equal(head.eval()(*inputs), other.eval()(*inputs))


def test_lrcn_has_the_units_of_the_paper() -> None:
    with torch.device("meta"):
        head = LRCN(4096, 101)
        assert head(torch.empty(2, 16, 4096)).shape == (2, 16, 101)
    # four gates of 256 units, two vectors of biases, and the scores of every step
    assert n_parameters(head) == 4 * 256 * (4096 + 256 + 2) + 257 * 101


def test_attention_has_the_sizes_of_the_release() -> None:
    d, units, hidden = 1024 + 4096, 3518, 468
    with torch.device("meta"):
        head = TemporalAttention(d, 101)
        assert head.eval()(torch.empty(2, 28, 1024), torch.empty(2, 28, 4096)).shape == (2, 101)
    attention = d * d + units * d + d + d + 1
    start, selector = 2 * (d + 1) * units, units + 1
    lstm = 4 * units * (units + d + 1)
    output = units * hidden + hidden + d * hidden + (hidden + 1) * 101
    assert n_parameters(head) == attention + start + selector + lstm + output


def test_action_vlad_has_the_sizes_of_the_release() -> None:
    with torch.device("meta"):
        head = ActionVLAD(512, 101)
        assert head(torch.empty(2, 25, 512, 14, 14)).shape == (2, 101)
        assert head.encode(torch.empty(2, 25, 512, 14, 14)).shape == (2, 32_768)
    assert n_parameters(head) == 64 * 512 + (64 * 512 + 64) + 32_769 * 101


def test_fusion_has_the_sizes_of_the_table() -> None:
    with torch.device("meta"):
        head = TwoStreamFusion(512, 512, 14, 101)
        maps = torch.empty(2, 5, 512, 14, 14)
        assert head(maps, maps).shape == (2, 2, 101)
    convolution = 27 * 1024 * 512 + 512
    tower = 25_089 * 4096 + 4097 * 4096 + 4097 * 101
    assert n_parameters(head) == convolution + 2 * tower


@pytest.mark.parametrize("variant", POOLINGS)
def test_pooling_has_the_layers_of_the_paper(variant: str) -> None:
    d, n_steps = 1024, 25
    with torch.device("meta"):
        head = SnippetPooling(d, n_steps, 101, variant)  # type: ignore[arg-type]
        assert head(torch.empty(2, n_steps, d)).shape == (2, 101)
    convolution = (10 * d + 1) * 256 if variant == "time-conv" else 0
    n_in = 256 if variant == "time-conv" else d
    n_windows = 4 if variant == "local" else 1  # of 10 frames, from 5 to 5
    full = (n_in + 1) * 4096 + 4097 * 4096
    assert n_parameters(head) == convolution + full + (4096 * n_windows + 1) * 101


@pytest.mark.parametrize("rule, n_more", [("average", 0), ("max", 0), ("weighted", 3)])
def test_consensus_adds_a_weight_for_each_segment_at_most(rule: str, n_more: int) -> None:
    with torch.device("meta"):
        head = SegmentConsensus(nn.Linear(1024, 101), rule, 3)  # type: ignore[arg-type]
        assert head(torch.empty(2, 3, 1024)).shape == (2, 101)
    assert n_parameters(head) == 1025 * 101 + n_more


@pytest.mark.parametrize("name", HEADS)
def test_width_1_is_the_papers_and_a_smaller_one_is_smaller(name: str) -> None:
    if name in ("average", "max", "weighted"):
        pytest.skip("a consensus has no layer of its own")
    with torch.device("meta"):
        sizes = {
            "lrcn": lambda w: LRCN(D, 5, width=w),
            "attention": lambda w: TemporalAttention(D, 5, width=w),
            "action-vlad": lambda w: ActionVLAD(D, 5, width=w),
            "fusion-3d": lambda w: TwoStreamFusion(D, D, SIDE, 5, width=w),
            "fusion-2d": lambda w: TwoStreamFusion(D, D, SIDE, 5, "conv2d", width=w),
            **{p: lambda w, p=p: SnippetPooling(D, T, 5, p, w) for p in POOLINGS},  # type: ignore[misc]
        }[name]
        assert n_parameters(sizes(0.25)) < n_parameters(sizes(0.5)) < n_parameters(sizes(1.0))


def test_vlad_is_the_sum_of_residuals_to_the_nearest_anchor() -> None:
    head, (x,) = build("action-vlad")
    assert isinstance(head, ActionVLAD)
    anchors = F.normalize(torch.rand(head.n_anchors, D), dim=1)
    head.set_anchors(anchors.numpy(), alpha=1e5)
    places = F.normalize(x.permute(0, 1, 3, 4, 2).reshape(10, -1, D), dim=2)
    expected = torch.zeros(10, head.n_anchors, D, dtype=torch.float64)
    for n in range(10):
        for place in places[n]:
            nearest = int((place - anchors).square().sum(dim=1).argmin())
            expected[n, nearest] += place - anchors[nearest]
    expected = F.normalize(F.normalize(expected, dim=2).flatten(1), dim=1)
    found = head.encode(x).detach().double()
    # a location between two anchors is shared: few are, with so great an alpha
    assert F.cosine_similarity(found, expected).min() > 0.97
    np.testing.assert_allclose(found.norm(dim=1), 1, atol=1e-6)


def test_vlad_does_not_care_where_and_when_things_are() -> None:
    head, (x,) = build("action-vlad")
    shuffled = x[:, torch.randperm(T)].flip(3)
    torch.testing.assert_close(head(x), head(shuffled))


def test_fusion_begins_as_a_blurred_sum_of_both_streams() -> None:
    head = TwoStreamFusion(D, D, SIDE, 5)
    spatial, temporal = torch.full((1, D, 3, 9, 9), 2.0), torch.full((1, D, 3, 9, 9), 4.0)
    fused = head.fusion(torch.cat([spatial, temporal], dim=1))
    torch.testing.assert_close(fused[:, :, 1, 4, 4], torch.full((1, D), 0.25 * 2 + 0.75 * 4))
    assert fused[0, 0, 0, 0, 0] < 3.5  # the border adds zeros


def test_attention_weighs_steps_and_regrets_what_it_does_not_see() -> None:
    head = TemporalAttention(D, 5, 1, 1 / 64, penalty=2.0)
    x = torch.rand(3, 1, D).expand(3, T, D)  # all steps alike: equal attention
    _, penalty = head(x)
    assert penalty.item() == pytest.approx(0, abs=1e-10)
    with torch.no_grad():
        head.features_in.weight.mul_(50)
    _, penalty = head(torch.randn(3, T, D))
    assert penalty > 0
    head.eval()
    torch.testing.assert_close(head(x), head(x[:, :1]))


@pytest.mark.parametrize("rule", ["average", "max", "weighted"])
def test_consensus_by_hand(rule: str) -> None:
    body = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        body.weight.copy_(torch.eye(2))
    head = SegmentConsensus(body, rule, 2)  # type: ignore[arg-type]
    x = torch.tensor([[[1.0, 4.0], [3.0, 0.0]]])
    if rule == "weighted":
        with torch.no_grad():
            head.weights.copy_(torch.tensor([0.75, 0.25]))
    expected = {"average": [2.0, 2.0], "max": [3.0, 4.0], "weighted": [1.5, 3.0]}[rule]
    assert head(x).tolist() == [expected]


def test_the_loss_is_the_mean_over_steps_and_the_label_that_of_all() -> None:
    steps = torch.tensor([[[4.0, 0.0], [0.0, 1.0]]])
    found = classification_loss(lambda x: x, {"x0": steps, "label": torch.tensor([0])})  # type: ignore[arg-type]
    expected = (math.log1p(math.exp(-4)) + math.log1p(math.exp(1))) / 2
    assert found["loss"].item() == pytest.approx(expected)
    assert found["accuracy"].item() == 1.0


@pytest.mark.parametrize("variant", ["slow", "local", "time-conv"])
def test_pooling_takes_videos_shorter_than_a_window(variant: str) -> None:
    head = SnippetPooling(D, 3, 5, variant, 1 / 64)  # type: ignore[arg-type]
    assert head(torch.rand(2, 3, D)).shape == (2, 5)


def test_conv_pooling_takes_maps_and_forgets_the_order() -> None:
    head = SnippetPooling(D * SIDE * SIDE, T, 5, "conv", 1 / 64).eval()
    x = torch.rand(2, *MAPS)
    torch.testing.assert_close(head(x), head(x.flip(1)))
