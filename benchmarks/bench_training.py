"""How long does a training step of each learned model take on one core?

Builds every network at the sizes of its paper with random weights, and gives its parameters and the
CPU seconds of one step (forward, backward, SGD) on one sample, the best of three.

    python benchmarks/bench_training.py [--only ltc]
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cinefeat.classifiers import (
    LRCN,
    ActionVLAD,
    SegmentConsensus,
    SnippetPooling,
    TemporalAttention,
    TwoStreamFusion,
)
from cinefeat.extractors.c3d import c3d
from cinefeat.extractors.fstcn import FstCN
from cinefeat.extractors.i3d import i3d
from cinefeat.extractors.ltc import ltc
from cinefeat.extractors.motion_losses import motion_losses
from cinefeat.extractors.motionnet import MotionNet, hidden_two_stream
from cinefeat.extractors.single_stream import WINDOWS, SingleStream
from cinefeat.extractors.t3d import t3d
from cinefeat.extractors.tsn import bn_inception

N_CLASSES = 101
Shapes = tuple[tuple[int, ...], ...]
CASES: dict[str, tuple[Callable[[], nn.Module], Shapes]] = {
    "lrcn": (partial(LRCN, 4096, N_CLASSES), ((16, 4096),)),
    "attention": (partial(TemporalAttention, 5120, N_CLASSES), ((26, 1024), (26, 4096))),
    "action-vlad": (partial(ActionVLAD, 512, N_CLASSES), ((25, 512, 14, 14),)),
    "two-stream-fusion": (
        partial(TwoStreamFusion, 512, 512, 14, N_CLASSES),
        ((5, 512, 14, 14), (5, 512, 14, 14)),
    ),
    "segment-consensus": (
        lambda: SegmentConsensus(nn.Linear(1024, N_CLASSES)),
        ((25, 1024),),
    ),
    "snippet-pooling": (partial(SnippetPooling, 1024, 25, N_CLASSES), ((25, 1024),)),
    **{
        f"single-stream, {fusion}": (
            partial(SingleStream, fusion, N_CLASSES),
            ((3, WINDOWS[fusion], 170, 170),),
        )
        for fusion in WINDOWS
    },
    "fstcn": (FstCN, ((3, 30, 204, 204),)),
    "ltc": (partial(ltc, 3, N_CLASSES), ((3, 60, 71, 71),)),
    "t3d": (t3d, ((3, 32, 224, 224),)),
    "motionnet": (MotionNet, ((33, 224, 224),)),
    "hidden-two-stream": (hidden_two_stream, ((33, 224, 224),)),
    "c3d": (partial(c3d, N_CLASSES), ((3, 16, 112, 112),)),
    "tsn-rgb": (partial(bn_inception, 3, N_CLASSES), ((3, 224, 224),)),
    "i3d-rgb": (partial(i3d, 3, N_CLASSES), ((3, 64, 224, 224),)),
}


def loss_of(network: nn.Module, inputs: list[Tensor]) -> Tensor:
    """Return the loss of one sample; of flow without labels for MotionNet."""
    found = network(*inputs)
    if isinstance(network, MotionNet):
        return motion_losses(found, inputs[0])["loss"]
    scores, penalty = found if isinstance(found, tuple) else (found, 0.0)
    scores = scores.reshape(-1, N_CLASSES)
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64)) + penalty


def seconds_of_a_step(network: nn.Module, shapes: Shapes) -> float:
    """Return the CPU seconds of the fastest of three steps."""
    optimiser = torch.optim.SGD(network.parameters(), 1e-6)
    inputs = [torch.randn(1, *shape) for shape in shapes]
    taken = []
    for _ in range(3):
        start = time.process_time()
        optimiser.zero_grad()
        loss_of(network, inputs).backward()
        optimiser.step()
        taken.append(time.process_time() - start)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CASES, help="measure one model")
    chosen = parser.parse_args().only
    torch.set_num_threads(1)
    for name, (build, shapes) in CASES.items():
        if chosen in (None, name):
            torch.manual_seed(0)
            network = build()
            n_parameters = sum(p.numel() for p in network.parameters()) / 1e6
            seconds = seconds_of_a_step(network, shapes)
            print(f"{name:24} {n_parameters:8.2f} M parameters {seconds:8.2f} s", flush=True)


if __name__ == "__main__":
    main()
