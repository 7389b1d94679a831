"""Time and memory to read, shard and show the status of a manifest of a million clips.

Nothing is decoded and the videos need not exist. Each measurement is one process; the figures of
``cinefeat status`` are those that a user sees, imports included.

    python benchmarks/bench_million_rows.py [--rows 1000000] [--done 0.9] [--folder FOLDER]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = """
name = "flow"
title = "Flow alone"
source = "benchmark"
[flow]
preset = "fast"
"""
STEPS = {
    "read": "clips = read_manifest(manifest); assert len(clips) == n",
    "read and shard": (
        "clips = read_manifest(manifest)\n"
        "counts = [0] * 1000\n"
        "for clip in clips: counts[shard_of(clip.id, 1000)] += 1\n"
        "assert sum(counts) == n and min(counts) > 0"
    ),
}
PREAMBLE = (
    "from pathlib import Path\n"
    "from cinefeat.pipeline.manifest import read_manifest\n"
    "from cinefeat.pipeline.plan import shard_of\n"
)


def write_manifest(path: Path, n: int) -> None:
    """Write n probed rows, as a scan gives them."""
    with path.open("w", encoding="utf-8") as file:
        file.write(
            "clip,path,label,group,split,frames_declared,frames_decoded,fps,width,height,rotation,"
            "duration,codec,sha256,bytes,mtime_ns,status,reason\n"
        )
        for i in range(n):
            label, name = f"class{i % 400}", f"g{i % 977:03d}_clip{i:07d}"
            file.write(
                f"{label}/{name},videos/{label}/{name}.avi,{label},g{i % 977:03d},"
                f"{'train' if i % 4 else 'test'},{200 + i % 99},{200 + i % 99},25.0,320,240,0,"
                f"{(200 + i % 99) / 25},XVID,{i:064x},{300000 + i},{1700000000000000000 + i},ok,"
                f"all {200 + i % 99} declared frames decoded\n"
            )


def mark_done(store: Path, recipe: Path, manifest: Path, share: float, n: int) -> None:
    """Make empty files of the products of a share of the clips: status looks at names alone."""
    from cinefeat.pipeline.manifest import Clip
    from cinefeat.pipeline.plan import plan
    from cinefeat.pipeline.protocol import Fold
    from cinefeat.pipeline.recipe import load_recipe

    clip = Clip("a", Path("a.avi"), "x")
    node = plan(load_recipe(str(recipe)), store, (clip,), Fold("all", ("a",), ()))["flow"]
    for label in range(400):
        (node.folder / f"class{label}").mkdir(parents=True)
    for i in range(round(share * n)):
        (node.folder / f"class{i % 400}" / f"g{i % 977:03d}_clip{i:07d}.h5").touch()


def measure(command: list[str]) -> tuple[float, float, float, str]:
    """Return wall and processor seconds, peak gigabytes and the output of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    seconds = time.perf_counter() - started
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--done", type=float, default=0.9, help="Share of the clips with products.")
    parser.add_argument("--folder", type=Path, help="Where to write; default: a temporary folder.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        manifest, recipe, store = folder / "clips.csv", folder / "flow.toml", folder / "store"
        write_manifest(manifest, options.rows)
        recipe.write_text(RECIPE)
        mark_done(store, recipe, manifest, options.done, options.rows)
        head = f"{PREAMBLE}manifest, n = Path({str(manifest)!r}), {options.rows}\n"
        commands = {what: [sys.executable, "-c", head + code] for what, code in STEPS.items()}
        line = [sys.executable, "-m", "cinefeat.pipeline", "status", str(recipe)]
        line += ["--manifest", str(manifest), "--store", str(store), "--shards", "1000"]
        commands["cinefeat status"] = line
        for what, command in commands.items():
            seconds, busy, gigabytes, text = measure(command)
            print(f"{what:<16}{seconds:7.1f} s ({busy:.1f} s of processor) {gigabytes:6.2f} GB")
        print("\n".join(row[:80] for row in text.splitlines()))


if __name__ == "__main__":
    main()
