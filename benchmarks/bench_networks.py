"""How much faster is a network in the form in which `load_network` runs it?

Compares it with the same network written plainly in eager float32: separate padding, convolution,
batch norm and ReLU layers, torch's own pools. Both run interleaved in one process with the same
number of threads; CPU seconds are counted, not the clock. Weights are random, batch norm
included; the largest difference of the outputs is given beside the largest output.

    python benchmarks/bench_networks.py [--network i3d-rgb] [--frames 16] [--batch 1] [--json]
"""

import argparse
import copy
import json
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from cinefeat.extractors.fold import inference_form
from cinefeat.extractors.networks import build_network, network_entry


def random_network(name: str) -> nn.Sequential:
    """Build a network whose batch norms do something, as after training."""
    torch.manual_seed(0)
    network = build_network(name).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.25, 1)
            module.weight.uniform_(0.8, 1.2)
            module.bias.normal_(0, 0.1)
    return network


def cpu_seconds(network: nn.Sequential, windows: Tensor) -> tuple[float, Tensor]:
    start = time.process_time()
    scores = network(windows)
    return time.process_time() - start, scores


def compare(name: str, n_frames: int | None, n_windows: int, rounds: int) -> dict[str, Any]:
    plain = random_network(name)
    fast = inference_form(copy.deepcopy(plain))
    shape = list(network_entry(name).spec.shape)
    if n_frames is not None and len(shape) == 4:
        shape[1] = n_frames
    windows = torch.randn(n_windows, *shape)
    seconds: dict[str, list[float]] = {"plain": [], "fast": []}
    with torch.inference_mode():
        for _ in range(rounds + 1):
            spent, expected = cpu_seconds(plain, windows)
            seconds["plain"].append(spent)
            # load_network runs windows one at a time on the CPU
            parts = [cpu_seconds(fast, window[None]) for window in windows]
            seconds["fast"].append(sum(spent for spent, _ in parts))
            found = torch.cat([scores for _, scores in parts])
    # the first round warms up
    ratios = [p / f for p, f in zip(seconds["plain"][1:], seconds["fast"][1:], strict=True)]
    return {
        "network": name,
        "shape": [n_windows, *shape],
        "threads": torch.get_num_threads(),
        "plain_windows_per_second": n_windows / statistics.median(seconds["plain"][1:]),
        "fast_windows_per_second": n_windows / statistics.median(seconds["fast"][1:]),
        "ratio": statistics.median(ratios),
        "largest_difference": float((expected - found).abs().max()),
        "largest_output": float(expected.abs().max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", action="append", help="repeatable; i3d-rgb if left out")
    parser.add_argument("--frames", type=int, help="frames of a window, where they are free")
    parser.add_argument("--batch", type=int, default=1, help="windows at once")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [
        compare(name, options.frames, options.batch, options.rounds)
        for name in options.network or ["i3d-rgb"]
    ]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(
            f"{row['network']:20} {row['shape']!s:26} plain {row['plain_windows_per_second']:.3f}/s"
            f"  fast {row['fast_windows_per_second']:.3f}/s  ratio {row['ratio']:.2f}  difference"
            f" {row['largest_difference']:.1e} of {row['largest_output']:.1e}"
        )


if __name__ == "__main__":
    main()
