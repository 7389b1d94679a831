"""A small synthetic action data set, for the first run of a newcomer and for tests.

Rendered figures do one of six actions before textured, partly panning backgrounds. The label shows
in the motion alone: clothes belong to the actor; place, size, direction of view, background,
camera, film grain and length are drawn for each clip without regard to its action; and the pose in
any single frame is distributed alike for all actions (`demo_motion.py`).

Writes  ``<folder>/<action>/<actor>_<action>.avi`` (160 x 120, 25 frames a second, motion JPEG),
        ``<folder>/manifest.csv`` (path, label, group, frames, width, height; group = actor),
        ``<folder>/demo.json`` (what made the set: the folder's mark).
Cost    about 7 CPU seconds and 16 MB for the default of 36 clips.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cinefeat.pipeline.demo_motion import (
    ACTIONS,
    REST_RANGES,
    Array,
    Body,
    joint_angles,
    joint_positions,
    project,
)
from cinefeat.pipeline.demo_render import (
    Wardrobe,
    draw_backdrop,
    draw_figure,
    draw_wardrobe,
)
from cinefeat.pipeline.errors import InputError

WIDTH: Final = 160
HEIGHT: Final = 120
FPS: Final = 25
_QUALITY: Final = 92  # of the JPEG frames, of 100
_VERSION: Final = 1  # rises when the pixels change
_MARK: Final = "demo.json"


@dataclass(frozen=True)
class Actor:
    """What the clips of one group share: body, clothes and temperament."""

    name: str
    body: Body
    wardrobe: Wardrobe
    height_px: float
    tempo: float


@dataclass(frozen=True)
class Take:
    """All that is drawn by chance for one clip, without regard to its action."""

    n_frames: int
    rest: Mapping[str, float]
    phases: Mapping[str, float]
    foot: tuple[float, float]
    scale: float
    tempo: float
    yaw: float
    pitch: float
    is_mirrored: bool
    pan: Array  # (T, 2): displacement of the camera in pixels
    grain: float  # standard deviation in grey levels
    texture_seed: int


def draw_actor(index: int, seed: int) -> Actor:
    """Draw the body and the clothes of an actor."""
    rng = np.random.default_rng([seed, 1, index])
    trunk, limb = rng.uniform(0.94, 1.06, 2)
    body = Body(
        thigh=Body.thigh * limb,
        shank=Body.shank * limb,
        torso=Body.torso * trunk,
        upper_arm=Body.upper_arm * limb,
        forearm=Body.forearm * limb,
        shoulder=Body.shoulder * rng.uniform(0.9, 1.1),
    )
    height, tempo = rng.uniform(82, 94), rng.uniform(0.92, 1.1)
    return Actor(f"actor{index + 1:02d}", body, draw_wardrobe(rng), height, tempo)


def _draw_pan(rng: np.random.Generator, n_frames: int) -> Array:
    """Draw the path of the camera: still in half of the clips, a slow sweep in the others."""
    reach = rng.uniform(6, 9) * (rng.uniform() < 0.5)
    turn = rng.uniform(0, 2 * np.pi) + rng.uniform(0.03, 0.042) * np.arange(n_frames)
    return reach * np.sin(turn)[:, None] * [1.0, rng.uniform(-0.25, 0.25)]


def draw_take(rng: np.random.Generator, n_frames: tuple[int, int]) -> Take:
    """Draw everything about a clip that is neither its actor nor its action."""
    length = int(rng.integers(n_frames[0], n_frames[1] + 1))
    return Take(
        n_frames=length,
        rest={name: float(rng.uniform(*limits)) for name, limits in REST_RANGES.items()},
        phases={name: float(rng.uniform(0, 2 * np.pi)) for name in ACTIONS},
        foot=(WIDTH / 2 + float(rng.uniform(-16, 16)), HEIGHT - float(rng.uniform(10, 13))),
        scale=float(rng.uniform(0.97, 1.03)),
        tempo=float(rng.uniform(0.95, 1.05)),
        yaw=float(np.radians(rng.uniform(30, 50))),
        pitch=float(np.radians(rng.uniform(5, 10))),
        is_mirrored=bool(rng.uniform() < 0.5),
        pan=_draw_pan(rng, length),
        grain=float(rng.choice([0, 0, 1, 2])),
        texture_seed=int(rng.integers(2**32)),
    )


def draw_clips(
    n_actors: int, seed: int, n_frames: tuple[int, int]
) -> Iterator[tuple[str, Actor, Take]]:
    """Draw the clips of a set in the order of its manifest; more actors change none of the others."""
    actors = [draw_actor(index, seed) for index in range(n_actors)]
    for number, label in enumerate(ACTIONS):
        for index, actor in enumerate(actors):
            rng = np.random.default_rng([seed, 2, index, number])
            yield label, actor, draw_take(rng, n_frames)


def on_screen(label: str, actor: Actor, take: Take) -> tuple[dict[str, Array], float]:
    """Compute each joint's course, (T, 3) x, y and nearness, and the body's height, in pixels."""
    tempo = actor.tempo * take.tempo
    seconds = np.arange(take.n_frames) / FPS
    angles = joint_angles(label, take.rest, take.phases, seconds, tempo=tempo)
    scale = actor.height_px * take.scale
    mirror = -1 if take.is_mirrored else 1
    course = {}
    for name, joint in joint_positions(angles, actor.body).items():
        seen = project(joint, take.yaw, take.pitch) * [mirror * scale, scale, scale]
        seen[:, :2] += np.asarray(take.foot) - take.pan
        course[name] = seen
    return course, scale


def render(label: str, actor: Actor, take: Take) -> Iterator[NDArray[np.uint8]]:
    """Render the frames of one clip, (120, 160, 3) uint8 in BGR order.

    The first frame is the same for every `label`: only what follows shows the action.
    """
    rng = np.random.default_rng(take.texture_seed)
    course, scale = on_screen(label, actor, take)
    backdrop = draw_backdrop(rng, WIDTH, HEIGHT, take.foot, 0.3 * scale)
    for t, (x, y) in enumerate(take.pan):
        image = backdrop.seen_from(x, y, WIDTH, HEIGHT)
        joints = {name: joint[t] for name, joint in course.items()}
        draw_figure(image, joints, actor.wardrobe, scale, flip=take.is_mirrored)
        image += take.grain * rng.standard_normal((HEIGHT, WIDTH, 1), np.float32)
        yield np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _count_frames(path: Path) -> int:
    """Count the frames that can be decoded; 0 where there is no readable file."""
    capture = cv2.VideoCapture(str(path)) if path.is_file() else None
    n_frames = 0
    while capture is not None and capture.grab():
        n_frames += 1
    return n_frames


def _write_video(path: Path, frames: Iterator[NDArray[np.uint8]], n_frames: int) -> None:
    """Write a motion JPEG file that exists under its name only once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial_{path.name}")
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    # OpenCV's own encoder is in every build of it, unlike those of FFmpeg
    writer = cv2.VideoWriter(str(partial), cv2.CAP_OPENCV_MJPEG, codec, FPS, (WIDTH, HEIGHT))
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, _QUALITY)
    try:
        for frame in frames:
            writer.write(frame)
        writer.release()
        # OpenCV reports neither a full disk nor a folder that cannot be written
        if _count_frames(partial) != n_frames:
            raise InputError(f"{path} cannot be written: free some space or name another folder")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(f".partial_{path.name}")
    partial.write_text(text, encoding="utf-8", newline="")
    os.replace(partial, path)


