"""The training loop: resumed anywhere it ends alike, two processes learn as one, and it stops."""

import copy
import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from cinefeat.classifiers import classification_loss
from cinefeat.classifiers.training import State, TrainingSettings, Validation, fit_network

N = 11  # batches of 4: the last is smaller
X = torch.randn(N, 6, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()
SETTINGS = TrainingSettings(
    4, 4, learning_rate=0.05, weight_decay=1e-3, milestones=(2,), clip_norm=1.0, seed=3
)


def load(numbers: Sequence[int], seed: int) -> dict[str, Tensor]:
    noise = np.random.default_rng([seed, 7]).normal(0, 0.1, (len(numbers), 6))
    x = X[list(numbers)] + torch.from_numpy(noise).float()
    return {"x0": x, "label": Y[list(numbers)]}


def still(numbers: Sequence[int], seed: int) -> dict[str, Tensor]:
    return {"x0": X[list(numbers)], "label": Y[list(numbers)]}


def network(dropout: float = 0.3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2))


def assert_same(one: nn.Module, two: nn.Module, tolerance: float = 0.0) -> None:
    for (name, first), second in zip(
        one.state_dict().items(), two.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(first, second, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("optimiser", ["sgd", "nesterov", "adam", "adadelta"])
def test_resumed_from_any_state_ends_at_the_same_weights(optimiser: Any) -> None:
    settings = replace(SETTINGS, optimiser=optimiser, patience=3)
    states: list[State] = []
    validation = Validation(still, N)
    whole = network()
    history = fit_network(
        whole, classification_loss, load, N, settings,
        validation=validation, save=states.append, save_seconds=0,
    )  # fmt: skip
    assert len(states) == 4 * 3 + 4  # after every step, and after every epoch
    for state in states[::3]:
        torch.manual_seed(99)  # nothing outside may matter
        resumed = network(0.3)
        again = fit_network(
            resumed, classification_loss, load, N, settings,
            validation=validation, state=copy.deepcopy(state),
        )  # fmt: skip
        assert_same(whole, resumed)
        assert again.best_epoch == history.best_epoch
        for name, curve in history.curves.items():
            np.testing.assert_array_equal(curve, again.curves[name], err_msg=name)


def test_the_randomness_outside_is_left_alone() -> None:
    model = network()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit_network(model, classification_loss, load, N, SETTINGS)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_one_step_is_the_step_of_gradient_descent() -> None:
    model = nn.Linear(6, 2)
    before = copy.deepcopy(model)
    settings = TrainingSettings(1, N, learning_rate=0.1, momentum=0.0)
    fit_network(model, classification_loss, still, N, settings)
    F.cross_entropy(before(X), Y).backward()
    for old, new in zip(before.parameters(), model.parameters(), strict=True):
        assert old.grad is not None
        torch.testing.assert_close(new, old - 0.1 * old.grad)


def test_nesterov_looks_ahead_by_its_momentum() -> None:
    model = nn.Linear(6, 2)
    by_hand, velocity = copy.deepcopy(model), [0.0, 0.0]
    settings = TrainingSettings(3, N, "nesterov", learning_rate=0.1, momentum=0.8)
    fit_network(model, classification_loss, still, N, settings)
    for _ in range(3):
        by_hand.zero_grad()
        F.cross_entropy(by_hand(X), Y).backward()
        for i, weights in enumerate(by_hand.parameters()):
            assert weights.grad is not None
            velocity[i] = 0.8 * velocity[i] + weights.grad
            weights.data -= 0.1 * (weights.grad + 0.8 * velocity[i])
    for expected, found in zip(by_hand.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_rates_by_name_scale_and_fix_parameters() -> None:
    model, plain = network(0), network(0)
    settings = TrainingSettings(1, N, learning_rate=0.1, momentum=0.0)
    rates = {"0": 0.0, "3": 10.0}
    fit_network(
        model, classification_loss, still, N, settings, rate_of=lambda n: rates[n.split(".")[0]]
    )
    start = network(0)
    fit_network(plain, classification_loss, still, N, settings)
    assert torch.equal(model[0].weight, start[0].weight)
    torch.testing.assert_close(
        model[3].weight - start[3].weight, 10 * (plain[3].weight - start[3].weight)
    )


def test_milestones_divide_the_rate_by_ten() -> None:
    seen: list[float] = []

    def watched(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # the gradient of this loss is 1: the step is the learning rate
        seen.append(model.weight.item())
        return {"loss": model.weight.sum()}

    settings = TrainingSettings(4, N, learning_rate=0.1, momentum=0.0, milestones=(1, 3))
    fit_network(nn.Linear(1, 1, bias=False), watched, still, N, settings)
    np.testing.assert_allclose(-np.diff(seen), [0.1, 0.01, 0.01], atol=1e-6)


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best() -> None:
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    kept: list[Tensor] = []

    def loss(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if model.training:
            return {"loss": model(batch["x0"]).square().mean()}
        kept.append(model.weight.detach().clone())
        return {"loss": torch.tensor(next(losses))}

    model = nn.Linear(6, 2)
    settings = TrainingSettings(9, N, learning_rate=0.1, patience=2)
    history = fit_network(model, loss, still, N, settings, validation=Validation(still, N))
    assert history.best_epoch == 1
    assert history.curves["validation/loss"].tolist() == [3.0, 1.0, 2.0, 2.0]
    assert torch.equal(model.weight, kept[1])
    assert not torch.equal(model.weight, kept[-1])


def test_a_loss_that_grows_without_bound_is_refused() -> None:
    def loss(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": model(batch["x0"]).square().mean()}

    settings = TrainingSettings(200, N, learning_rate=1e6)
    with pytest.raises(ValueError, match=r"not finite in epoch .* lower the learning rate"):
        fit_network(nn.Linear(6, 2), loss, still, N, settings)


def test_mixed_precision_learns_as_well() -> None:
    model = network(0)
    settings = TrainingSettings(40, N, learning_rate=0.1, mixed_precision=True)
    history = fit_network(model, classification_loss, still, N, settings)
    assert model[0].weight.dtype == torch.float32
    assert history.curves["train/accuracy"][-1] == 1.0


def _learn_with_others(rank: int, count: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=count
    )
    model = network(0)
    history = fit_network(
        model, classification_loss, still, N, SETTINGS, validation=Validation(still, N)
    )
    torch.save(
        {"model": model.state_dict(), "curves": history.curves["train/loss"].tolist()},
        folder / f"{rank}.pt",
    )
    dist.destroy_process_group()


def test_two_processes_learn_as_one(tmp_path: Path) -> None:
    alone = network(0)
    history = fit_network(
        alone, classification_loss, still, N, SETTINGS, validation=Validation(still, N)
    )
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_learn_with_others, args=(r, 2, tmp_path)) for r in range(2)]
    for process in others:
        process.start()
    for process in others:
        process.join(120)
        assert process.exitcode == 0
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        np.testing.assert_allclose(found["curves"], history.curves["train/loss"], atol=1e-6)
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(found["model"][name], tensor, rtol=0, atol=1e-6)
