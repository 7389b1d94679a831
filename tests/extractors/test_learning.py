"""What every network that learns from pixels must do: gradients everywhere, overfitting, storage."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cinefeat.extractors.c3d import c3d
from cinefeat.extractors.finetune import FineTuned
from cinefeat.extractors.fstcn import FstCN
from cinefeat.extractors.i3d import i3d
from cinefeat.extractors.layers import draw_he_weights
from cinefeat.extractors.ltc import ltc
from cinefeat.extractors.single_stream import SingleStream
from cinefeat.extractors.t3d import t3d
from cinefeat.extractors.tsn import bn_inception

N_CLIPS, N_CLASSES = 10, 5


@dataclass(frozen=True)
class Case:
    """A network at small width, the shape of one clip of it, and how it is trained here."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    rate: float = 3e-3
    n_steps: int = 80


def _tuned(body: Callable[[], nn.Sequential]) -> nn.Module:
    return FineTuned(body(), partial_norm=True)


CASES = {
    "single": Case(partial(SingleStream, "single", N_CLASSES, 60, width=0.1), (3, 1, 60, 60)),
    "early": Case(partial(SingleStream, "early", N_CLASSES, 60, width=0.1), (3, 10, 60, 60)),
    "late": Case(partial(SingleStream, "late", N_CLASSES, 60, width=0.1), (3, 16, 60, 60)),
    "slow": Case(partial(SingleStream, "slow", N_CLASSES, 60, width=0.1), (3, 10, 60, 60)),
    "two resolutions": Case(
        partial(SingleStream, "slow", N_CLASSES, 60, True, width=0.1), (3, 10, 60, 60)
    ),
    "fstcn": Case(partial(FstCN, N_CLASSES, 75, width=0.15), (3, 30, 75, 75)),
    "ltc rgb": Case(partial(ltc, 3, N_CLASSES, 16, 32, width=0.1), (3, 16, 32, 32)),
    "ltc flow": Case(partial(ltc, 2, N_CLASSES, 20, 32, width=0.1), (2, 20, 32, 32)),
    "t3d": Case(partial(t3d, 121, N_CLASSES, width=0.125), (3, 16, 32, 32), n_steps=25),
    "t3d halved": Case(
        partial(t3d, 121, N_CLASSES, halves_channels=True, width=0.125), (3, 16, 32, 32),
        n_steps=25,
    ),
    "densenet3d": Case(
        partial(t3d, 121, N_CLASSES, "plain", width=0.125), (3, 32, 32, 32), n_steps=25
    ),
    "c3d": Case(partial(_tuned, partial(c3d, N_CLASSES, width=0.05)), (3, 16, 112, 112)),
    "i3d": Case(
        partial(_tuned, partial(i3d, 3, N_CLASSES, 1e-3, False, width=0.1)), (3, 16, 32, 32)
    ),
    "tsn": Case(
        partial(_tuned, partial(bn_inception, 3, N_CLASSES, width=0.1)), (3, 64, 64), 1e-3
    ),
}  # fmt: skip


def _make(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(3)
    case = CASES[name]
    network = draw_he_weights(case.build())
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # memorising is the point here
    return network, torch.randn(N_CLIPS, *case.shape), torch.arange(N_CLIPS) % N_CLASSES


def _settle_norms(network: nn.Module) -> None:
    """Let the next pass alone set the statistics of the norms that are in training."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d) and part.training:
            part.reset_running_stats()
            part.momentum = None


@pytest.mark.parametrize("name", CASES)
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    network, clips, labels = _make(name)
    F.cross_entropy(network(clips), labels).backward()
    learned = {n: p.grad for n, p in network.named_parameters() if p.requires_grad}
    assert [n for n, g in learned.items() if g is None or not g.abs().sum() > 0] == []


SLOW = ("t3d halved", "c3d")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in CASES]
)
def test_ten_clips_are_learned_by_heart(name: str) -> None:
    network, clips, labels = _make(name)
    optimiser = torch.optim.Adam(
        [p for p in network.parameters() if p.requires_grad], CASES[name].rate
    )
    for _ in range(CASES[name].n_steps):
        optimiser.zero_grad()
        loss = F.cross_entropy(network(clips), labels)
        loss.backward()
        optimiser.step()
        if loss < 0.02:
            break
    _settle_norms(network)
    with torch.no_grad():
        network(clips)
        network.eval()
        assert torch.equal(network(clips).argmax(1), labels)


@pytest.mark.parametrize("name", CASES)
def test_stored_weights_give_the_same_scores(name: str, tmp_path: Path) -> None:
    network, clips, _ = _make(name)
    with torch.no_grad():
        network(clips[:2])  # moves running statistics off their first values
        save_file(network.state_dict(), tmp_path / "weights.safetensors")
        torch.manual_seed(4)
        other = CASES[name].build()
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        network.eval(), other.eval()
        assert torch.equal(other(clips[:2]), network(clips[:2]))
