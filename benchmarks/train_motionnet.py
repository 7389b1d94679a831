"""Does MotionNet learn flow without labels, from a hundred clips, in an hour of two cores?

DATA holds ucf101_clips/, weizmann/ and clips/ (videos) and flow/ (Middlebury pairs). A network of
three eighths of the published width sees pairs of frames of the training videos: most of them as
they are, one or two frames apart; some through a window that moves from the first to the second,
as a panning camera would; some of one still through such a window. Only the published unsupervised
losses teach it. It is then measured on videos of other people and places, seen as they are and
through the moving window, on clips of other sources, on textures and held-out stills moved by known
steps, and on the Middlebury pairs, each beside no flow and TV-L1. Pairs instead of the published
stacks of 11 frames, and the width, are what the hour allows.

    python benchmarks/train_motionnet.py DATA -o motionnet.safetensors
    python benchmarks/train_motionnet.py DATA --measure motionnet.safetensors [--json]

The file is a weight file: name it as `weights` in `[flow]` with `method = "motionnet"`.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from bench_flow import errors, read_flo
from numpy.typing import NDArray
from torch import Tensor

from cinefeat.extractors import optical_flow_tvl1
from cinefeat.extractors.imaging import resize_frame
from cinefeat.extractors.motion_flow import MotionFlow
from cinefeat.extractors.motion_losses import motion_losses, photometric_change
from cinefeat.extractors.motionnet import FullFlow, MotionNet, motionnet
from cinefeat.extractors.networks import NETWORKS, load_plain
from cinefeat.extractors.spec import change_spec
from cinefeat.extractors.weights import WeightRecord, weight_bytes
from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.video import VideoReader

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

N_FRAMES = 2
SHORTER_SIDE = 240
CHANGES = {
    "resize": SHORTER_SIDE,
    "window": N_FRAMES,
    "shortest": N_FRAMES,
    "stride": N_FRAMES - 1,
    "feature_size": 2 * (N_FRAMES - 1) * 224**2,
}  # of the published input
SPEC = change_spec(NETWORKS["motionnet"].spec, CHANGES)
FRAMES_A_VIDEO = 40
CROP = 96

FASTEST = 6.0  # px a frame that the window pans at most
UNSTEADY = 0.3  # px, deviation of the steps of one pan
AS_THEY_ARE, PANNED = 0.7, 0.15  # shares of training stacks; the others are panned stills
APART = 2  # frames between those of a training stack, at most, if it is not panned
HELD_OUT = ("_g02_c02", "_g03_", "_g24_", "Diving_g01_c02", "denis_", "shahar_")  # not trained on
N_MEASURED, AT_ONCE = 480, 48  # stacks of every kind; those measured at once, to spare memory
LEVELS = 5
TITLES = {
    "photometric": "photometric loss, finest level",
    "all_levels": "photometric loss, all levels",
    "endpoint_px": "endpoint px",
}


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    steps: int
    batch: int
    rate: float
    width: float


def read_videos(data: Path) -> tuple[list[Uint8], list[Uint8]]:
    """Return the first frames of the training and the held-out videos, (T, H, W, 3) in RGB."""
    parts: tuple[list[Uint8], list[Uint8]] = ([], [])
    paths = [*(data / "ucf101_clips").glob("*.avi"), *(data / "weizmann").glob("*/*.avi")]
    for path in sorted(paths):
        is_held_out = any(mark in path.name for mark in HELD_OUT)
        parts[is_held_out].append(read_frames(path))
    return parts


def read_frames(path: Path) -> Uint8:
    """Return a video's first frames, (T, H, W, 3) in RGB."""
    with VideoReader(path) as reader:
        frames = [resize_frame(step[0], SPEC) for step in islice(reader, FRAMES_A_VIDEO)]
    return np.stack(frames).astype(np.uint8)


