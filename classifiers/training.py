"""The training loop: what all networks that are learned here have in common.

A run is a pure function of its settings: the order of samples follows from the seed and the epoch,
and every random draw of a step (augmentation, dropout) from the seed, the epoch and the step. So a
run that is stopped anywhere and resumed from its last saved state ends at the same weights, bit for
bit on the CPU. Where `torch.distributed` is initialised, every process takes its share of each batch
and gradients are averaged (DistributedDataParallel): the same curve as in one process, up to rounding.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cinefeat.classifiers.types import Array

Batch = Mapping[str, Tensor]
Loss = Callable[[nn.Module, Batch], Mapping[str, Tensor]]
Load = Callable[[Sequence[int], int], Batch]
State = dict[str, Tensor]

_OPTIMISERS = ("sgd", "nesterov", "adam", "adadelta")


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Parameters
    ----------
    n_epochs : int
        Passes over the samples at most.
    batch_size : int
        Samples of a step, over all processes together; the last batch of an epoch may be smaller.
    optimiser : "sgd", "nesterov", "adam" or "adadelta"
        "nesterov" is "sgd" with Nesterov's momentum, which must not be 0.
    learning_rate, momentum, weight_decay : float
        Momentum is that of "sgd" and "nesterov".
    milestones : tuple of int
        Epochs from which on the rate is multiplied by `decay` once more.
    decay : float
    clip_norm : float or None
        Gradients of greater norm are scaled down to it.
    patience : int or None
        Epochs without a lower validation loss after which training ends; None goes on to the end.
    mixed_precision : bool
        Whether matrix products are computed in bfloat16; weights stay float32.
    seed : int
    """

    n_epochs: int
    batch_size: int = 32
    optimiser: Literal["sgd", "nesterov", "adam", "adadelta"] = "sgd"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    clip_norm: float | None = None
    patience: int | None = None
    mixed_precision: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"n_epochs = {self.n_epochs}, batch_size = {self.batch_size}: both are at least 1"
            )
        if self.optimiser not in _OPTIMISERS:
            raise ValueError(f"optimiser is {self.optimiser!r}; use one of {_OPTIMISERS}")
        if self.optimiser == "nesterov" and self.momentum <= 0:
            raise ValueError(f"momentum is {self.momentum}; nesterov needs more than 0")


class Validation(NamedTuple):
    """Samples that are not learned from: how to load them (the seed is 0), and how many they are."""

    load: Load
    n_samples: int


@dataclass(frozen=True)
class History:
    """What became of a training.

    Parameters
    ----------
    curves : dict of str to ndarray of shape (n_epochs,), float64
        ``train/NAME`` and ``validation/NAME`` for each scalar of the loss: means over samples.
        `train` values are those of the steps, so of weights that change during the epoch.
    best_epoch : int
        The epoch, from 0, whose weights were kept: that of the lowest validation loss, or the last.
    """

    curves: dict[str, Array]
    best_epoch: int


@dataclass
class _Progress:
    """Where a run is: everything but weights and optimiser that a resumed run must know."""

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    best_loss: float = float("inf")
    best_epoch: int = -1
    best: State = field(default_factory=dict)


