r"""Does a video network that learned which frames belong to a clip learn actions faster?

The transfer of Diba et al. (T3D, 2017), small: an ImageNet EfficientNet-Lite0, fixed, sees frames
of a clip; a narrow T3D sees 16 frames of it; a head decides whether both are of the same video and
time. A hundred videos are few, so they are blended in pairs and seen through windows, mirrored, and
in colours that change from step to step, the same for frames and clip. All clips of a step mostly
share one view: what tells them apart must be what they show. The videos show few scenes, so
photographs, panned, can be a third of a step. Some videos, whole actors and whole groups, are held
out and used to measure the decision, from whole frames and their mirror images. Then T3D learns
Weizmann's actions from the actors that were not held out, once from the weights of the transfer and
once from scratch, with the same order of samples and the same rates, and is tested on the held-out
actors. Neither test clips nor any label enter the transfer.

    python benchmarks/bench_transfer.py [--data ../shared/data] --device cuda --keep a.safetensors
    python benchmarks/bench_transfer.py [--data ../shared/data] --device cuda --keep b.safetensors \
        --transfer-from a.safetensors --photos FOLDER --transfer-rate 1e-3 --transfer-steps 1500
    python benchmarks/bench_transfer.py [--data ../shared/data] --begin b.safetensors

The weights of the image network are fetched with `cinefeat weights fetch
efficientnet-lite0-imagenet`. A transfer takes some two hours on two cores, where --transfer-steps,
--batch and --width make it smaller; the actions take a few minutes. What --keep writes holds the
decision's head too, so that --begin measures it again.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from clip_views import View, mirrored_view, panned, plain_view, see, view_of_step
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cinefeat.classifiers.consensus import classification_loss
from cinefeat.classifiers.training import History, TrainingSettings, Validation, fit_network
from cinefeat.extractors.layers import chain, draw_he_weights
from cinefeat.extractors.networks import load_plain
from cinefeat.extractors.pairing import PairNetwork, pair_loss, unpaired
from cinefeat.extractors.t3d import t3d

N_FRAMES, N_IMAGES = 16, 2  # of a clip, and those of them that the image network sees
STORED = (128, 160)  # height and width of a video's frames in memory
SIDE, IMAGE_SIDE = 64, 128  # pixels of clips and of images
SHORTEST, MEASURED, LONGEST = 24, 120, 480  # frames of a video: needed, measured, learned from
PANNED = 32  # frames that a photograph is panned over
N_WINDOWS = 6  # clips of a video that the decision is measured on
MIXED = 0.5  # share of clips that are blends of two videos
ACTIONS = ("bend", "jack", "jump", "pjump", "run", "side", "skip", "walk", "wave1", "wave2")
HELD_OUT = ("moshe", "shahar")  # of Weizmann; of the other videos every fourth group


class Videos(NamedTuple):
    """Videos by name: frames (T, 3, 128, 160), uint8, of each."""

    names: list[str]
    frames: list[Tensor]


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


def read_videos(paths: Sequence[Path], longest: int, device: str) -> Videos:
    """Read up to `longest` frames of every video that can be read and is long enough."""
    names, frames = [], []
    for path in paths:
        found = read_frames(path, longest)
        if len(found) >= SHORTEST:
            names.append(f"{path.parent.name}/{path.stem}")
            whole = torch.from_numpy(np.array(found)).permute(0, 3, 1, 2)
            frames.append(whole.contiguous().to(device))
    return Videos(names, frames)


def read_frames(path: Path, longest: int) -> list[np.ndarray]:
    """Return frames, RGB, (128, 160, 3) uint8."""
    video, frames = cv2.VideoCapture(str(path)), []
    while len(frames) < longest:
        is_read, frame = video.read()
        if not is_read:
            break
        small = cv2.resize(frame, STORED[::-1], interpolation=cv2.INTER_AREA)
        frames.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
    return frames


def read_photos(folder: Path, device: str) -> Videos:
    """Return a panned video of each photograph in a folder, passing over other files."""
    names, frames, rng = [], [], np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        photo = cv2.imread(str(path))
        if photo is not None:
            names.append(f"{folder.name}/{path.stem}")
            whole = torch.from_numpy(panned(photo, STORED, PANNED, rng)).permute(0, 3, 1, 2)
            frames.append(whole.contiguous().to(device))
    if not names:
        raise SystemExit(f"{folder} has no photograph that can be read; name a folder of them")
    return Videos(names, frames)


def as_clips(frames: Tensor, view: View) -> Tensor:
    """Return what T3D sees: (N, 3, T, 64, 64), near zero mean and unit spread as ImageNet's are."""
    return (see(frames, view, SIDE) - 0.46) / 0.23


