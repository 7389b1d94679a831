"""How accurate and how fast is TV-L1 flow, beside what OpenCV and scikit-image offer?

DIR holds a folder for each pair with frame10.png, frame11.png and flow10.flo (Middlebury).
Every method runs once on every pair, interleaved, on one thread; errors are over the pixels whose
flow is known. With --clips, the preset `fast` and Farneback's flow (as improved dense trajectories
use it) run on consecutive frames of videos; with --threads, two threads run beside one.

    python benchmarks/bench_flow.py DIR [--clips FOLDER] [--threads] [--json]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import skimage.registration
from numpy.typing import NDArray

from cinefeat.extractors import optical_flow_tvl1

Float32 = NDArray[np.float32]
Method = Callable[[NDArray[np.uint8], NDArray[np.uint8]], Float32]
UNKNOWN = 1e9  # marks pixels without ground truth
FRAMES_A_CLIP = 5


def ours(preset: str) -> Method:
    return lambda prev, next: optical_flow_tvl1(prev, next, preset=preset)


def opencv_tvl1(prev: NDArray[np.uint8], next: NDArray[np.uint8]) -> Float32:
    return cv2.optflow.DualTVL1OpticalFlow.create().calc(prev, next, None)


def dis_medium(prev: NDArray[np.uint8], next: NDArray[np.uint8]) -> Float32:
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return solver.calc(prev, next, None)


def scikit_image(prev: NDArray[np.uint8], next: NDArray[np.uint8]) -> Float32:
    row, column = skimage.registration.optical_flow_tvl1(prev, next)
    return np.stack([column, row], axis=-1)


def farneback(prev: NDArray[np.uint8], next: NDArray[np.uint8]) -> Float32:
    gaussian = cv2.OPTFLOW_FARNEBACK_GAUSSIAN
    return cv2.calcOpticalFlowFarneback(prev, next, None, 0.7071, 6, 10, 2, 7, 1.5, gaussian)


METHODS: dict[str, Method] = {
    "accurate": ours("accurate"),
    "opencv": ours("opencv"),
    "fast": ours("fast"),
    "cv2 DualTVL1": opencv_tvl1,
    "cv2 DIS medium": dis_medium,
    "scikit-image": scikit_image,
}


def read_flo(path: Path) -> Float32:
    width, height = np.fromfile(path, np.int32, 2, offset=4)
    return np.fromfile(path, np.float32, offset=12).reshape(height, width, 2)


def errors(flow: Float32, truth: Float32) -> tuple[float, float]:
    """Mean endpoint error in pixels and mean angular error in degrees, over known pixels."""
    known = (np.abs(truth) < UNKNOWN).all(axis=-1)
    a, b = flow[known].astype(np.float64), truth[known].astype(np.float64)
    endpoint = np.linalg.norm(a - b, axis=1).mean()
    lengths = np.sqrt(1 + (a**2).sum(axis=1)) * np.sqrt(1 + (b**2).sum(axis=1))
    cosine = np.clip((1 + (a * b).sum(axis=1)) / lengths, -1, 1)
    return float(endpoint), float(np.degrees(np.arccos(cosine)).mean())


def timed(
    method: Method, prev: NDArray[np.uint8], next: NDArray[np.uint8]
) -> tuple[Float32, float]:
    start = time.process_time()
    flow = method(prev, next)
    return flow, time.process_time() - start


def measure_pairs(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for pair in sorted(path for path in folder.iterdir() if (path / "flow10.flo").exists()):
        prev, next = (cv2.imread(str(pair / f"frame{n}.png"), 0) for n in (10, 11))
        truth = read_flo(pair / "flow10.flo")
        for name, method in METHODS.items():
            flow, seconds = timed(method, prev, next)
            endpoint, angular = errors(flow, truth)
            row = {"pair": pair.name, "method": name, "endpoint_px": endpoint}
            rows.append({**row, "angular_degrees": angular, "cpu_seconds": seconds})
    return rows


def grey_frames(video: Path, n: int) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(video))
    frames = [capture.read()[1] for _ in range(n)]
    return [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames if frame is not None]


def clip_pairs(folder: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Consecutive frames of every video, at 320x240."""
    pairs = []
    for video in sorted(folder.glob("*.avi")):
        frames = [cv2.resize(f, (320, 240)) for f in grey_frames(video, FRAMES_A_CLIP)]
        pairs += list(pairwise(frames))
    return pairs


def measure_clips(folder: Path) -> dict[str, float]:
    pairs = clip_pairs(folder)
    seconds: dict[str, list[float]] = {"fast": [], "farneback": []}
    for prev, next in pairs:
        seconds["farneback"].append(timed(farneback, prev, next)[1])
        seconds["fast"].append(timed(METHODS["fast"], prev, next)[1])
    means = {f"{name}_ms": 1e3 * statistics.fmean(times) for name, times in seconds.items()}
    return {"pairs": len(pairs), **means, "ratio": means["fast_ms"] / means["farneback_ms"]}


def measure_threads(n_pairs: int = 32, rounds: int = 7) -> dict[str, dict[str, float]]:
    """Wall seconds of a batch at 320x240 with one thread and with two, in turns: median ratio."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 255, (n_pairs, 240, 324)).astype(np.float32)
    frames = np.stack([cv2.GaussianBlur(image, (0, 0), 2) for image in noise])
    prev, next = frames[:, :, 4:], frames[:, :, 2:-2]
    report = {}
    for preset in ("accurate", "fast"):
        optical_flow_tvl1(prev, next, preset=preset, n_threads=2)  # warm up
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for n in (1, 2) * rounds:
            start = time.perf_counter()
            optical_flow_tvl1(prev, next, preset=preset, n_threads=n)
            seconds[n].append(time.perf_counter() - start)
        ratios = [one / two for one, two in zip(*seconds.values(), strict=True)]
        report[preset] = {
            "one_s": statistics.median(seconds[1]),
            "two_s": statistics.median(seconds[2]),
            "speedup": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
        }
    return report


def summarise(rows: list[dict[str, object]]) -> dict[str, dict[str, float]]:
    def mean(name: str, key: str) -> float:
        return statistics.fmean(float(str(r[key])) for r in rows if r["method"] == name)

    keys = ("endpoint_px", "angular_degrees", "cpu_seconds")
    return {name: {key: mean(name, key) for key in keys} for name in METHODS}


def show(report: dict[str, object], summary: dict[str, dict[str, float]]) -> None:
    reference = summary["cv2 DualTVL1"]["cpu_seconds"]
    print(
        f"{'method':16}{'endpoint px':>12}{'angular deg':>12}{'CPU s a pair':>14}{'x faster':>10}"
    )
    for name, row in summary.items():
        errors = f"{row['endpoint_px']:12.3f}{row['angular_degrees']:12.2f}"
        print(f"{name:16}{errors}{row['cpu_seconds']:14.3f}{reference / row['cpu_seconds']:10.1f}")
    for key in ("clips", "threads"):
        if key in report:
            print(key, report[key])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--threads", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    blank = np.zeros((64, 64), np.uint8)
    for method in METHODS.values():
        method(blank, blank)  # compile
    rows = measure_pairs(options.folder)
    summary = summarise(rows)
    report: dict[str, object] = {"opencv": cv2.__version__, "mean": summary, "pairs": rows}
    if options.clips:
        report["clips"] = measure_clips(options.clips)
    if options.threads:
        report["threads"] = measure_threads()
    print(json.dumps(report, indent=1)) if options.json else show(report, summary)


if __name__ == "__main__":
    main()