def fit_network(
    model: nn.Module,
    loss: Loss,
    load: Load,
    n_samples: int,
    settings: TrainingSettings,
    *,
    validation: Validation | None = None,
    state: State | None = None,
    save: Callable[[State], None] | None = None,
    save_seconds: float = 2.0,
    device: str = "cpu",
    rate_of: Callable[[str], float] | None = None,
) -> History:
    """Train a network in place.

    Parameters
    ----------
    model : nn.Module
        Moved to `device`. With several processes it is called through a wrapper: `loss` may call it,
        and use none of its attributes.
    loss : callable
        ``loss(model, batch)`` gives named scalars, means over the samples of the batch; "loss" is
        minimised, and all of them become curves.
    load : callable
        ``load(numbers, seed)`` gives the batch of these samples, tensors on the CPU; whatever is
        drawn at random in it follows from the seed.
    n_samples : int
        Samples are numbered from 0.
    settings : TrainingSettings
    validation : Validation, optional
        Its loss after each epoch says which weights are kept, and when to stop.
    state : dict of str to Tensor, optional
        Of an earlier call with the same arguments: training goes on from there. With several
        processes every one gets it.
    save : callable, optional
        Called by the first process with the state, between steps.
    save_seconds : float
        Least time between two calls; it is longer where saving takes more than a twentieth of it.
        0 saves after every step.
    device : str
    rate_of : callable, optional
        Factor of the learning rate by the name of a parameter; 0 leaves it as it is.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If there are no samples, or the loss is not finite.

    Examples
    --------
    A line through the origin:

    >>> x = torch.arange(8.0)[:, None]
    >>> model = nn.Linear(1, 1, bias=False)
    >>> def squared(model, batch):
    ...     return {"loss": (model(batch["x"]) - 2 * batch["x"]).square().mean()}
    >>> history = fit_network(model, squared, lambda numbers, seed: {"x": x[list(numbers)]}, 8,
    ...                       TrainingSettings(n_epochs=100, batch_size=4, learning_rate=0.01))
    >>> round(model.weight.item(), 3)
    2.0
    """
    if n_samples < 1:
        raise ValueError("there are no samples to learn from")
    model.to(device)
    optimiser = _optimiser(model, settings, rate_of)
    progress = _Progress() if state is None else _restore(state, model, optimiser)
    parallel = _in_parallel(model, device)
    saver = _saver(model, optimiser, save, save_seconds)
    with _own_randomness(device):
        while progress.epoch < settings.n_epochs and not _is_over(progress, settings):
            _train_epoch(parallel, optimiser, loss, load, n_samples, settings, progress, saver)
            if validation is not None:
                _validate(parallel, model, loss, validation, settings, progress)
            progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
            saver(progress)
    if progress.best:
        model.load_state_dict(progress.best)
    model.eval()
    curves = {name: np.array(values) for name, values in progress.curves.items()}
    return History(curves, progress.best_epoch if progress.best else progress.epoch - 1)


def _train_epoch(
    parallel: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    load: Load,
    n_samples: int,
    settings: TrainingSettings,
    progress: _Progress,
    saver: Callable[[_Progress], None],
) -> None:
    parallel.train()
    _set_rate(optimiser, settings, progress.epoch)
    order = np.random.default_rng([settings.seed, progress.epoch]).permutation(n_samples)
    for start in range(progress.step * settings.batch_size, n_samples, settings.batch_size):
        numbers = order[start : start + settings.batch_size].tolist()
        seed = _seed_of(settings.seed, progress.epoch, progress.step)
        torch.manual_seed(seed)
        share, part = _share(numbers)
        values = _values(parallel, loss, load(share, seed), settings)
        optimiser.zero_grad(set_to_none=True)
        (values["loss"] * part).backward()
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(parallel.parameters(), settings.clip_norm)
        optimiser.step()
        _add(progress.sums, values, part * len(numbers))
        if not np.isfinite(progress.sums["loss"]):
            raise ValueError(
                f"the loss is not finite in epoch {progress.epoch + 1}: lower the learning rate"
            )
        progress.step += 1
        saver(progress)
    for name, total in progress.sums.items():
        progress.curves.setdefault(f"train/{name}", []).append(total / n_samples)


def _validate(
    parallel: nn.Module,
    model: nn.Module,
    loss: Loss,
    validation: Validation,
    settings: TrainingSettings,
    progress: _Progress,
) -> None:
    parallel.eval()
    sums: dict[str, float] = {}
    every = range(validation.n_samples)
    with torch.no_grad():
        for start in range(0, validation.n_samples, settings.batch_size):
            numbers = every[start : start + settings.batch_size]
            share, part = _share(numbers)
            # the bare model: a process may have nothing to do here, and must not wait for others
            values = _values(model, loss, validation.load(share, 0), settings)
            _add(sums, values, part * len(numbers))
    for name, total in sums.items():
        mean = total / validation.n_samples
        progress.curves.setdefault(f"validation/{name}", []).append(mean)
    if sums["loss"] / validation.n_samples < progress.best_loss:
        progress.best_loss, progress.best_epoch = (
            sums["loss"] / validation.n_samples,
            progress.epoch,
        )
        progress.best = {k: v.detach().clone() for k, v in model.state_dict().items()}


def _values(
    model: nn.Module, loss: Loss, batch: Batch, settings: TrainingSettings
) -> Mapping[str, Tensor]:
    device = next(model.parameters()).device
    moved = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.mixed_precision):
        return loss(model, moved)


def _share(numbers: Sequence[int]) -> tuple[Sequence[int], float]:
    """Return this process's samples of a batch, and the factor that makes their mean a part of it.

    The gradients of all processes are averaged, so a mean over few samples must count for less. A
    process without a sample takes one that counts nothing.
    """
    if not _is_distributed():
        return numbers, 1.0
    rank, count = dist.get_rank(), dist.get_world_size()
    share = numbers[rank::count]
    return share or numbers[:1], len(share) * count / len(numbers)


