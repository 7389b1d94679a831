"""Pairs of grey images with a known motion, for the tests of flow and camera motion."""

import cv2
import numpy as np
from numpy.typing import NDArray

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]


def texture(height: int, width: int, seed: int = 0, grain: float = 2.0) -> Float32:
    """Smooth noise with detail at several sizes, in 0..255."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width), np.float32)
    for octave in range(4):
        sigma = grain * 2**octave
        noise = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), sigma)
        total += (noise / noise.std()).astype(np.float32) * 1.5**octave
    return np.clip(128 + 35 * total / total.std(), 0, 255)


def eight_bit(image: Float32) -> Uint8:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def shifted_pair(shift: tuple[float, float], size: tuple[int, int] = (96, 128)) -> list[Uint8]:
    """A texture, and the same moved by `shift` (x, y) px."""
    height, width = size
    still = texture(height + 40, width + 40)
    centre = (20 + (width - 1) / 2, 20 + (height - 1) / 2)
    moved = (centre[0] - shift[0], centre[1] - shift[1])
    crops = [cv2.getRectSubPix(still, (width, height), c) for c in (centre, moved)]
    return [eight_bit(crop) for crop in crops]


def camera_pair(
    homography: NDArray[np.float64], foreground: tuple[int, int] | None
) -> tuple[Uint8, Uint8, NDArray[np.bool_]]:
    """A still of 240 x 320 seen by a moving camera, with a moving square over 30 % of it.

    `foreground` is the displacement (x, y) of the square, or None. The last item marks the
    pixels of the background in both frames.
    """
    height, width, margin = 240, 320, 60
    still = texture(height + 2 * margin, width + 2 * margin, seed=3)
    to_still = np.float64([[1, 0, margin], [0, 1, margin], [0, 0, 1]])
    frames = [
        cv2.warpPerspective(still, h @ np.linalg.inv(to_still), (width, height), flags=2)
        for h in (np.eye(3), homography)
    ]
    background = np.ones((height, width), bool)
    if foreground is not None:
        patch = texture(144, 160, seed=4, grain=1.0)
        for frame, (x, y) in zip(
            frames, ((70, 50), (70 + foreground[0], 50 + foreground[1])), strict=True
        ):
            frame[y : y + 144, x : x + 160] = patch
            background[y : y + 144, x : x + 160] = False
    return eight_bit(frames[0]), eight_bit(frames[1]), background
