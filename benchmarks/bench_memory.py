"""Does memory grow with the length of a video?

Makes two videos from one clip, forwards and backwards in turn, runs the clip stages of a recipe on
each, and prints the peak resident memory of the largest process.

    python benchmarks/bench_memory.py CLIP RECIPE --frames 500 20000 [--stages flow describe] [--json]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2


def write_long_video(clip: Path, n_frames: int, out: Path) -> None:
    """Write `n_frames` frames at 320x240: the clip forwards, backwards, forwards, ..."""
    capture = cv2.VideoCapture(str(clip))
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.resize(read[1], (320, 240)))
    there_and_back = frames + frames[-2:0:-1]
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter_fourcc(*"mp4v"), 25, (320, 240))
    for i in range(n_frames):
        writer.write(there_and_back[i % len(there_and_back)])
    writer.release()


def measure(recipe: str, video: Path, stages: list[str]) -> dict[str, dict[str, float]]:
    """Return peak memory in MB and CPU seconds of each stage on one video."""
    manifest = video.with_suffix(".csv")
    manifest.write_text(f"clip,path,label\nlong,{video},any\n")
    found = {}
    for stage in stages:
        child = (
            "import resource, subprocess, sys;"
            "code = subprocess.run(sys.argv[1:]).returncode;"
            "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
            "print(used.ru_maxrss / 1024, used.ru_utime + used.ru_stime); sys.exit(code)"
        )
        command = [sys.executable, "-m", "cinefeat.pipeline", "stage", stage, recipe, "--jobs", "1",
                   "--manifest", str(manifest), "--store", str(video.parent / "store")]  # fmt: skip
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", child, *command], capture_output=True, text=True, check=True
        )
        peak, cpu = map(float, done.stdout.split()[-2:])
        wall = time.monotonic() - started
        found[stage] = {"peak_mb": peak, "cpu_seconds": cpu, "wall_seconds": wall}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("recipe")
    parser.add_argument("--frames", type=int, nargs=2, default=[500, 20_000])
    parser.add_argument("--stages", nargs="+", default=["flow", "describe"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for n_frames in options.frames:
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder) / "long.mp4"
            write_long_video(options.clip, n_frames, video)
            results[n_frames] = measure(options.recipe, video, options.stages)
        for stage, figures in results[n_frames].items():
            text = ", ".join(f"{name} {value:.0f}" for name, value in figures.items())
            print(f"{n_frames} frames, {stage}: {text}", file=sys.stderr)
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
