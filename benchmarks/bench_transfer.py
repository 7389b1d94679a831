"""Does a video network that learned which frames belong to a clip learn actions faster?

The transfer of Diba et al. (T3D, 2017), small: an ImageNet EfficientNet-Lite0, fixed, sees frames
of a clip; a narrow T3D sees 16 frames of it; a head decides whether both are of the same video and
time. Some videos, whole actors and whole groups, are held out of that and used to measure the
decision. Then T3D learns Weizmann's actions from the actors that were not held out, once from the
weights of the transfer and once from scratch, with the same order of samples and the same rates, and
is tested on the held-out actors. Neither test clips nor any label enter the transfer.

    python benchmarks/bench_transfer.py [--data ../shared/data] [--out transfer.png] [--json]

The weights are fetched with `cinefeat weights fetch efficientnet-lite0-imagenet`. About 12 minutes
on one core.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from cinefeat.classifiers.consensus import classification_loss
from cinefeat.classifiers.training import History, TrainingSettings, Validation, fit_network
from cinefeat.extractors import load_network
from cinefeat.extractors.layers import draw_he_weights
from cinefeat.extractors.pairing import PairNetwork, pair_loss, unpaired
from cinefeat.extractors.t3d import t3d

N_FRAMES, STORED, SIDE = 16, 54, 48  # of a clip; its side in memory, and that of the crop
N_WINDOWS, N_IMAGES = 6, 4  # clips of a video, and frames of each that the image network sees
LEARNED, LATER = (0, 1, 3, 4), (2, 5)  # clips of a video to learn from, and to test on
WIDTH = 0.125
ACTIONS = ("bend", "jack", "jump", "pjump", "run", "side", "skip", "walk", "wave1", "wave2")
HELD_OUT = ("moshe", "shahar")  # of Weizmann; of the other videos every fourth group
SHORTEST = 24  # frames of a video that is used


class Videos(NamedTuple):
    """Clips of videos: (N, T, 54, 54, 3) uint8, image features (N, 1280), number of the video."""

    names: list[str]
    clips: Tensor
    images: Tensor
    video: Tensor


def find_videos(data: Path) -> tuple[list[Path], list[Path]]:
    """Return the videos to learn from, and those that are held out: whole actors and groups."""
    actions = sorted((data / "weizmann").glob("*/*.avi"))
    others = [p for part in ("ucf101_clips", "clips") for p in sorted((data / part).iterdir())]
    groups = sorted({group_of(path) for path in others})
    out = {*HELD_OUT, *groups[::4]}
    every = actions + others
    return [p for p in every if group_of(p) not in out], [p for p in every if group_of(p) in out]


def group_of(path: Path) -> str:
    """Return what videos of one scene have in common: actor, UCF101 group, or the name."""
    if path.parent.parent.name == "weizmann":
        return path.stem.split("_")[0]
    return path.stem.rpartition("_c")[0] if path.stem.startswith("v_") else path.stem


def read_frames(path: Path, limit: int = 400) -> np.ndarray:
    """Return the first frames of a video, RGB, (T, H, W, 3) uint8."""
    video, frames = cv2.VideoCapture(str(path)), []
    while len(frames) < limit:
        is_read, frame = video.read()
        if not is_read:
            break
        frames.append(cv2.cvtColor(cv2.resize(frame, (320, 240)), cv2.COLOR_BGR2RGB))
    return np.array(frames)


def embed_videos(paths: Sequence[Path], network: Any) -> Videos:
    """Cut videos into clips, and give the frames of each to the image network."""
    names, clips, images, numbers = [], [], [], []
    for path in paths:
        frames = read_frames(path)
        if len(frames) < SHORTEST:
            continue
        starts = np.linspace(0, len(frames) - N_FRAMES, N_WINDOWS).astype(int)
        for start in starts:
            window = frames[start : start + N_FRAMES]
            seen = window[:: N_FRAMES // N_IMAGES]
            inputs = [network.preprocess(cv2.resize(f, (256, 256))[None])[0] for f in seen]
            images.append(network(np.stack(inputs))["features"].mean(0))
            clips.append([cv2.resize(f, (STORED, STORED), interpolation=3) for f in window])
        numbers += [len(names)] * N_WINDOWS
        names.append(f"{path.parent.name}/{path.stem}")
    return Videos(
        names,
        torch.from_numpy(np.array(clips)),
        torch.from_numpy(np.array(images)),
        torch.tensor(numbers),
    )


def as_input(clips: Tensor, rng: np.random.Generator | None) -> Tensor:
    """Crop and normalise clips (N, 3, T, 48, 48); with `rng` at a random place, half mirrored."""
    out = []
    for clip in clips:
        x, y = (3, 3) if rng is None else rng.integers(0, STORED - SIDE + 1, 2)
        cut = clip[:, y : y + SIDE, x : x + SIDE]
        out.append(cut.flip(2) if rng is not None and rng.random() < 0.5 else cut)
    return (torch.stack(out).permute(0, 4, 1, 2, 3).float() - 117) / 58


def pairs_of(
    videos: Videos, numbers: Sequence[int], rng: np.random.Generator, windows: Sequence[int]
) -> dict[str, Tensor]:
    """Return one clip of each of these videos, changed at random, and its image features."""
    rows = [number * N_WINDOWS + int(rng.choice(windows)) for number in numbers]
    clips = as_input(videos.clips[rows], rng)
    return {"clip": clips, "frames": videos.images[rows], "video": videos.video[rows]}


def decision_accuracy(model: PairNetwork, videos: Videos, windows: Sequence[int]) -> float:
    """Return the share of right decisions: clips with their own frames, and with all others'."""
    chosen = torch.arange(len(videos.clips)).reshape(-1, N_WINDOWS)[:, list(windows)].flatten()
    numbers, images = videos.video[chosen], videos.images[chosen]
    others = unpaired(numbers)
    with torch.no_grad():
        clips = torch.cat([model.videos(as_input(videos.clips[i][None], None)) for i in chosen])
        pairs = torch.cat([images, clips], 1)
        unlike = torch.cat([images[others[:, 1]], clips[others[:, 0]]], 1)
        hits = [model.head(model.scale(rows)).argmax(1).float().mean() for rows in (pairs, unlike)]
    return float(hits[0] + 1 - hits[1]) / 2


