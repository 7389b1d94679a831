"""How the demo data set looks: noise textures, shaded limbs, a wall, a floor and a slow camera.

Limbs are tapered capsules drawn by their distance function, so that edges are smooth and move by
fractions of a pixel, and their textures are fixed to them. Colours are BGR, as OpenCV has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cinefeat.pipeline.demo_motion import Array

Image = NDArray[np.float32]

_LIGHT: Final = np.array([-0.5, -0.85])  # direction to the lamp on the screen: right, down
_MARGIN: Final = 24  # pixels of background beyond each edge of the frame, for the pan


def noise(rng: np.random.Generator, height: int, width: int, coarsest: float = 32) -> Image:
    """Draw a texture of zero mean and unit variance with detail from `coarsest` to 2 pixels.

    Octaves of smooth noise are added; each next one is twice as fine and 0.75 times as strong.
    """
    total = np.zeros((height, width), np.float32)
    cell, weight = coarsest, 1.0
    while cell >= 2:
        grid = rng.standard_normal((int(height / cell) + 3, int(width / cell) + 3))
        scaled = cv2.resize(
            grid.astype(np.float32), None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC
        )
        total += weight * scaled[:height, :width]
        cell, weight = cell / 2, weight * 0.75
    return (total - total.mean()) / total.std()


def _tint(pattern: Image, color: Array, contrast: float) -> Image:
    """Colour a pattern of unit variance: (H, W, 3) around `color`, in grey levels."""
    return (color * (1 + contrast * pattern[..., None])).astype(np.float32)


def _hsv(hue: float, saturation: float, value: float) -> Array:
    pixel = np.array([[[hue % 1 * 360, saturation, value]]], np.float32)
    return 255 * cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float64)


def _fabric(rng: np.random.Generator, size: int) -> Image:
    """Draw a pattern of unit variance: noise, with stripes, hoops or checks over it."""
    pattern = noise(rng, size, size, 8)
    period = rng.uniform(6, 10)
    turn = 2 * np.pi * np.mgrid[:size, :size] / period
    across, along = np.sin(turn + rng.uniform(0, 6, (2, 1, 1)))
    weave = (0 * along, along, across, along * across)[int(rng.integers(4))]
    pattern = pattern * 0.8 + 1.2 * np.tanh(3 * weave).astype(np.float32)
    return (pattern - pattern.mean()) / pattern.std()


@dataclass(frozen=True)
class Wardrobe:
    """Textures of one actor by material, each (64, 64, 3); rows run across a limb, columns along."""

    textures: Mapping[str, Image]
    has_long_sleeves: bool
    has_long_trousers: bool
    girth: float


_SIZE: Final = 64  # pixels of a limb's texture; the middle row lies on the bone


def _head(rng: np.random.Generator, skin: Image, hair: Array) -> Image:
    """Paint hair over the crown and the back of the head, and an eye at the front."""
    head = skin.copy()
    across, along = np.mgrid[:_SIZE, :_SIZE].astype(np.float32) - _SIZE / 2
    is_hair = np.clip((along - 2.5) - 0.9 * across, 0, 1)[..., None]
    head += is_hair * (_tint(noise(rng, _SIZE, _SIZE, 4), hair, 0.25) - head)
    eye = np.exp(-((along - 1.0) ** 2 + (across - 3.2) ** 2) / 1.2)[..., None]
    return head * (1 - 0.75 * eye)


def draw_wardrobe(rng: np.random.Generator) -> Wardrobe:
    """Dress an actor: colours, patterns and cuts drawn by chance."""
    skin_color = _hsv(rng.uniform(0.04, 0.08), rng.uniform(0.3, 0.55), rng.uniform(0.5, 0.95))
    skin = _tint(noise(rng, _SIZE, _SIZE, 8), skin_color, 0.10)
    hair = _hsv(rng.uniform(0.03, 0.12), rng.uniform(0.3, 0.7), rng.uniform(0.12, 0.5))
    shirt_hue = rng.uniform()
    shirt = _hsv(shirt_hue, rng.uniform(0.35, 0.75), rng.uniform(0.6, 0.95))
    trousers = _hsv(
        shirt_hue + rng.uniform(0.3, 0.7), rng.uniform(0.2, 0.6), rng.uniform(0.35, 0.7)
    )
    shoe = _hsv(rng.uniform(), 0.3, rng.uniform(0.2, 0.9))
    textures = {
        "skin": skin,
        "head": _head(rng, skin, hair),
        "shirt": _tint(_fabric(rng, _SIZE), shirt, 0.2),
        "trousers": _tint(_fabric(rng, _SIZE), trousers, 0.2),
        "shoe": _tint(noise(rng, _SIZE, _SIZE, 4), shoe, 0.2),
    }
    sleeves, legs = rng.uniform(size=2) < 0.5
    return Wardrobe(textures, bool(sleeves), bool(legs), float(rng.uniform(0.9, 1.15)))


@dataclass(frozen=True)
class Limb:
    """A capsule between two joints; radii in body heights; `nearness` is added to its depth."""

    start: str
    end: str
    start_radius: float
    end_radius: float
    material: str
    nearness: float = 0.0


def limbs(wardrobe: Wardrobe) -> list[Limb]:
    """List the limbs of a figure with the material that covers each."""
    forearm = "shirt" if wardrobe.has_long_sleeves else "skin"
    shank = "trousers" if wardrobe.has_long_trousers else "skin"
    figure = [
        Limb("pelvis", "neck", 0.076, 0.098, "shirt"),
        Limb("pelvis", "pelvis", 0.080, 0.080, "trousers", 0.04),
        Limb("neck", "chin", 0.034, 0.034, "skin", -0.01),
        Limb("chin", "crown", 0.058, 0.068, "head", 0.01),
    ]
    for side in ("right", "left"):
        figure += [
            Limb(f"hip_{side}", f"knee_{side}", 0.064, 0.047, "trousers", 0.01),
            Limb(f"knee_{side}", f"ankle_{side}", 0.045, 0.031, shank),
            Limb(f"ankle_{side}", f"toe_{side}", 0.034, 0.027, "shoe", 0.01),
            Limb(f"shoulder_{side}", f"elbow_{side}", 0.047, 0.037, "shirt", 0.02),
            Limb(f"elbow_{side}", f"hand_{side}", 0.040, 0.031, forearm, 0.02),
            Limb(f"hand_{side}", f"hand_{side}", 0.040, 0.040, "skin", 0.03),
        ]
    return figure


def draw_capsule(
    image: Image,
    start: Array,
    end: Array,
    radii: tuple[float, float],
    texture: Image,
    *,
    length: float,
    flip: bool = False,
) -> None:
    """Draw a shaded, textured, tapered capsule into an image, in place.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3), float32
        Grey levels; pixel centres lie on whole coordinates.
    start, end : ndarray of shape (2,)
        Centres of the two round ends, x and y in pixels.
    radii : pair of float
        Radius at each end, in pixels.
    texture : ndarray of shape (S, S, 3), float32
        Column S/2 lies on `start`, and the columns run along the axis.
    length : float
        Pixels of texture between the ends: more than their distance for a foreshortened limb.
    flip : bool
        Whether the rows of the texture run the other way.
    """
    reach = max(radii) + 1
    low = np.maximum(np.floor(np.minimum(start, end) - reach), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(start, end) + reach) + 1, image.shape[1::-1]).astype(int)
    if (low >= high).any():
        return
    axis = end - start
    span = float(np.hypot(*axis))
    axis = axis / span if span > 1e-6 else np.array([0.0, -1.0])
    dx = np.arange(low[0], high[0], dtype=np.float32) - np.float32(start[0])
    dy = np.arange(low[1], high[1], dtype=np.float32)[:, None] - np.float32(start[1])
    along = dx * np.float32(axis[0]) + dy * np.float32(axis[1])
    across = dy * np.float32(axis[0]) - dx * np.float32(axis[1])
    inside = np.clip(along, 0, np.float32(span))
    radius = np.float32(radii[0]) + inside * np.float32((radii[1] - radii[0]) / max(span, 1e-6))
    coverage = np.clip(radius + 0.5 - np.hypot(along - inside, across), 0, 1)
    tilt = np.clip(across / radius, -1, 1)
    facing = float(_LIGHT @ [-axis[1], axis[0]])
    shade = 0.5 + 0.5 * np.sqrt(1 - tilt**2) + np.float32(0.22 * facing) * tilt
    middle = texture.shape[0] / 2
    # a limb that points at the camera would show its texture finer than the pixels
    stretch = min(length / span, 3.0) if span > 1e-6 else 1.0
    columns = (middle + along * stretch).astype(np.float32)
    rows = (middle + (-across if flip else across)).astype(np.float32)
    color = cv2.remap(texture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    region = image[low[1] : high[1], low[0] : high[0]]
    region += coverage[..., None] * (color * shade[..., None] - region)


def draw_figure(
    image: Image, joints: Mapping[str, Array], wardrobe: Wardrobe, scale: float, *, flip: bool
) -> None:
    """Draw a figure into an image, far limbs first, in place.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3), float32
        Grey levels.
    joints : mapping to ndarray of shape (3,)
        Each joint's place: x, y and nearness, in pixels.
    wardrobe : Wardrobe
        What the figure wears.
    scale : float
        Height of the body in pixels.
    flip : bool
        Whether the figure is seen in a mirror.
    """

    def nearness(limb: Limb) -> float:
        depth = (joints[limb.start][2] + joints[limb.end][2]) / 2
        return float(depth + limb.nearness * scale)

    for limb in sorted(limbs(wardrobe), key=nearness):
        start, end = joints[limb.start], joints[limb.end]
        girth = scale * wardrobe.girth
        draw_capsule(
            image,
            start[:2],
            end[:2],
            (girth * limb.start_radius, girth * limb.end_radius),
            wardrobe.textures[limb.material],
            length=float(np.linalg.norm(end - start)),
            flip=flip,
        )


@dataclass(frozen=True)
class Backdrop:
    """A wall and a floor, larger than the frame by a margin for the pan."""

    canvas: Image

    def seen_from(self, x: float, y: float, width: int, height: int) -> Image:
        """Cut out the frame for a camera that is displaced by (x, y) pixels, interpolated."""
        center = (_MARGIN + (width - 1) / 2 + x, _MARGIN + (height - 1) / 2 + y)
        return cv2.getRectSubPix(self.canvas, (width, height), center)


def draw_backdrop(
    rng: np.random.Generator, width: int, height: int, foot: tuple[float, float], spread: float
) -> Backdrop:
    """Paint a wall and a floor of random colour and texture, and a shadow around `foot`.

    `foot` is where the figure stands (x, y), and `spread` the half width of its shadow, in pixels
    of the frame before any pan.
    """
    rows, columns = height + 2 * _MARGIN, width + 2 * _MARGIN
    hue = rng.uniform()
    wall = _hsv(hue, rng.uniform(0.03, 0.28), rng.uniform(0.5, 0.8))
    floor = _hsv(hue + rng.uniform(-0.2, 0.2), rng.uniform(0.1, 0.35), rng.uniform(0.35, 0.6))
    contrast = rng.uniform(0.07, 0.12)
    y, x = np.mgrid[:rows, :columns].astype(np.float32) - _MARGIN
    horizon = foot[1] - rng.uniform(0.08, 0.16) * height
    is_floor = np.clip(y - horizon + 0.5, 0, 1)[..., None]
    boards = cv2.resize(noise(rng, rows, columns // 2, 12), (columns, rows))
    canvas = _tint(noise(rng, rows, columns, 48), wall, contrast)
    canvas *= (0.85 + 0.15 * y / height)[..., None]
    canvas += is_floor * (_tint(boards, floor, contrast) - canvas)
    distance = ((x - foot[0]) / spread) ** 2 + ((y - foot[1]) / (0.28 * spread)) ** 2
    canvas *= 1 - 0.5 * np.exp(-distance)[..., None]
    return Backdrop(np.ascontiguousarray(canvas, np.float32))