def read_other_sources(folder: Path) -> list[Uint8]:
    """Return the first frames of every file that is a video this OpenCV decodes."""
    videos = []
    for path in sorted(folder.iterdir()):
        try:
            videos.append(read_frames(path))
        except ClipError as error:
            print(f"{path.name} is left out: {error}", file=sys.stderr)
    return videos


def textures(n: int) -> list[Uint8]:
    """Return stills (1, 300, 400, 3) of grey noise, smooth at several scales."""
    stills = []
    for seed in range(n):
        rng = np.random.default_rng([1, seed])
        noise = [cv2.GaussianBlur(rng.normal(size=(300, 400)), (0, 0), 2 * 2**k) for k in range(4)]
        grey = np.sum([1.5**k * layer / layer.std() for k, layer in enumerate(noise)], axis=0)
        still = np.clip(128 + 35 * grey / grey.std(), 0, 255).astype(np.uint8)
        stills.append(still[None, :, :, None].repeat(3, axis=3))
    return stills


def draw_pan(rng: np.random.Generator, fastest: float) -> NDArray[np.float64]:
    """Return the steps (N_FRAMES - 1, 2) of a window in pixels, as steady as a hand is."""
    angle, speed = 2 * math.pi * rng.random(), fastest * math.sqrt(rng.random())
    steps = speed * np.array([math.cos(angle), math.sin(angle)]) + np.zeros((N_FRAMES - 1, 2))
    return steps + (UNSTEADY if fastest else 0) * rng.normal(size=steps.shape)


