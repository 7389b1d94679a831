"""Videos whose motion is known: pure numpy and OpenCV, the same bytes for the same arguments.

Pixel centres lie on whole coordinates (x to the right, y downward); flow is the displacement from
one frame to the next in pixels, components (x, y).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
Flow = NDArray[np.float32]


@dataclass(frozen=True)
class Texture:
    """A smooth function of the plane, a sum of plane waves: exact at any fraction of a pixel."""

    waves: NDArray[np.float64]  # (n, 2) radians per pixel along x and y
    phases: NDArray[np.float64]  # (n,)
    weights: NDArray[np.float64]  # (n, C)

    def __call__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the grey levels at the points: (..., C), mean 128 and standard deviation 40."""
        angle = x[..., None] * self.waves[:, 0] + y[..., None] * self.waves[:, 1] + self.phases
        return 128 + 40 * np.cos(angle) @ self.weights


def make_texture(
    seed: int = 0,
    *,
    n_channels: int = 1,
    shortest: float = 6,
    longest: float = 48,
    n_waves: int = 48,
) -> Texture:
    """Draw a texture of wavelengths from `shortest` to `longest` pixels in all directions."""
    rng = np.random.default_rng(seed)
    length = shortest * (longest / shortest) ** rng.uniform(size=n_waves)
    turn = rng.uniform(0, 2 * np.pi, n_waves)
    waves = 2 * np.pi / length[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    weights = rng.uniform(0.3, 1, (n_waves, n_channels)) * np.sqrt(length)[:, None]
    # the variance of a sum of cosines with random phases is half the sum of squares
    weights /= np.sqrt((weights**2).sum(axis=0) / 2)
    return Texture(waves, rng.uniform(0, 2 * np.pi, n_waves), weights)


def _grid(height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return x, y


def _to_uint8(values: NDArray[np.float64]) -> Frames:
    """Round to grey levels; a single channel loses its axis."""
    image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return image[..., 0] if image.shape[-1] == 1 else image


def textured_image(height: int, width: int, seed: int = 0, n_channels: int = 1) -> Frames:
    """Return a textured image, (H, W) or (H, W, C) uint8."""
    return _to_uint8(make_texture(seed, n_channels=n_channels)(*_grid(height, width)))


def moving_texture(
    n_frames: int,
    height: int,
    width: int,
    *,
    shift: tuple[float, float] = (0, 0),
    zoom: float = 1.0,
    rotation_degrees: float = 0.0,
    seed: int = 0,
    n_channels: int = 1,
) -> tuple[Frames, Flow]:
    """Return a video of a plane that is moved alike from every frame to the next, and its flow.

    Each frame zooms and turns the one before about the centre of the image and then shifts it.
    A positive turn goes from x to y: clockwise on the screen.

    Parameters
    ----------
    n_frames, height, width : int
        T, H and W.
    shift : pair of float
        Pixels per frame along x and y.
    zoom : float
        Growth per frame, 1 for none.
    rotation_degrees : float
        Turn per frame.
    seed : int
        Seed of the texture.
    n_channels : int
        C; 1 gives grey frames without that axis.

    Returns
    -------
    frames : ndarray of shape (T, H, W) or (T, H, W, C), uint8
    flow : ndarray of shape (T-1, H, W, 2), float32
        Exact to rounding. The grey levels are exact too: nothing is interpolated.
    """
    texture = make_texture(seed, n_channels=n_channels)
    x, y = _grid(height, width)
    middle = complex((width - 1) / 2, (height - 1) / 2)
    point = x + 1j * y  # the plane as complex numbers: a similarity is a product and a sum
    growth, step = zoom * np.exp(1j * np.radians(rotation_degrees)), complex(*shift)
    flow = middle + growth * (point - middle) + step - point
    frames, source = [], point
    for _ in range(n_frames):
        frames.append(_to_uint8(texture(source.real, source.imag)))
        source = middle + (source - step - middle) / growth
    field = np.stack([flow.real, flow.imag], axis=-1).astype(np.float32)
    return np.stack(frames), np.repeat(field[None], n_frames - 1, axis=0)


def moving_square(
    n_frames: int,
    height: int,
    width: int,
    *,
    side: float = 24,
    start: tuple[float, float] | None = None,
    velocity: tuple[float, float] = (1, 0),
    pan: tuple[float, float] = (0, 0),
    seed: int = 0,
) -> tuple[Frames, Flow]:
    """Return a video of a textured square that crosses a still or moving scene, and its flow.

    Parameters
    ----------
    n_frames, height, width : int
        T, H and W.
    side : float
        Side of the square in pixels.
    start : pair of float, optional
        Centre of the square in the first frame; by default that of the image.
    velocity : pair of float
        Pixels per frame of the square on the screen, whatever the scene does.
    pan : pair of float
        Pixels per frame of the scene behind it.
    seed : int
        Seed of both textures.

    Returns
    -------
    frames : ndarray of shape (T, H, W), uint8
    flow : ndarray of shape (T-1, H, W, 2), float32
        `velocity` at the pixels whose centre the square covers in the first frame of the pair,
        `pan` elsewhere. Background that the square covers next has the flow of the background.
    """
    scene, patch = make_texture(seed), make_texture(seed + 1, shortest=4, longest=16)
    x, y = _grid(height, width)
    first = ((width - 1) / 2, (height - 1) / 2) if start is None else start
    frames, flow = [], []
    for t in range(n_frames):
        u, v = x - first[0] - t * velocity[0], y - first[1] - t * velocity[1]
        edge = side / 2 - np.maximum(np.abs(u), np.abs(v))  # > 0 inside
        cover = np.clip(edge + 0.5, 0, 1)[..., None]
        behind = scene(x - t * pan[0], y - t * pan[1])
        frames.append(_to_uint8(behind + cover * (patch(u, v) - behind)))
        flow.append(np.where(edge[..., None] > 0, velocity, pan).astype(np.float32))
    return np.stack(frames), np.stack(flow)[:-1]


def write_video(path: Path, frames: Sequence[Frames] | Frames, fps: float = 25) -> Path:
    """Write grey (H, W) or RGB (H, W, 3) frames as motion JPEG (.avi), and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = frames[0].shape[1::-1]
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, codec, fps, size)
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 95)
    for frame in frames:
        code = cv2.COLOR_GRAY2BGR if frame.ndim == 2 else cv2.COLOR_RGB2BGR
        writer.write(cv2.cvtColor(frame, code))
    writer.release()
    return path


MOTIONS = ("sideways", "turning", "updown")


def motion_only_frames(
    label: str, seed: int, *, n_frames: int = 24, height: int = 96, width: int = 112
) -> Frames:
    """Return a clip of two textured discs that swing sideways or up and down, or turn.

    A disc's place is its home plus a swing along x and one along y, and it is turned by an angle;
    each of the three has a phase of its own. Only the phase that `label` (one of `MOTIONS`) names
    runs, so that a single frame shows nothing of it. In every other clip, by chance, the scene
    drifts as a whole.
    """
    rng = np.random.default_rng(seed)
    scene = make_texture(seed + 1000, longest=96, n_waves=24)
    patch = make_texture(seed + 2000, longest=24, n_waves=24)
    x, y = _grid(height, width)
    phases, speed = rng.uniform(0, 2 * np.pi, (2, 3)), rng.uniform(0.30, 0.38)
    runs = speed * np.array([label == name for name in ("sideways", "updown", "turning")])
    homes = np.array([[0.3 * width, 0.5 * height], [0.7 * width, 0.5 * height]])
    homes += rng.uniform(-5, 5, (2, 2))
    drift = rng.uniform(-0.2, 0.2, 2) * (rng.uniform() < 0.5)
    frames = []
    for t in range(n_frames):
        image = 64 + 0.5 * scene(x - t * drift[0], y - t * drift[1])
        for home, (along_x, along_y, turn) in zip(homes, phases + t * runs, strict=True):
            center = home + t * drift + 8 * np.sin([along_x, along_y])
            _paste_disc(image, patch, center, radius=15, angle=0.7 * turn)
        frames.append(_to_uint8(image))
    return np.stack(frames)


def _paste_disc(
    image: NDArray[np.float64],
    patch: Texture,
    center: NDArray[np.float64],
    radius: float,
    angle: float,
) -> None:
    """Draw a turned disc with a smooth edge into an image (H, W, 1), in place."""
    low = np.maximum(np.floor(center - radius - 1), 0).astype(int)
    high = np.ceil(center + radius + 2).astype(int)
    region = image[low[1] : high[1], low[0] : high[0]]
    x, y = _grid(*region.shape[:2])
    point = (x + low[0] - center[0]) + 1j * (y + low[1] - center[1])
    source = point * np.exp(-1j * angle)
    cover = np.clip(radius + 0.5 - np.abs(point), 0, 1)[..., None]
    region += cover * (patch(source.real, source.imag) - region)


def motion_only_videos(
    folder: Path, n_groups: int = 6, *, seed: int = 0, n_frames: int = 24
) -> list[Path]:
    """Write one clip of each motion for every group, and a manifest beside them.

    The layout is that of a data set of class folders: ``<label>/<group>_<label>.avi`` and
    ``manifest.csv`` (path, label, group, frames, width, height).
    """
    paths, rows = [], []
    for number, (label, group) in enumerate((m, g) for m in MOTIONS for g in range(n_groups)):
        frames = motion_only_frames(label, seed + number, n_frames=n_frames)
        name = f"{label}/g{group + 1:02d}_{label}.avi"
        paths.append(write_video(folder / name, frames))
        rows.append((name, label, f"g{group + 1:02d}", len(frames), *frames.shape[:0:-1]))
    with (folder / "manifest.csv").open("w", newline="") as file:
        header = ("path", "label", "group", "frames", "width", "height")
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return paths