def transfer(learned: Videos, held_out: Videos, n_epochs: int) -> tuple[nn.Module, dict[str, Any]]:
    """Train T3D on the decision; return it, and how well pairs are told from others."""
    torch.manual_seed(0)
    videos = draw_he_weights(t3d(n_classes=None, width=WIDTH))
    n_videos = videos.get_submodule("norm5.norm").num_features
    model = PairNetwork(nn.Identity(), videos, learned.images.shape[1], n_videos)
    started = time.process_time()

    def load(numbers: Sequence[int], seed: int) -> dict[str, Tensor]:
        return pairs_of(learned, numbers, np.random.default_rng(seed), LEARNED)

    settings = TrainingSettings(
        n_epochs=n_epochs, batch_size=30, optimiser="adam", learning_rate=1e-3,
        weight_decay=1e-4, milestones=(n_epochs * 3 // 4,),
    )  # fmt: skip
    history = fit_network(model, pair_loss, load, len(learned.names), settings)
    return model.videos, {
        "later_clips_of_learned_videos": decision_accuracy(model, learned, LATER),
        "clips_of_held_out_videos": decision_accuracy(model, held_out, range(N_WINDOWS)),
        "cpu_seconds": time.process_time() - started,
        "training_loss": history.curves["train/loss"].tolist(),
        "training_accuracy": history.curves["train/accuracy"].tolist(),
    }


def learn_actions(
    learned: Videos, held_out: Videos, begin: nn.Module | None, n_epochs: int, seed: int
) -> History:
    """Train T3D on Weizmann's actions, from the weights of `begin` or from scratch."""
    train, test = (of_weizmann(videos) for videos in (learned, held_out))
    classes = sorted({label_of(train.names[number]) for number in train.video.tolist()})
    torch.manual_seed(seed)
    network = draw_he_weights(t3d(n_classes=len(classes), width=WIDTH))
    if begin is not None:
        missing = network.load_state_dict(begin.state_dict(), strict=False).missing_keys
        assert sorted(missing) == ["logits.bias", "logits.weight"]

    def batch(videos: Videos, rows: Sequence[int], rng: np.random.Generator | None) -> dict:
        labels = [classes.index(label_of(videos.names[videos.video[row]])) for row in rows]
        return {"x0": as_input(videos.clips[list(rows)], rng), "label": torch.tensor(labels)}

    def load(numbers: Sequence[int], number: int) -> dict[str, Tensor]:
        return batch(train, numbers, np.random.default_rng(number))

    every = range(0, len(test.clips), 2)
    settings = TrainingSettings(
        n_epochs=n_epochs, batch_size=20, optimiser="adam", learning_rate=1e-3, seed=seed
    )
    return fit_network(
        network, classification_loss, load, len(train.clips), settings,
        validation=Validation(
            lambda numbers, _: batch(test, [every[n] for n in numbers], None), len(every)
        ),
    )  # fmt: skip


def of_weizmann(videos: Videos) -> Videos:
    """Return the videos of Weizmann alone."""
    kept = [i for i, name in enumerate(videos.names) if label_of(name) in ACTIONS]
    rows = torch.cat([torch.arange(i * N_WINDOWS, (i + 1) * N_WINDOWS) for i in kept])
    numbers = torch.arange(len(kept)).repeat_interleave(N_WINDOWS)
    names = [videos.names[i] for i in kept]
    return Videos(names, videos.clips[rows], videos.images[rows], numbers)


def label_of(name: str) -> str:
    """Return the folder of a video, which is the action in Weizmann."""
    return name.partition("/")[0]


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw the transfer's loss, and both ways to learn actions."""
    figure = Figure(figsize=(12, 3.4), layout="constrained", dpi=100)
    first, *others = figure.subplots(1, 3)
    first.plot(found["transfer"]["training_loss"])
    first.set(xlabel="epoch of the transfer", ylabel="loss of the decision")
    curves = ("train/loss", "validation/accuracy")
    labels = ("training loss", "accuracy on held-out actors")
    for axes, curve, label in zip(others, curves, labels, strict=True):
        for way, colour in (("transferred", "tab:blue"), ("scratch", "tab:orange")):
            rows = np.array([run[curve] for run in found[way]])
            axes.plot(np.arange(1, rows.shape[1] + 1), rows.mean(0), color=colour, label=way)
            axes.fill_between(
                np.arange(1, rows.shape[1] + 1), rows.min(0), rows.max(0), color=colour, alpha=0.2
            )
        axes.set(xlabel="epoch", ylabel=label)
        axes.legend()
    figure.savefig(path)


def measure(learned: Videos, held_out: Videos, options: argparse.Namespace) -> dict[str, Any]:
    """Do the transfer, and learn actions in both ways with several seeds."""
    network, about = transfer(learned, held_out, options.transfer_epochs)
    found: dict[str, Any] = {
        "videos": [len(learned.names), len(held_out.names)], "transfer": about,
        "transferred": [], "scratch": [],
    }  # fmt: skip
    for seed in range(options.seeds):
        for way, begin in (("transferred", network), ("scratch", None)):
            history = learn_actions(learned, held_out, begin, options.epochs, seed)
            found[way].append({name: values.tolist() for name, values in history.curves.items()})
    return found


def report(found: dict[str, Any]) -> None:
    """Print the figures."""
    about = found["transfer"]
    print(f"{found['videos'][0]} videos to learn from, {found['videos'][1]} held out")
    print(
        f"decision: later clips of learned videos {about['later_clips_of_learned_videos']:.1%}, "
        f"clips of held-out videos {about['clips_of_held_out_videos']:.1%}, "
        f"{about['cpu_seconds']:.0f} CPU s"
    )
    for curve in ("train/loss", "validation/accuracy"):
        for way in ("transferred", "scratch"):
            mean = np.mean([run[curve] for run in found[way]], axis=0)
            print(f"{curve:20} {way:12}", *(f"{value:.2f}" for value in mean))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("transfer.png"), help="the curves")
    parser.add_argument("--transfer-epochs", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = load_network("efficientnet-lite0", "efficientnet-lite0-imagenet")
    learned, held_out = (embed_videos(p, images) for p in find_videos(options.data))
    found = measure(learned, held_out, options)
    draw(found, options.out)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        report(found)


if __name__ == "__main__":
    main()
