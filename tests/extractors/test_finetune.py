"""Fine-tuning: fixed norms, and weights of other classes."""

from functools import partial

import pytest
import torch
from torch import nn

from cinefeat.extractors.c3d import c3d
from cinefeat.extractors.finetune import FineTuned, start_from
from cinefeat.extractors.i3d import i3d
from cinefeat.extractors.tsn import bn_inception

BODIES = {
    "c3d": partial(c3d, width=0.02),
    "i3d": partial(i3d, 3, has_average_pool=False, width=0.1),
    "tsn": partial(bn_inception, 3, width=0.1),
}


def _norms(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]


@pytest.mark.parametrize("body, n_norms", [("tsn", 69), ("i3d", 57)])
def test_all_norms_but_the_first_stay(body: str, n_norms: int) -> None:
    torch.manual_seed(0)
    network = FineTuned(BODIES[body](n_classes=3), partial_norm=True)
    norms = _norms(network)
    assert len(norms) == n_norms
    network.eval()
    network.train()
    assert [norm.training for norm in norms] == [True] + [False] * (n_norms - 1)
    before = [{n: v.clone() for n, v in norm.state_dict().items()} for norm in norms]
    x = torch.randn((2, 3, 64, 64) if body == "tsn" else (2, 3, 16, 32, 32))
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    network(x).sum().backward()
    optimiser.step()
    same = [
        all(torch.equal(old[n], v) for n, v in norm.state_dict().items())
        for old, norm in zip(before, norms, strict=True)
    ]
    assert same == [False] + [True] * (n_norms - 1)


def test_without_partial_norm_all_norms_learn() -> None:
    norms = _norms(FineTuned(BODIES["tsn"](n_classes=3)))
    assert all(n.training and n.weight.requires_grad for n in norms)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("n_learned, is_taken", [(5, True), (7, False), (None, False)])
def test_learned_weights_are_taken_and_scores_of_other_classes_are_not(
    body: str, n_learned: int | None, is_taken: bool
) -> None:
    learned, fresh = BODIES[body](n_classes=n_learned), BODIES[body](n_classes=5)
    drawn = fresh.get_submodule("logits").weight.clone()
    for norm in _norms(learned):
        nn.init.normal_(norm.running_mean)
    tensors = {n: v for n, v in learned.state_dict().items() if "num_batches" not in n}
    assert start_from(fresh, tensors) == is_taken
    state = fresh.state_dict()
    assert all(torch.equal(state[n], v) for n, v in tensors.items() if not n.startswith("logits"))
    assert torch.equal(state["logits.weight"], tensors["logits.weight"] if is_taken else drawn)


def test_wrong_weights_are_refused_by_name() -> None:
    tensors = BODIES["c3d"](n_classes=5).state_dict()
    fresh = BODIES["c3d"](n_classes=5)
    before = {n: v.clone() for n, v in fresh.state_dict().items()}
    lacking = {n: v for n, v in tensors.items() if n != "conv2a.conv.bias"}
    with pytest.raises(ValueError, match=r"x\.pth: lacks conv2a\.conv\.bias"):
        start_from(fresh, lacking, "x.pth")
    with pytest.raises(ValueError, match="has unknown more"):
        start_from(fresh, {**tensors, "more": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"conv1a\.conv\.weight has shape"):
        start_from(fresh, {**tensors, "conv1a.conv.weight": torch.zeros(3)})
    assert all(torch.equal(before[n], v) for n, v in fresh.state_dict().items())
