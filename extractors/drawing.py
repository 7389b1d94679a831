"""Pictures of motion: flow as colours, tracks as lines.

The colours are those of the Middlebury flow benchmark, whose `colorcode.cpp` they follow value for
value. Tracks are drawn as the authors of dense trajectories draw them: from black where a track
began to green where it is now, a red dot at its end. Pictures are RGB and uint8; nothing is written
here.
"""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

UNKNOWN_FLOW = 1e9  # px; Middlebury's files mark unknown pixels by values above it
_SLICES = (15, 6, 4, 11, 13, 6)  # colours from red to yellow, green, cyan, blue, magenta, red
_BEYOND = 0.75  # brightness of motion beyond the range
_FRACTION_BITS = 4  # of coordinates given to OpenCV: sixteenths of a pixel
_GREEN, _RED, _WHITE = np.array([0, 255, 0]), (255, 0, 0), (255, 255, 255)


def colour_wheel() -> Picture:
    """Return the 55 colours of the Middlebury wheel: (55, 3) uint8, from red through yellow.

    Examples
    --------
    >>> colour_wheel()[[0, 15, 21, 25, 36, 49]].tolist()
    [[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255]]
    """
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]]) * 255
    ends = np.roll(corners, -1, axis=0)
    # the ramp is floor(255 i / n), and falls as 255 minus that
    ramps = [255 * np.arange(n)[:, None] // n for n in _SLICES]
    slices = [a + np.sign(b - a) * ramp for a, b, ramp in zip(corners, ends, ramps, strict=True)]
    return np.concatenate(slices).astype(np.uint8)


def flow_colours(flow: NDArray[np.floating], max_motion: float) -> Picture:
    """Paint flow in the colours of the Middlebury benchmark: direction as hue, speed as saturation.

    No motion is white, motion of `max_motion` has the full colour, and what is faster has it at
    three quarters of the brightness. To the right is red, down yellow, left blue, up violet.

    Parameters
    ----------
    flow : ndarray of shape (H, W, 2)
        Pixels, x to the right and y downward. Not modified.
    max_motion : float
        Pixels of the fullest colour; above 0.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
        RGB. Unknown flow (NaN, or above 1e9 px) is black.

    Raises
    ------
    ValueError
        If `flow` is of another shape or `max_motion` is not above 0.

    References
    ----------
    Baker, Scharstein, Lewis, Roth, Black, Szeliski. A database and evaluation methodology for
    optical flow. IJCV 2011; the colours are those of the `colorcode.cpp` that goes with it.

    Examples
    --------
    >>> flow_colours(np.float32([[[2, 0], [0, 0], [1, 0], [0, 2]]]), max_motion=2)[0].tolist()
    [[255, 0, 0], [255, 255, 255], [255, 127, 127], [255, 229, 0]]
    """
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise ValueError(f"flow has shape {flow.shape}; give (H, W, 2)")
    if not max_motion > 0:
        raise ValueError(f"max_motion is {max_motion}; it must be above 0")
    is_known = (np.abs(flow) <= UNKNOWN_FLOW).all(axis=2)
    # adding zero turns -0 into 0, for the sign of zero decides on which side of the wheel it lies
    x, y = np.moveaxis(np.where(is_known[..., None], flow, 0) / np.float64(max_motion) + 0.0, 2, 0)
    wheel = colour_wheel() / 255.0
    place = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (len(wheel) - 1)
    below = place.astype(np.int64)
    share = (place - below)[..., None]
    colour = (1 - share) * wheel[below] + share * wheel[(below + 1) % len(wheel)]
    speed = np.hypot(x, y)[..., None]
    colour = np.where(speed <= 1, 1 - speed * (1 - colour), colour * _BEYOND)
    return (255 * colour * is_known[..., None]).astype(np.uint8)


def flow_legend(side: int) -> Picture:
    """Return a disc of all directions and speeds up to the fullest colour, on white.

    Parameters
    ----------
    side : int
        Pixels of the square picture.

    Examples
    --------
    >>> flow_legend(65)[32, [0, 32, 64]].tolist()  # left, centre, right
    [[0, 209, 255], [255, 255, 255], [255, 0, 0]]
    """
    radius = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - radius
    disc = flow_colours(np.stack([x, y], axis=2), max(radius, 1.0))
    disc[np.hypot(x, y) > radius] = 255
    return disc


def draw_tracks(
    picture: Picture,
    tracks: Iterable[NDArray[np.floating]],
    removed: Iterable[NDArray[np.floating]] = (),
) -> Picture:
    """Draw tracks over a picture, coloured by age, and those that were removed in white.

    Parameters
    ----------
    picture : ndarray of shape (H, W, 3), uint8
        The frame in which the tracks end. Not modified.
    tracks : iterable of ndarray of shape (P, 2)
        The positions x, y of each track up to this frame, oldest first, in pixels; P may be 1.
        Step j of n is green of brightness ``(j + 1) / (n + 1)``, so that the oldest is the
        darkest; a red dot marks the last position.
    removed : iterable of ndarray of shape (P, 2)
        Tracks drawn in white, below the others and without a dot: those that follow the camera.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8

    References
    ----------
    Wang, Klaser, Schmid, Liu. Dense trajectories and motion boundary descriptors for action
    recognition. IJCV 2013, figure 1; Wang, Schmid. Action recognition with improved trajectories.
    ICCV 2013, for the removed tracks in white.

    Examples
    --------
    >>> black = np.zeros((9, 20, 3), np.uint8)
    >>> drawn = draw_tracks(black, [np.array([[2.0, 4.0], [8.0, 4.0], [14.0, 4.0]])])
    >>> drawn[4, [4, 10, 14]].tolist()
    [[0, 85, 0], [0, 170, 0], [255, 0, 0]]
    """
    drawn = picture.copy()
    for track in removed:
        points = _sixteenths(track)[:, None]
        cv2.polylines(drawn, [points], False, _WHITE, shift=_FRACTION_BITS)
    every = [_sixteenths(track) for track in tracks]
    for points in every:
        for j, (a, b) in enumerate(zip(points[:-1].tolist(), points[1:].tolist(), strict=True)):
            colour = (_GREEN * (j + 1) // len(points)).tolist()
            cv2.line(drawn, a, b, colour, shift=_FRACTION_BITS)
    for points in every:
        cv2.circle(drawn, points[-1].tolist(), 1 << _FRACTION_BITS, _RED, -1, shift=_FRACTION_BITS)
    return drawn


def _sixteenths(track: NDArray[np.floating]) -> NDArray[np.int32]:
    return np.rint(np.asarray(track) * (1 << _FRACTION_BITS)).astype(np.int32)
