"""Flow without the motion of the camera: the third modality of temporal segment networks.

The flow between two frames and local features give a homography (`homography`); the second
frame is warped back by it, and the flow is computed again. Two slips of dense_flow are not
repeated: corners are found in the previous frame, whose flow moves them, and features are
matched between consecutive frames. Unlike either, the matches are spread over the image
(`spread_matches`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cinefeat.extractors.flow import optical_flow_tvl1
from cinefeat.extractors.homography import (
    Features,
    detect_features,
    estimate_homography,
    feature_matches,
    flow_matches,
    people_mask,
    spread_matches,
    warp_back,
)

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
_MISSING: Any = object()


@dataclass(frozen=True)
class WarpedFlow:
    """What one pair of frames gives.

    Attributes
    ----------
    flow : ndarray of shape (H, W, 2), float32
        Displacements with the camera's motion left in, in pixels.
    warped : ndarray of shape (H, W, 2), float32
        Displacements after the second frame was warped back.
    homography : ndarray of shape (3, 3), float64
        Maps the previous frame's coordinates to the next; the identity where none was found.
    """

    flow: Float32
    warped: Float32
    homography: Float64


def warped_flow(
    prev: NDArray[Any],
    next: NDArray[Any],
    *,
    flow: Float32 | None = None,
    boxes: ArrayLike | None = None,
    next_boxes: ArrayLike | None = None,
    detector: str = "sift",
    **flow_options: Any,
) -> WarpedFlow:
    """Estimate the camera's motion between two grey frames and the flow that remains without it.

    Parameters
    ----------
    prev, next : ndarray of shape (H, W), uint8 or float32 in 0..255
    flow : ndarray of shape (H, W, 2), float32, optional
        Flow from `prev` to `next`, where it is known already.
    boxes, next_boxes : array of shape (N, 4), optional
        People (x1, y1, x2, y2) in `prev` and in `next`, whose pixels give no matches; the second
        defaults to the first.
    detector : {"sift", "orb"}
        Local features matched beside the flow (`detect_features`).
    **flow_options
        `device`, `preset`, `n_threads` and settings of `optical_flow_tvl1`, for both flows.

    Returns
    -------
    result : WarpedFlow
        `flow`, `warped` and `homography`.

    Raises
    ------
    ValueError
        If the frames, the flow, the boxes or the detector are not as described.

    References
    ----------
    .. [1] Wang, Schmid. Action recognition with improved trajectories. ICCV 2013, section 3.1.
    .. [2] Wang, Xiong, Wang, Qiao, Lin, Tang, Van Gool. Temporal segment networks. ECCV 2016.

    Examples
    --------
    A camera that moves by 2 px over a still scene:

    >>> y, x = np.mgrid[:160, :240] / 8.0
    >>> scene = np.uint8(128 + 60 * np.sin(x + np.cos(2 * y)) + 60 * np.sin(y + np.cos(x)))
    >>> result = warped_flow(scene[:120, :180], scene[:120, 2:182], preset="fast")
    >>> result.flow[60, 90, 0].round(), abs(result.warped[60, 90]).max() < 0.5
    (np.float32(-2.0), np.True_)
    """
    prev_mask = people_mask(prev.shape[:2], boxes)
    next_mask = people_mask(next.shape[:2], boxes if next_boxes is None else next_boxes)
    if flow is None:
        flow = optical_flow_tvl1(prev, next, **flow_options)
    if flow.shape != (*prev.shape, 2):
        raise ValueError(f"flow has shape {flow.shape}; frames {prev.shape} need (H, W, 2)")
    before = detect_features(prev, prev_mask, detector=detector)
    after = detect_features(next, next_mask, detector=detector)
    return _without_camera(prev, next, flow, before, after, prev_mask, flow_options)


def warped_flow_of_video(
    frames: Iterable[NDArray[Any]],
    *,
    boxes: Iterable[ArrayLike] | None = None,
    detector: str = "sift",
    **flow_options: Any,
) -> Iterator[WarpedFlow]:
    """Estimate `warped_flow` between the consecutive grey frames of a video, one at a time.

    Each frame's features are computed once. T frames give T - 1 results.

    Parameters
    ----------
    frames : iterable of ndarray of shape (H, W), uint8 or float32 in 0..255
    boxes : iterable of arrays of shape (N, 4), optional
        People in each frame; N may be 0.
    detector, **flow_options
        As in `warped_flow`.

    Yields
    ------
    result : WarpedFlow

    Raises
    ------
    ValueError
        As `warped_flow`; or if there are boxes for fewer frames than there are.

    Examples
    --------
    >>> frames = np.random.default_rng(0).integers(0, 255, (3, 48, 64), np.uint8)
    >>> [result.warped.shape for result in warped_flow_of_video(frames, preset="fast")]
    [(48, 64, 2), (48, 64, 2)]
    """
    people = repeat(None) if boxes is None else iter(boxes)
    prev = before = prev_mask = None
    for t, frame in enumerate(frames):
        present = next(people, _MISSING)
        if present is _MISSING:
            raise ValueError(
                f"there are boxes for {t} frames and more frames; give each frame its own"
            )
        mask = people_mask(frame.shape[:2], present)
        after = detect_features(frame, mask, detector=detector)
        if prev is not None and before is not None and prev_mask is not None:
            flow = optical_flow_tvl1(prev, frame, **flow_options)
            yield _without_camera(prev, frame, flow, before, after, prev_mask, flow_options)
        prev, before, prev_mask = frame, after, mask


def _without_camera(
    prev: NDArray[Any],
    next: NDArray[Any],
    flow: Float32,
    before: Features,
    after: Features,
    prev_mask: NDArray[np.uint8],
    flow_options: dict[str, Any],
) -> WarpedFlow:
    moved = spread_matches(*flow_matches(prev, flow, prev_mask, max_corners=0))
    alike = spread_matches(*feature_matches(before, after))
    homography = estimate_homography(
        np.concatenate([moved[0], alike[0]]), np.concatenate([moved[1], alike[1]])
    )
    warped = optical_flow_tvl1(prev, warp_back(next, prev, homography), **flow_options)
    return WarpedFlow(flow, warped, homography)
