"""Does a linear SVM on the Fisher vectors of UCF101 fit in memory and time?

Writes an HDF5 file of synthetic Fisher vectors (9,537 x 109,056 float32 in unit-length channels,
101 classes, 25 groups a class), reads it in blocks of columns, fits all one-vs-rest problems on one
Gram matrix, and reports seconds and the peak of resident memory. With --check, compares the
predictions with scikit-learn's LinearSVC (hinge, the same C) at a size where both run.

    python benchmarks/bench_linear_svm.py fv.h5 --write
    python benchmarks/bench_linear_svm.py fv.h5 [--json]
    python benchmarks/bench_linear_svm.py --check [--json]
"""

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from cinefeat.classifiers import LinearSVM

N_VIDEOS, N_CLASSES, C = 9537, 101, 100.0
CHANNELS = [2 * 256 * d for d in (15, 48, 54, 48, 48)]  # 109,056 columns
BLOCK = 4096


def synthetic_channel(columns: int, y: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Unit rows: signed square roots of noise, with a part of the class and one of the video."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((len(y), columns), np.float32)
    x += 0.16 * rng.standard_normal((y.max() + 1, columns), np.float32)[y]
    x += 0.70 * rng.standard_normal((groups.max() + 1, columns), np.float32)[groups]
    x = np.copysign(np.sqrt(np.abs(x)), x)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def labels(n_videos: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    y = np.sort(np.arange(n_videos) % n_classes)
    return y, y * 25 + np.arange(n_videos) % 25


def write(path: Path) -> None:
    y, groups = labels(N_VIDEOS, N_CLASSES)
    with h5py.File(path, "w") as file:
        file["label"] = y
        rows = (N_VIDEOS, sum(CHANNELS))
        table = file.create_dataset("fisher", rows, np.float32, chunks=(N_VIDEOS, 256))
        start = 0
        for c, columns in enumerate(CHANNELS):
            channel = synthetic_channel(columns, y, groups, c)
            for i in range(0, columns, BLOCK):
                block = channel[:, i : i + BLOCK]
                table[:, start + i : start + i + block.shape[1]] = block
            start += columns


def fit(path: Path) -> dict[str, float]:
    started = time.perf_counter()
    with h5py.File(path) as file:
        table, y = file["fisher"], file["label"][:]

        def blocks() -> Iterator[np.ndarray]:
            for start in range(0, table.shape[1], BLOCK):
                yield table[:, start : start + BLOCK]

        svm = LinearSVM(C).fit_blocks(blocks, y)
        fitted = time.perf_counter()
        agreement = svm.score(table[:200], y[:200])
    return {
        "rows": len(y),
        "columns": svm.n_features_in_,
        "updates_of_slowest_class": svm.n_iter_,
        "seconds": fitted - started,
        "cpu_seconds": time.process_time(),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "accuracy_on_training_rows": agreement,
    }


def check() -> dict[str, float]:
    """Fit 1,010 videos of 8,192 columns by both, predict 1,010 others."""
    from sklearn.svm import LinearSVC

    y, groups = labels(2020, N_CLASSES)
    x = synthetic_channel(8192, y, groups, 0)
    train = groups % 2 == 0
    result: dict[str, float] = {}
    for value in (1.0, C):
        theirs = LinearSVC(C=value, loss="hinge", tol=1e-6, max_iter=10_000, random_state=0)
        ours = LinearSVM(value, tol=1e-6)
        seconds = {}
        for name, model in (("ours", ours), ("theirs", theirs)):
            started = time.process_time()
            model.fit(x[train], y[train])
            seconds[name] = time.process_time() - started
        difference = ours.decision_function(x[~train]) - theirs.decision_function(x[~train])
        same = np.mean(ours.predict(x[~train]) == theirs.predict(x[~train]))
        result |= {
            f"C={value:g}: equal predictions": float(same),
            f"C={value:g}: greatest difference of margins": float(np.abs(difference).max()),
            f"C={value:g}: accuracy": float(ours.score(x[~train], y[~train])),
            f"C={value:g}: LinearSVC CPU seconds / ours": seconds["theirs"] / seconds["ours"],
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.path)
        return
    result = check() if arguments.check else fit(arguments.path)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:45} {value:12.6g}")


if __name__ == "__main__":
    main()
