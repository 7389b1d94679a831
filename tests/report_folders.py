"""Made-up runs with their stores: scores drawn at random, products without arrays but with costs."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import moving_square, write_video

from cinefeat.pipeline.manifest import Clip, write_manifest
from cinefeat.pipeline.report import Evaluation, measures, per_class, write_folder
from cinefeat.pipeline.store import write_product

CLASSES = ("jump", "run", "sit <b>&amp;\"down'", "walk")
GROUPS = ("ann", "bob", "cy", "dan")
N_FRAMES = 12
RECIPE = 'name = "{name}"\ntitle = "Made up </script><b>"\nsource = "A & B"\n\n[evaluate]\n'


def clips_of(videos: Path, classes: tuple[str, ...] = CLASSES) -> list[Clip]:
    """One clip per class and group, of which the first has a video."""
    frames, _ = moving_square(N_FRAMES, 48, 64)
    path = write_video(videos / "first.avi", frames)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    clips = [
        Clip(
            f"{i}/{group}", videos / "gone.avi", label, group, frames_decoded=N_FRAMES, duration=0.5
        )
        for i, label in enumerate(classes)
        for group in GROUPS
    ]
    return [replace(clips[0], path=path, sha256=sha256), *clips[1:]]


def make_run(
    store: Path,
    name: str,
    seed: int,
    *,
    classes: tuple[str, ...] = CLASSES,
    strength: float = 1.0,
    failures: tuple[tuple[str, str, str], ...] = (),
    curves: bool = False,
) -> Path:
    """Write a run of two folds into a store, its report folder too, and return that folder."""
    clips = clips_of(store / "videos", classes)
    write_manifest(store / "manifest.csv", clips)
    rng = np.random.default_rng(seed)
    labels = np.array([clip.label for clip in clips])
    scores = rng.normal(size=(len(clips), len(classes)))
    scores += strength * (labels[:, None] == np.array(classes))
    evaluation = Evaluation(
        np.array([clip.id for clip in clips]), labels, np.array(classes)[scores.argmax(axis=1)],
        np.array(classes), scores, np.array([clip.group for clip in clips]),
    )  # fmt: skip
    figures = {
        "recipe": name, "protocol": "k-fold:2", **measures(evaluation), "n_clips": len(clips),
        "n_test": len(clips), "failures": len(failures), "per_class": per_class(evaluation),
    }  # fmt: skip
    _write_products(store, name, clips, evaluation, curves)
    rows = "".join(f'"{clip}",{stage},"{reason}"\n' for clip, stage, reason in failures)
    texts = {"recipe.toml": RECIPE.format(name=name), "failures.csv": "clip,stage,reason\n" + rows}
    return write_folder(store / "reports" / f"{name}-x", figures, evaluation, texts)


def _write_products(
    store: Path, name: str, clips: list[Clip], evaluation: Evaluation, curves: bool
) -> None:
    flow = _digest("flow", "all")
    for clip in clips:
        _write(store, "flow", "all", clip.id, {}, 0.5, {}, **_about(clip))
    for fold in (0, 1):
        at = np.arange(len(clips)) % 2 == fold
        encode = f"{name}{fold}"
        for clip in clips:
            _write(store, "encode", encode, clip.id, {"flow": flow}, 0.25, {}, **_about(clip))
        learned: dict[str, Any] = {
            "clips": [c.id for c, out in zip(clips, at, strict=True) if not out]
        }
        arrays = {}
        if curves:
            learned |= {"best_epoch": 1, "model": "tsn", "stream": "rgb"}
            arrays = {f"curves/{part}/{what}": np.array([0.25, 0.5 + fold, 0.75])
                      for part in ("train", "validation") for what in ("loss", "accuracy")}  # fmt: skip
        needs = {"encode": _digest("encode", encode)}
        _write(store, "train", encode, "model", needs, 2.0, arrays, **learned)
        arrays = {"clip": evaluation.clips[at], "classes": evaluation.classes,
                  "scores": evaluation.scores[at]}  # fmt: skip
        needs = {**needs, "train": _digest("train", encode)}
        tested = evaluation.clips[at].tolist()
        _write(store, "evaluate", encode, "scores", needs, 0.125, arrays, clips=tested)


def _about(clip: Clip) -> dict[str, Any]:
    return {"clip": clip.id, "source": str(clip.path), "source_sha256": clip.sha256,
            "frames_decoded": N_FRAMES}  # fmt: skip


def _digest(stage: str, key: str) -> str:
    return hashlib.sha256(f"{stage} {key}".encode()).hexdigest()


def _write(
    store: Path, stage: str, key: str, product: str, needs: dict[str, str], seconds: float,
    arrays: dict[str, np.ndarray], **attrs: Any,
) -> None:  # fmt: skip
    digest = _digest(stage, key)
    every = {
        "stage": stage, "digest": digest, "device": "cpu", "cpu_seconds": seconds, **attrs,
        "identity": json.dumps({"needs": needs, "version": 1}),
        "versions": json.dumps({"cinefeat": "0.1.0", "numpy": "2"}),
    }  # fmt: skip
    write_product(store / stage / digest[:12] / f"{product}.h5", arrays, every)