def _claim(folder: Path, made_by: Mapping[str, Any]) -> None:
    """Make the folder and its mark; refuse one that holds anything else."""
    mark = folder / _MARK
    text = json.dumps(made_by, indent=1) + "\n"
    if mark.is_file():
        if mark.read_text(encoding="utf-8") != text:
            raise InputError(
                f"{folder} holds a demo set of other settings ({mark}): delete it or name another"
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty and no demo set: name a new or an empty folder")
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write_text(mark, text)
        except OSError as error:
            raise InputError(
                f"{folder} cannot be written ({error}): name another folder"
            ) from error


def write_demo(
    folder: Path,
    *,
    n_actors: int = 6,
    seed: int = 0,
    n_frames: tuple[int, int] = (48, 60),
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the demo data set: every action by every actor, one video each.

    The same arguments give the same pixels. What an earlier, interrupted call left whole is kept.

    Parameters
    ----------
    folder : Path
        A new or empty folder, or one that an earlier call with the same settings wrote.
    n_actors : int
        Number of actors, the groups of the set; at least 1.
    seed : int
        Seed of everything that is drawn by chance, not negative.
    n_frames : pair of int
        Least and greatest length of a clip, in frames.
    progress : callable, optional
        Called after each clip with the number of clips that are done and that of all.

    Returns
    -------
    list of Path
        The videos, sorted by action and actor.

    Raises
    ------
    InputError
        If `folder` holds something else, or cannot be written.
    ValueError
        If a number is out of its range.
    """
    if n_actors < 1 or seed < 0 or not 1 <= n_frames[0] <= n_frames[1]:
        raise ValueError(
            f"n_actors={n_actors}, seed={seed}, n_frames={n_frames}: need at least one actor, "
            "a seed of at least 0 and 1 <= shortest <= longest"
        )
    made_by = {"version": _VERSION, "n_actors": n_actors, "seed": seed, "n_frames": list(n_frames)}
    _claim(folder, made_by)
    clips = list(draw_clips(n_actors, seed, n_frames))
    paths, rows = [], ["path,label,group,frames,width,height\n"]
    for number, (label, actor, take) in enumerate(clips):
        path = folder / label / f"{actor.name}_{label}.avi"
        if _count_frames(path) != take.n_frames:
            _write_video(path, render(label, actor, take), take.n_frames)
        relative = path.relative_to(folder).as_posix()
        rows.append(f"{relative},{label},{actor.name},{take.n_frames},{WIDTH},{HEIGHT}\n")
        paths.append(path)
        if progress is not None:
            progress(number + 1, len(clips))
    _write_text(folder / "manifest.csv", "".join(rows))
    return paths
