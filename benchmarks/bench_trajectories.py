"""Compare the CPU time of dense trajectories with that of one call of OpenCV's Farneback flow.

    python benchmarks/bench_trajectories.py VIDEO [--frames 60] [--rounds 3] [--json]

Question: how much do DT and iDT cost, everything included, beside the flow of the same frames by
`cv2.calcOpticalFlowFarneback(a, b, None, 0.7071, 6, 10, 2, 7, 1.5, GAUSSIAN)`? One thread; CPU
seconds; the three take turns on blocks of frames, so that whatever else the machine does meets all.
The first round compiles and is not counted. Frames are decoded before.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import Any

import cv2
import numpy as np

from cinefeat.extractors import iter_dense_trajectories


def read_frames(path: str, limit: int) -> list[np.ndarray]:
    """Return up to `limit` RGB frames."""
    capture, frames = cv2.VideoCapture(path), []
    while len(frames) < limit:
        ok, frame = capture.read()
        if not ok:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    if len(frames) < 17:
        raise SystemExit(f"{path} has {len(frames)} frames; the benchmark needs at least 17")
    return frames


def farneback(grays: list[np.ndarray]) -> Iterator[int]:
    """Yield after the flow of each pair."""
    for first, second in pairwise(grays):
        flags = cv2.OPTFLOW_FARNEBACK_GAUSSIAN
        cv2.calcOpticalFlowFarneback(first, second, None, 0.7071, 6, 10, 2, 7, 1.5, flags)
        yield 0


def trajectories(frames: list[np.ndarray], camera_motion: bool) -> Iterator[int]:
    """Yield the rows that end at each frame."""
    for chunk in iter_dense_trajectories(frames, camera_motion=camera_motion):
        yield len(chunk["info"])


def take_turns(
    methods: dict[str, Callable[[], Iterator[int]]], n_pairs: int, block: int
) -> dict[str, dict[str, Any]]:
    """Run the methods by turns, `block` pairs at a time; return milliseconds a pair and rows."""
    running = {name: start() for name, start in methods.items()}
    spent: dict[str, list[float]] = {name: [] for name in methods}
    rows = dict.fromkeys(methods, 0)
    for _ in range(0, n_pairs, block):
        for name, steps in running.items():
            began = time.process_time()
            rows[name] += sum(islice(steps, block))
            spent[name].append(time.process_time() - began)
    return {
        name: {"ms_per_pair": 1e3 * sum(spent[name]) / n_pairs, "rows": rows[name]}
        for name in methods
    }


def measure(frames: list[np.ndarray], rounds: int, block: int) -> dict[str, Any]:
    """Return the median of some rounds: milliseconds, ratios and rows."""
    grays = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    methods: dict[str, Callable[[], Iterator[int]]] = {
        "cv2": lambda: farneback(grays),
        "dt": lambda: trajectories(frames, False),
        "idt": lambda: trajectories(frames, True),
    }
    n_pairs = len(frames) - 1
    results = [take_turns(methods, n_pairs, block) for _ in range(rounds + 1)][1:]
    ratios = {
        name: [r[name]["ms_per_pair"] / r["cv2"]["ms_per_pair"] for r in results]
        for name in ("dt", "idt")
    }
    return {
        "size": f"{frames[0].shape[1]}x{frames[0].shape[0]}",
        "pairs": n_pairs,
        "ms_per_pair": {
            name: float(np.median([r[name]["ms_per_pair"] for r in results])) for name in methods
        },
        "ratio_to_cv2": {name: float(np.median(values)) for name, values in ratios.items()},
        "ratio_range": {name: [min(values), max(values)] for name, values in ratios.items()},
        "rows": {name: results[0][name]["rows"] for name in ("dt", "idt")},
    }


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video")
    parser.add_argument("--frames", type=int, default=60, help="most frames to use")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--block", type=int, default=10, help="pairs of one turn")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    report = measure(read_frames(options.video, options.frames), options.rounds, options.block)
    if options.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{options.video}: {report['size']}, {report['pairs']} pairs of frames")
    for name, ms in report["ms_per_pair"].items():
        ratio = report["ratio_to_cv2"].get(name, 1.0)
        print(f"{name:4} {ms:7.2f} ms a pair, {ratio:5.2f} of cv2")
    print(f"rows: {report['rows']}; range of the ratios: {report['ratio_range']}")


if __name__ == "__main__":
    main()