def seen_through(
    frames: Uint8, steps: NDArray[np.float64], rng: np.random.Generator
) -> Uint8 | None:
    """Return what a moving window shows of frames, (N_FRAMES, CROP, CROP, 3); None: no room."""
    places = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    least = -places.min(axis=0)
    most = np.array(frames.shape[2:0:-1]) - CROP - 1 - places.max(axis=0)
    if (most < least).any():
        return None
    corners = places + least + rng.random(2) * (most - least)
    view = [
        cv2.warpAffine(
            frame,
            np.array([[1, 0, x], [0, 1, y]]),
            (CROP, CROP),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        for frame, (x, y) in zip(frames, corners, strict=True)
    ]
    return np.stack(view).astype(np.uint8)


def draw_stack(
    videos: list[Uint8], rng: np.random.Generator, fastest: float, apart: int
) -> tuple[Uint8, Float32]:
    """Draw frames (N_FRAMES, CROP, CROP, 3) and the steps (N_FRAMES - 1, 2) of what they show.

    The frames are `apart` frames apart in the video; with 0 they are all one, so that the steps are
    the true flow.
    """
    while True:
        video = videos[rng.integers(len(videos))]
        start = rng.integers(len(video) - apart * (N_FRAMES - 1))
        chosen = start + apart * np.arange(N_FRAMES)
        steps = draw_pan(rng, fastest)
        view = seen_through(video[chosen], steps, rng)
        if view is not None:
            return view, -steps.astype(np.float32)  # what is seen moves against the window


def draw_training_stack(videos: list[Uint8], rng: np.random.Generator) -> Uint8:
    """Draw frames as they are, panned, or of one still that is panned."""
    kind = rng.random()
    if kind < AS_THEY_ARE:
        return draw_stack(videos, rng, 0.0, int(rng.integers(1, APART + 1)))[0]
    return draw_stack(videos, rng, FASTEST, 1 if kind < AS_THEY_ARE + PANNED else 0)[0]


def augment(view: Uint8, rng: np.random.Generator) -> Float32:
    """Turn, mirror and relight a training stack."""
    view = view[:: rng.choice([-1, 1])][:, :: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    return normalised(view) * rng.uniform(0.8, 1.2) + rng.uniform(-0.1, 0.1)


def normalised(view: Uint8) -> Float32:
    return (view[..., ::-1] - np.array(SPEC.mean, np.float32)) / np.array(SPEC.std, np.float32)


def as_input(stacks: list[Float32]) -> Tensor:
    """Return (N, 3 N_FRAMES, CROP, CROP)."""
    channels = np.stack(stacks).transpose(0, 1, 4, 2, 3).reshape(len(stacks), -1, CROP, CROP)
    frames = torch.from_numpy(channels.astype(np.float32))
    return frames.contiguous(memory_format=torch.channels_last)  # a quarter faster


def train(videos: list[Uint8], schedule: Schedule, path: Path) -> None:
    """Minimise the unsupervised losses by Adam, its rate on half a cosine; write the weights."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    body = FullFlow(MotionNet(N_FRAMES, schedule.width)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(body.parameters(), lr=schedule.rate)
    begin, shares = time.perf_counter(), []
    for step in range(schedule.steps):
        warm = min(1.0, (step + 1) / 50)
        rate = schedule.rate * warm * (1 + math.cos(math.pi * step / schedule.steps)) / 2
        optimiser.param_groups[0]["lr"] = rate
        views = [draw_training_stack(videos, rng) for _ in range(schedule.batch)]
        frames = as_input([augment(view, rng) for view in views])
        levels = body.levels(frames)
        losses = motion_losses(levels, frames)
        optimiser.zero_grad()
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(body.parameters(), 50.0)
        optimiser.step()
        if step % 10 == 0:
            shares.append(photometric_share(levels, frames))
        if (step + 1) % 1000 == 0:
            minutes, share = (time.perf_counter() - begin) / 60, np.mean(shares[-100:])
            print(
                f"step {step + 1}: {share:.3f} of the photometric loss of no flow, {minutes:.1f} min",
                flush=True,
            )
            save(body, schedule, path)
    save(body, schedule, path)


def photometric_share(levels: Sequence[Tensor], frames: Tensor) -> float:
    """Return the finest level's loss as a share of that of no flow."""
    with torch.no_grad():
        found = photometric_change(levels[-1:], frames)
    return float(found["photometric"] / found["still"])


def tvl1_of(view: Uint8) -> Float32:
    """Return TV-L1's flow (N_FRAMES - 1, CROP, CROP, 2) of a stack."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in view]
    return np.stack([optical_flow_tvl1(a, b, preset="accurate") for a, b in pairwise(grey)])


def at_levels(flow: Tensor) -> list[Tensor]:
    """Return full-sized flow (N, C, H, W) at the sizes and in the pixels of the levels."""
    return [F.avg_pool2d(flow, 2**k) / 2**k for k in range(LEVELS, 0, -1)]


def photometric_row(
    learned: Sequence[Tensor], peer: Sequence[Tensor], frames: Tensor
) -> dict[str, float]:
    """Return photometric losses of the finest level, and summed over all levels."""
    row = {}
    for kind, levels in (("photometric", slice(-1, None)), ("all_levels", slice(None))):
        ours, theirs = (photometric_change(flows[levels], frames) for flows in (learned, peer))
        row[f"{kind}_still"] = float(ours["still"])
        row[kind] = float(ours["photometric"])
        row[f"{kind}_tvl1"] = float(theirs["photometric"])
    return row


def inner_error(flow: Tensor, steps: Tensor) -> float:
    """Mean endpoint error of flow (N, C, H, W) against steps (N, pairs, 2), the border aside."""
    difference = flow.unflatten(1, (-1, 2)) - steps[..., None, None]
    border = CROP // 10
    return float(difference.norm(dim=2)[..., border:-border, border:-border].mean())


def measure_stacks(
    body: FullFlow, videos: list[Uint8], fastest: float, apart: int
) -> dict[str, float]:
    """Judge MotionNet, TV-L1 and no flow by the photometric loss, and by the steps of stills."""
    rng = np.random.default_rng([2, 0])
    rows = [
        measure_batch(
            body, [draw_stack(videos, rng, fastest, apart) for _ in range(AT_ONCE)], apart
        )
        for _ in range(N_MEASURED // AT_ONCE)
    ]
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def measure_batch(
    body: FullFlow, stacks: list[tuple[Uint8, Float32]], apart: int
) -> dict[str, float]:
    """Judge stacks as `measure_stacks` does; the mean over them."""
    views, moved = zip(*stacks, strict=True)
    frames, steps = as_input([normalised(view) for view in views]), torch.tensor(np.stack(moved))
    with torch.inference_mode():
        levels = body.levels(frames)
        learned = body.of_levels(levels)
        peer = torch.from_numpy(np.stack([tvl1_of(view) for view in views]))
        peer = peer.permute(0, 1, 4, 2, 3).flatten(1, 2).float()
        row = photometric_row(levels, at_levels(peer), frames)
    if apart == 0:
        row["endpoint_px_still"] = float(steps.norm(dim=2).mean())
        row["endpoint_px"] = inner_error(learned, steps)
        row["endpoint_px_tvl1"] = inner_error(peer, steps)
    return row


def measure_middlebury(folder: Path, weights: Path) -> dict[str, dict[str, float]]:
    """Mean endpoint errors in pixels over the known pixels of each pair."""
    flow, rows = MotionFlow(weights), {}
    for pair in sorted(path for path in folder.iterdir() if (path / "flow10.flo").exists()):
        frames = [cv2.imread(str(pair / f"frame{n}.png"))[..., ::-1] for n in (10, 11)]
        truth = read_flo(pair / "flow10.flo")
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        (learned,) = flow.of_video(frames)
        rows[pair.name] = {
            "endpoint_px_still": errors(np.zeros_like(truth), truth)[0],
            "endpoint_px": errors(learned, truth)[0],
            "endpoint_px_tvl1": errors(optical_flow_tvl1(*grey, preset="accurate"), truth)[0],
        }
    return rows


def measure(data: Path, weights: Path, held_out: list[Uint8]) -> dict[str, dict[str, float]]:
    (body,), _, _ = load_plain("motionnet", weights)
    others = read_other_sources(data / "clips")
    return {
        "held-out videos as they are": measure_stacks(body, held_out, 0.0, 1),
        "clips of other sources": measure_stacks(body, others, 0.0, 1),
        "held-out videos, panned": measure_stacks(body, held_out, FASTEST, 1),
        "held-out stills, panned": measure_stacks(body, held_out, FASTEST, 0),
        "textures, panned": measure_stacks(body, textures(8), FASTEST, 0),
        **measure_middlebury(data / "flow", weights),
    }


def save(body: FullFlow, schedule: Schedule, path: Path) -> None:
    options = {"n_frames": N_FRAMES, "width": schedule.width}
    record = WeightRecord("motionnet", "benchmarks/train_motionnet.py", options, CHANGES)
    whole = motionnet(N_FRAMES, schedule.width)
    whole.get_submodule("flow").load_state_dict(body.state_dict())
    path.write_bytes(weight_bytes(whole.state_dict(), record))


def show(report: dict[str, dict[str, float]]) -> None:
    for kind, title in TITLES.items():
        print(f"\n{title:30}{'no flow':>9}{'MotionNet':>11}{'TV-L1':>9}{'ratio':>8}")
        for name, row in report.items():
            if kind in row:
                still, found, peer = row[f"{kind}_still"], row[kind], row[f"{kind}_tvl1"]
                print(f"{name:30}{still:9.3f}{found:11.3f}{peer:9.3f}{found / still:8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("motionnet.safetensors"))
    parser.add_argument("--measure", type=Path, help="weights trained before: only measure them")
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=7e-4)
    parser.add_argument("--width", type=float, default=0.375)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    schedule = Schedule(options.steps, options.batch, options.rate, options.width)
    training, held_out = read_videos(options.data)
    if options.measure is None:
        train(training, schedule, options.output)
    report = measure(options.data, options.measure or options.output, held_out)
    print(json.dumps(report, indent=1)) if options.json else show(report)


if __name__ == "__main__":
    main()
