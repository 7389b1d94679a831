"""Training as a run of its own: the stages up to the networks, in one process or in several.

Under ``torchrun`` (or any launcher that sets RANK, WORLD_SIZE and MASTER_ADDR) every process is
called with the same arguments. The first one makes what is missing before; then all train together,
each on its share of every batch, and the first one writes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from cinefeat.pipeline import plan as planning
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.plan import Node, stages_of
from cinefeat.pipeline.run import Request, Summary, make_product, nodes_of, run
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stopping import Stop, stop_on_signals

# the first process may take days over the stages before
_PATIENCE = timedelta(days=30)


def train_networks(request: Request, budget: float | None = None) -> tuple[Summary, list[Path]]:
    """Run the stages of a request up to the networks; return what was done, and their products.

    Parameters
    ----------
    request : Request
    budget : float or None
        Seconds that it may take. Processes that train together leave it, and signals, to their
        launcher.

    Raises
    ------
    InputError
        If the recipe has no table [network], or the user's input is bad.
    Stopped
        If a signal or the budget ended it early; a training goes on from its last checkpoint.
    """
    if request.recipe.network is None:
        raise InputError(f"recipe {request.recipe.name} has no table [network]")
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if n_processes == 1:
        with stop_on_signals(budget) as stop:
            summary = _run_before(request, stop)
            _add(summary, run(replace(request, only="network"), stop))
        return summary, _products(nodes_of(request, "network"))
    with _process_group(request.device) as is_first:
        return _train_together(request, is_first)


def _run_before(request: Request, stop: Stop | None = None) -> Summary:
    """Run the stages that the networks read."""
    summary = Summary()
    names = [stage.name for stage in stages_of(request.recipe)]
    for name in names[: names.index("network")]:
        if name in ("flow", "embed"):
            _add(summary, run(replace(request, only=name), stop))
    return summary


def _train_together(request: Request, is_first: bool) -> tuple[Summary, list[Path]]:
    import torch.distributed as dist

    summary = _run_before(request) if is_first else Summary()
    dist.barrier()
    nodes = nodes_of(request, "network")
    for node in nodes:
        missing = planning.progress(node).missing
        dist.barrier()  # all have looked before the first one writes
        for job in planning.jobs(node, missing, _own_device(request.device)):
            _make(job, is_first)
            dist.barrier()
    return summary, _products(nodes)


def _make(job: Job, is_first: bool) -> None:
    if is_first:
        make_product(job)
        return
    from cinefeat.pipeline.stages.network import train_stream

    train_stream(job)


@contextmanager
def _process_group(device: str) -> Iterator[bool]:
    """Join the other processes; yield whether this is the first."""
    import torch
    import torch.distributed as dist

    backend = "nccl" if device.startswith("cuda") else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(_own_device(device))
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


def _own_device(device: str) -> str:
    """Return the GPU of this process, the one of its number on its machine."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device.startswith("cuda") else device


def _products(nodes: list[Node]) -> list[Path]:
    return [node.product(part) for node in nodes for part in node.parts()]


def _add(total: Summary, one: Summary) -> None:
    total.seconds |= one.seconds
    total.made |= one.made
    total.failures |= one.failures