def as_images(frames: Tensor, view: View) -> Tensor:
    """Return what the image network sees: (N, 3, n, 128, 128), in -1..1 as its weights expect."""
    step = frames.shape[1] // N_IMAGES
    return (see(frames[:, step // 2 :: step], view, IMAGE_SIDE) * 255 - 127) / 128


def cut(videos: Videos, rows: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Return a clip (N, 16, 3, H, W) of each of these videos, from a random time on."""
    clips = []
    for row in rows:
        start = int(rng.integers(0, len(videos.frames[row]) - N_FRAMES + 1))
        clips.append(videos.frames[row][start : start + N_FRAMES])
    return torch.stack(clips)


def blend(videos: Videos, rows: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Return clips of these videos, half of them blended with a clip of any other."""
    share = np.where(rng.random(len(rows)) < MIXED, rng.uniform(0.2, 0.8, len(rows)), 1)
    others = rng.permutation(len(videos.names))[: len(rows)].tolist()
    clips, second = cut(videos, rows, rng), cut(videos, others, rng)
    weight = torch.from_numpy(share.astype(np.float32)).to(clips.device).reshape(-1, 1, 1, 1, 1)
    return (clips * weight + second * (1 - weight)).to(torch.uint8)


def draw_clips(
    learned: Videos, photos: Videos, n: int, rng: np.random.Generator
) -> tuple[Tensor, np.ndarray]:
    """Return blended clips of n videos, and the videos' numbers.

    A third of them are photographs, if there are any; their numbers follow those of the videos.
    """
    n_photos = n // 3 if photos.names else 0
    rows = rng.permutation(len(learned.names))[: n - n_photos]
    clips = blend(learned, rows, rng)
    if not n_photos:
        return clips, rows
    seen = rng.permutation(len(photos.names))[:n_photos]
    numbers = np.concatenate([rows, len(learned.names) + seen])
    return torch.cat([clips, blend(photos, seen, rng)]), numbers


def windows_of(videos: Videos, number: int) -> Tensor:
    """Return clips (6, 16, 3, H, W) at even steps of a video."""
    frames = videos.frames[number]
    starts = np.linspace(0, len(frames) - N_FRAMES, N_WINDOWS).astype(int)
    return torch.stack([frames[start : start + N_FRAMES] for start in starts])


def image_network() -> nn.Sequential:
    """Return EfficientNet-Lite0 up to its features."""
    body, spec, _record = load_plain("efficientnet-lite0", "efficientnet-lite0-imagenet")
    names = [name for name, _ in body.named_children()]
    return chain(*list(body.children())[: names.index(spec.features) + 1], nn.Flatten())


def decision(model: PairNetwork, videos: Videos, device: str) -> dict[str, Any]:
    """Return shares of right decisions: clips with their own frames, and with all others'.

    Both a pair and its mirror image are scored, and the mean of the two decides; the share without
    the mirror image is given last.
    """
    numbers = torch.arange(len(videos.names), device=device).repeat_interleave(N_WINDOWS)
    others = unpaired(numbers)
    plain = pair_scores(model, videos, others, plain_view(N_WINDOWS))
    mirrored = pair_scores(model, videos, others, mirrored_view(np.full(N_WINDOWS, -1)))
    paired, apart = right_decisions(plain + mirrored, len(numbers))
    paired_plain, apart_plain = right_decisions(plain, len(numbers))
    groups = np.array([name.split("/")[1].split("_")[0] for name in videos.names])
    is_near = torch.from_numpy(groups[:, None] == groups).to(device)
    near = is_near[numbers[others[:, 0]], numbers[others[:, 1]]]
    return {
        "accuracy": (paired.mean().item() + apart.mean().item()) / 2,
        "paired": paired.mean().item(),
        "unpaired": apart.mean().item(),
        "unpaired_of_one_actor": apart[near].mean().item(),
        "unpaired_of_others": apart[~near].mean().item(),
        "accuracy_without_mirror": (paired_plain.mean() + apart_plain.mean()).item() / 2,
    }


def pair_scores(model: PairNetwork, videos: Videos, others: Tensor, view: View) -> Tensor:
    """Return scores (N + M, 2) of all N windows with their own frames, then of other pairs (M, 2)."""
    images, clips = [], []
    with torch.no_grad():
        for number in range(len(videos.names)):
            frames = windows_of(videos, number).to(others.device)
            images.append(model.image_features(as_images(frames, view)))
            clips.append(model.videos(as_clips(frames, view)))
        return model(torch.cat(images), torch.cat(clips), others)


def right_decisions(scores: Tensor, n_paired: int) -> tuple[Tensor, Tensor]:
    """Return 1. where the decision is right and 0. elsewhere, of the paired and of the others."""
    says_paired = scores.argmax(1).float()
    return says_paired[:n_paired], 1 - says_paired[n_paired:]


def new_t3d(n_classes: int | None, width: float) -> nn.Sequential:
    """Build a narrow T3D with random weights."""
    return draw_he_weights(t3d(n_classes=n_classes, width=width))


def new_pairs(width: float) -> PairNetwork:
    """Build the image network, a narrow T3D with random weights, and their head."""
    videos = new_t3d(None, width)
    n_videos = videos.get_submodule("norm5.norm").num_features
    return PairNetwork(image_network(), videos, 1280, n_videos)


def transfer(
    model: PairNetwork, learned: Videos, photos: Videos, options: argparse.Namespace
) -> dict[str, Any]:
    """Train all but the image network on the decision; return how that went."""
    model.train()
    images_of, clips_of = model.image_features, model.videos
    if options.compile:
        images_of, clips_of = torch.compile(images_of), torch.compile(clips_of)
    rate = torch.optim.lr_scheduler.OneCycleLR
    optimiser = torch.optim.Adam(
        [p for p in model.parameters() if p.requires_grad], weight_decay=1e-4
    )
    schedule = rate(optimiser, options.transfer_rate, options.transfer_steps, pct_start=0.1)
    rng, started, losses = np.random.default_rng(options.transfer_seed), time.perf_counter(), []
    for _ in range(options.transfer_steps):
        frames, numbers = draw_clips(learned, photos, options.batch, rng)
        view = view_of_step(len(numbers), rng)
        with narrow_on_gpu(frames.device):  # the head stays in float32
            images = images_of(as_images(frames, view)).float()
            batch = {"frames": images, "clip": clips_of(as_clips(frames, view)).float()}
        loss = pair_loss(model, {**batch, "video": torch.from_numpy(numbers).to(frames.device)})
        optimiser.zero_grad(set_to_none=True)
        loss["loss"].backward()
        optimiser.step()
        schedule.step()
        losses.append(loss["loss"].detach())
        if len(losses) % 50 == 0:
            tell(f"step {len(losses)}: loss {torch.stack(losses[-50:]).mean():.3f}", started)
    curve = [part.mean().item() for part in torch.stack(losses).split(50)]
    return {"seconds": time.perf_counter() - started, "training_loss": curve}


def narrow_on_gpu(device: torch.device) -> torch.autocast:
    """Return the context that computes in bfloat16 on a GPU; many processors are slower with it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu")


def learned_part(model: PairNetwork) -> dict[str, Tensor]:
    """Return the weights of T3D and of the head, without those of the image network."""
    state = model.state_dict()
    return {name: state[name].cpu() for name in state if not name.startswith("images.")}


def load_learned(model: PairNetwork, path: Path) -> None:
    """Load what `learned_part` gave."""
    missing, unexpected = model.load_state_dict(load_file(path), strict=False)
    assert not unexpected
    assert all(name.startswith("images.") for name in missing)


def tell(text: str, started: float) -> None:
    """Print how far it is, apart from the figures."""
    print(f"{text}, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def learn_actions(
    learned: Videos, held_out: Videos, begin: dict[str, Tensor] | None, options: argparse.Namespace,
    seed: int,
) -> History:  # fmt: skip
    """Train T3D on Weizmann's actions, from the weights of `begin` or from scratch."""
    train, test = of_weizmann(learned), of_weizmann(held_out)
    torch.manual_seed(seed)
    network = new_t3d(len(ACTIONS), options.width)
    if begin is not None:
        missing = network.load_state_dict(begin, strict=False).missing_keys
        assert sorted(missing) == ["logits.bias", "logits.weight"]
    tests = [windows_of(test, number)[[1, 4]] for number in range(len(test.names))]

    def labels(videos: Videos, rows: Sequence[int]) -> Tensor:
        return torch.tensor([ACTIONS.index(label_of(videos.names[row])) for row in rows])

    def load(numbers: Sequence[int], number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng(number)
        return {
            "x0": as_clips(
                cut(train, numbers, rng), mirrored_view(rng.choice((-1, 1), len(numbers)))
            ),
            "label": labels(train, numbers),
        }

    def load_tests(numbers: Sequence[int], _: int) -> dict[str, Tensor]:
        clips = torch.stack([tests[n // 2][n % 2] for n in numbers])
        rows = [n // 2 for n in numbers]
        return {"x0": as_clips(clips, plain_view(len(rows))), "label": labels(test, rows)}

    settings = TrainingSettings(
        n_epochs=options.epochs, batch_size=14, optimiser="adam", learning_rate=1e-3, seed=seed
    )
    validation = Validation(load_tests, 2 * len(tests))
    return fit_network(
        network, classification_loss, load, len(train.names), settings, validation=validation,
        device=options.device,
    )  # fmt: skip


def of_weizmann(videos: Videos) -> Videos:
    """Return the videos of Weizmann alone."""
    kept = [i for i, name in enumerate(videos.names) if label_of(name) in ACTIONS]
    return Videos([videos.names[i] for i in kept], [videos.frames[i] for i in kept])


def label_of(name: str) -> str:
    """Return the folder of a video, which is the action in Weizmann."""
    return name.partition("/")[0]


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw both ways to learn actions."""
    figure = Figure(figsize=(9, 3.4), layout="constrained", dpi=100)
    curves = {"train/loss": "training loss", "validation/accuracy": "accuracy on held-out actors"}
    for axes, (curve, label) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        for way, colour in (("transferred", "tab:blue"), ("scratch", "tab:orange")):
            rows = np.array([run[curve] for run in found[way]])
            epochs = np.arange(1, rows.shape[1] + 1)
            axes.plot(epochs, rows.mean(0), color=colour, label=way)
            axes.fill_between(epochs, rows.min(0), rows.max(0), color=colour, alpha=0.2)
        axes.set(xlabel="epoch", ylabel=label)
        axes.legend()
    figure.savefig(path)


def report(found: dict[str, Any]) -> None:
    """Print the figures."""
    learned, held_out = found["videos"]
    photos = f" and {found['photos']} photographs" if found["photos"] else ""
    print(f"{learned} videos{photos} to learn from, {held_out} held out")
    for part, figures in found["decision"].items():
        print(f"decision, {part}:", *(f"{name} {value:.1%}" for name, value in figures.items()))
    for curve in ("train/loss", "validation/accuracy"):
        for way in ("transferred", "scratch"):
            if found[way]:
                mean = np.mean([run[curve] for run in found[way]], axis=0)
                print(f"{curve:20} {way:12}", *(f"{value:.2f}" for value in mean))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep", type=Path, help="write the transfer's weights, and stop")
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--transfer-from", type=Path, help="weights that --keep wrote, to go on from")
    kept.add_argument(
        "--begin", type=Path, help="weights that --keep wrote, in place of a transfer"
    )
    parser.add_argument("--photos", type=Path, help="folder of photographs to learn from too")
    parser.add_argument("--transfer-rate", type=float, default=2e-3, help="highest rate")
    parser.add_argument(
        "--compile", action="store_true", help="compile the networks of the transfer"
    )
    parser.add_argument("--out", type=Path, default=Path("transfer.png"), help="the curves")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--transfer-steps", type=int, default=3000)
    parser.add_argument("--transfer-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = read_options()
    paths = find_videos(options.data)
    learned = read_videos(paths[0], LONGEST, options.device)
    held_out = read_videos(paths[1], MEASURED, options.device)
    photos = read_photos(options.photos, options.device) if options.photos else Videos([], [])
    found: dict[str, Any] = {"videos": [len(learned.names), len(held_out.names)]}
    found["photos"] = len(photos.names)
    found |= {"transferred": [], "scratch": []}
    torch.manual_seed(options.transfer_seed)
    model = new_pairs(options.width).to(options.device)
    if (kept := options.transfer_from or options.begin) is not None:
        load_learned(model, kept)
    if options.begin is None:
        found["transfer"] = transfer(model, learned, photos, options)
    model.eval()
    parts = {"learned": learned, "held_out": held_out}
    found["decision"] = {
        name: decision(model, videos, options.device) for name, videos in parts.items()
    }
    if options.keep is not None:
        save_file(learned_part(model), options.keep)
    else:
        begin = {name: tensor.cpu() for name, tensor in model.videos.state_dict().items()}
        for seed in range(options.seeds):
            for way, weights in (("transferred", begin), ("scratch", None)):
                history = learn_actions(learned, held_out, weights, options, seed)
                curves = {name: values.tolist() for name, values in history.curves.items()}
                found[way].append(curves)
        draw(found, options.out)
    print(json.dumps(found, indent=1)) if options.json else report(found)


if __name__ == "__main__":
    main()
