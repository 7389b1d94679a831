"""Where the flow of each pyramid level comes from: estimated pair by pair, or given as fields."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from cinefeat.extractors.camera_motion import pull_back
from cinefeat.extractors.trajectories import Level, Planes

GrayPair = tuple[np.ndarray, np.ndarray]
# a pair of frames (or of their pyramids), and for each level the flow to track on and to describe
Motion = tuple[Any, Any, list, list]
Camera = Callable[[np.ndarray, np.ndarray, Any], np.ndarray]  # of a pair and its finest flow
Estimator = tuple[
    Callable[[np.ndarray, Sequence[Level]], Any],  # prepare a frame
    Callable[[Any, Any, Sequence[Level]], list],  # the flows of the levels between two of them
]


def flow_pyramid(field: np.ndarray, levels: Iterable[Level]) -> list[Planes]:
    """Average a full-resolution flow field down to each level and divide it by the scale.

    Parameters
    ----------
    field : ndarray of shape (H, W, 2), float32
        Displacements (x, y) in full-resolution pixels per frame.
    levels : iterable of Level

    Returns
    -------
    list of pair of ndarray of shape (h, w), float32
        x and y components in pixels of the level.

    Examples
    --------
    >>> field = np.full((8, 8, 2), 3, np.float32)
    >>> x, y = flow_pyramid(field, [Level(np.float32(2), 4, 4)])[0]
    >>> x.shape, float(x[0, 0])
    ((4, 4), 1.5)
    """
    planes = [np.ascontiguousarray(field[..., c], np.float32) for c in (0, 1)]
    pyramid = []
    for level in levels:
        size = (level.width, level.height)
        x, y = (cv2.resize(p, size, interpolation=cv2.INTER_AREA) / level.scale for p in planes)
        pyramid.append((x, y))
    return pyramid


def _next_field(fields: Iterator[np.ndarray], i: int, name: str, shape: tuple) -> np.ndarray:
    field = next(fields, None)
    if field is None:
        raise ValueError(f"{name} ends after {i} fields; give one for each pair of frames")
    if field.shape != (*shape, 2):
        raise ValueError(f"{name} field {i} has shape {field.shape}; the frames need {(*shape, 2)}")
    if not np.isfinite(field).all():
        raise ValueError(f"{name} field {i} holds NaN or infinity; replace those pixels first")
    return field


def gray_pyramid(gray: np.ndarray, levels: Iterable[Level]) -> list[np.ndarray]:
    """Resize a grey frame level by level, 8 bit to 8 bit, bilinearly and without a blur."""
    pyramid: list[np.ndarray] = []
    for level in levels:
        size = (level.width, level.height)
        pyramid.append(cv2.resize(pyramid[-1], size) if pyramid else gray)
    return pyramid


def with_pyramids(motion: Iterable[Motion], levels: Sequence[Level]) -> Iterator[Motion]:
    """Replace the frames of each pair by their grey pyramids, each made once."""
    before: list[np.ndarray] | None = None
    for previous, current, plain, stabilised in motion:
        before = gray_pyramid(previous, levels) if before is None else before
        after = gray_pyramid(current, levels)
        yield before, after, plain, stabilised
        before = after


def given_motion(
    pairs: Iterable[GrayPair],
    levels: Sequence[Level],
    fields: Iterable[np.ndarray],
    warped_fields: Iterable[np.ndarray] | None,
) -> Iterator[Motion]:
    """Yield each frame pair with the given fields at each level."""
    fields = iter(fields)
    warped = None if warped_fields is None else iter(warped_fields)
    for i, (previous, current) in enumerate(pairs):
        field = _next_field(fields, i, "flow", previous.shape)
        stabilised = plain = flow_pyramid(field, levels)
        if warped is not None:
            field = _next_field(warped, i, "warped_flow", previous.shape)
            stabilised = flow_pyramid(field, levels)
        yield previous, current, plain, stabilised


def given_camera(homographies: Iterable[np.ndarray]) -> Camera:
    """Return a function that hands out given homographies, pair after pair."""
    stream, handed_out = iter(homographies), 0

    def camera(previous: np.ndarray, current: np.ndarray, flow: Planes) -> np.ndarray:
        """Return the next homography (3, 3), whatever the frames; ValueError if none is left."""
        nonlocal handed_out
        homography = next(stream, None)
        if homography is None:
            raise ValueError(
                f"homographies ends after {handed_out} matrices; give one for each pair of frames"
            )
        if np.shape(homography) != (3, 3) or not np.isfinite(homography).all():
            raise ValueError(f"homography {handed_out} is {homography!r}; give finite 3x3 matrices")
        handed_out += 1
        return homography

    return camera


def estimated_motion(
    pairs: Iterable[GrayPair],
    levels: Sequence[Level],
    estimator: Estimator,
    camera: Camera | None,
) -> Iterator[Motion]:
    """Yield each frame pair with its level flows, estimated here; `camera` removes its motion.

    The flow without the camera's motion is that to the second frame pulled back by the homography
    which `camera` returns for the pair and its full-resolution flow.
    """
    prepare, flow_between = estimator
    before: Any = None
    for previous, current in pairs:
        if before is None:
            before = prepare(previous, levels)
        after = prepare(current, levels)
        stabilised = plain = flow_between(before, after, levels)
        if camera is not None:
            homography = camera(previous, current, plain[0])
            pulled = prepare(pull_back(previous, current, homography), levels)
            stabilised = flow_between(before, pulled, levels)
        yield previous, current, plain, stabilised
        before = after