def _add(sums: dict[str, float], values: Mapping[str, Tensor], n_samples: float) -> None:
    """Add the scalars of a batch, over all processes, times the number of its samples."""
    names = sorted(values)
    found = torch.stack([values[name].detach().double() for name in names]) * n_samples
    if _is_distributed():
        dist.all_reduce(found)
        found /= dist.get_world_size()
    for name, value in zip(names, found.tolist(), strict=True):
        sums[name] = sums.get(name, 0.0) + value


def _optimiser(
    model: nn.Module, settings: TrainingSettings, rate_of: Callable[[str], float] | None
) -> torch.optim.Optimizer:
    by_rate: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate = 1.0 if rate_of is None else rate_of(name)
        parameter.requires_grad_(parameter.requires_grad and rate > 0)
        if parameter.requires_grad:
            by_rate.setdefault(rate, []).append(parameter)
    groups = [{"params": params, "factor": rate} for rate, params in by_rate.items()]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "adam":
        return torch.optim.Adam(groups, rate, weight_decay=decay)
    if settings.optimiser == "adadelta":
        return torch.optim.Adadelta(groups, rate, weight_decay=decay)
    is_nesterov = settings.optimiser == "nesterov"
    return torch.optim.SGD(
        groups, rate, settings.momentum, weight_decay=decay, nesterov=is_nesterov
    )


def _set_rate(optimiser: torch.optim.Optimizer, settings: TrainingSettings, epoch: int) -> None:
    n_passed = sum(milestone <= epoch for milestone in settings.milestones)
    for group in optimiser.param_groups:
        group["lr"] = settings.learning_rate * group["factor"] * settings.decay**n_passed


def _is_over(progress: _Progress, settings: TrainingSettings) -> bool:
    since = progress.epoch - 1 - progress.best_epoch
    return bool(progress.best) and settings.patience is not None and since >= settings.patience


def _saver(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    save: Callable[[State], None] | None,
    seconds: float,
) -> Callable[[_Progress], None]:
    due = time.monotonic() + seconds

    def save_now_and_then(progress: _Progress) -> None:
        nonlocal due
        started = time.monotonic()
        if save is None or started < due or (_is_distributed() and dist.get_rank() > 0):
            return
        save(_pack(progress, model, optimiser))
        ended = time.monotonic()
        due = ended + max(seconds, 20 * (ended - started)) if seconds else 0

    return save_now_and_then


def _pack(progress: _Progress, model: nn.Module, optimiser: torch.optim.Optimizer) -> State:
    """Return all that a resumed run needs, as tensors by name."""
    state = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for number, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                state[f"optimiser/{number}/{name}"] = torch.as_tensor(value)
    state |= {f"best/{name}": tensor for name, tensor in progress.best.items()}
    for name, values in progress.curves.items():
        state[f"curves/{name}"] = torch.tensor(values, dtype=torch.float64)
    for name, total in progress.sums.items():
        state[f"sums/{name}"] = torch.tensor(total, dtype=torch.float64)
    state["position"] = torch.tensor([progress.epoch, progress.step, progress.best_epoch])
    state["best_loss"] = torch.tensor(progress.best_loss, dtype=torch.float64)
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}


def _restore(state: State, model: nn.Module, optimiser: torch.optim.Optimizer) -> _Progress:
    model.load_state_dict(_below(state, "model/"))
    values: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below(state, "optimiser/").items():
        number, _, key = name.partition("/")
        values.setdefault(int(number), {})[key] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": values, "param_groups": groups})
    epoch, step, best_epoch = state["position"].tolist()
    device = next(model.parameters()).device
    return _Progress(
        epoch,
        step,
        {name: float(total) for name, total in _below(state, "sums/").items()},
        {name: values.tolist() for name, values in _below(state, "curves/").items()},
        float(state["best_loss"]),
        best_epoch,
        {name: tensor.to(device) for name, tensor in _below(state, "best/").items()},
    )


def _below(state: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _in_parallel(model: nn.Module, device: str) -> nn.Module:
    if not _is_distributed():
        return model
    place = torch.device(device)
    ids = [place] if place.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids)


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def _own_randomness(device: str) -> Iterator[None]:
    """Leave torch's random numbers outside as they are; take cuDNN's repeatable algorithms."""
    place = torch.device(device)
    devices = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.backends.cudnn.flags(deterministic=True):
        yield


def _seed_of(seed: int, epoch: int, step: int) -> int:
    """Return the seed of everything that is drawn in a step: the same in a resumed run.

    All processes have the same one.
    """
    return int(np.random.SeedSequence([seed, epoch, step]).generate_state(1)[0])
