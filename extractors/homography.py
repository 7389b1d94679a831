"""Camera motion between two frames: matches, a RANSAC homography, and the frame warped back.

The recipe is that of improved dense trajectories (Wang and Schmid, ICCV 2013) and of the
warped flow of temporal segment networks (Wang et al., ECCV 2016): matches from the flow at
good corners and from local features, a homography by RANSAC, the second frame pulled back to
the coordinates of the first. SIFT or ORB stand in for SURF, which OpenCV's wheels lack.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.uint8]

MIN_MATCHES = 50
MIN_INLIERS = 25
_SQUARE = 32  # px
_N_REFITS = 3  # to the matches within half the threshold: a motion 1 px away then pulls no more
_FAR = 30000.0  # outside every image, and inside the 16 bits of a remap table


@dataclass(frozen=True)
class Features:
    """Local features of one image.

    Attributes
    ----------
    points : ndarray of shape (N, 2), float32
        Positions (x, y) in pixels.
    descriptors : ndarray of shape (N, D)
        float32 compared by Euclidean distance (SIFT) or uint8 by Hamming distance (ORB).
    """

    points: Float32
    descriptors: NDArray[Any]


def people_mask(shape: tuple[int, int], boxes: ArrayLike | None) -> Mask:
    """Mark the pixels outside of every box: 1 outside, 0 inside.

    A box (x1, y1, x2, y2) covers the pixels ceil(x1)..floor(x2), ceil(y1)..floor(y2),
    inclusive; what lies outside the image is ignored.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    boxes : array of shape (N, 4) or None
        Corners in pixels.

    Returns
    -------
    mask : ndarray of shape (H, W), uint8

    Raises
    ------
    ValueError
        If a box has not four finite numbers, or a right edge left of its left one.

    Examples
    --------
    >>> people_mask((2, 4), [[0.5, 0, 2.0, 9]])
    array([[1, 0, 0, 1],
           [1, 0, 0, 1]], dtype=uint8)
    """
    mask = np.ones(shape, np.uint8)
    if boxes is None:
        return mask
    corners = np.asarray(boxes, np.float64)
    corners = corners.reshape(0, 4) if corners.size == 0 else corners
    if corners.ndim != 2 or corners.shape[1] != 4 or not np.isfinite(corners).all():
        raise ValueError(f"boxes are {boxes}; give rows of four finite numbers x1 y1 x2 y2")
    if (corners[:, 2:] < corners[:, :2]).any():
        raise ValueError(f"boxes are {boxes}; each needs x1 <= x2 and y1 <= y2")
    height, width = shape
    limits = np.clip(corners, -1, [width, height, width, height])
    for x1, y1, x2, y2 in limits:
        left, top = max(int(np.ceil(x1)), 0), max(int(np.ceil(y1)), 0)
        mask[top : int(np.floor(y2)) + 1, left : int(np.floor(x2)) + 1] = 0
    return mask


def flow_matches(
    prev: NDArray[Any],
    flow: Float32,
    mask: Mask | None = None,
    *,
    max_corners: int = 1000,
    quality: float = 0.001,
    min_distance: float = 3.0,
) -> tuple[Float32, Float32]:
    """Match good corners of a frame to where its flow takes them.

    Corners are those of Shi and Tomasi (smaller eigenvalue over 3x3 pixels), at least `quality`
    times the best one and `min_distance` px apart, at whole pixels.

    Parameters
    ----------
    prev : ndarray of shape (H, W), uint8 or float32 in 0..255
    flow : ndarray of shape (H, W, 2), float32
        Displacements from `prev` to the next frame, in pixels.
    mask : ndarray of shape (H, W), uint8, optional
        Corners are taken where it is not 0 (`people_mask`).
    max_corners, quality, min_distance
        As in the released code of improved dense trajectories; `max_corners` 0 keeps all.

    Returns
    -------
    prev_points, next_points : ndarray of shape (N, 2), float32
        The same N points in both frames, the best corners first; N may be 0.

    Examples
    --------
    A bright square that moves by 3 px:

    >>> prev = np.zeros((40, 50), np.uint8)
    >>> prev[10:20, 10:20] = 200
    >>> flow = np.full((40, 50, 2), (3, 0), np.float32)
    >>> points, moved = flow_matches(prev, flow)
    >>> len(points) >= 4, np.unique(moved - points, axis=0).tolist()
    (True, [[3.0, 0.0]])
    """
    corners = cv2.goodFeaturesToTrack(
        _eight_bit(prev), max_corners, quality, min_distance, mask=mask, blockSize=3
    )
    if corners is None:
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
    points = np.rint(corners.reshape(-1, 2)).astype(np.float32)
    column, row = points.T.astype(np.int64)
    return points, points + flow[row, column]


def detect_features(
    image: NDArray[Any], mask: Mask | None = None, *, detector: str = "sift"
) -> Features:
    """Detect and describe local features where the mask is not 0.

    Parameters
    ----------
    image : ndarray of shape (H, W), uint8 or float32 in 0..255
    mask : ndarray of shape (H, W), uint8, optional
    detector : {"sift", "orb"}
        OpenCV's detectors with their default settings; ORB keeps its best 1000.

    Raises
    ------
    ValueError
        If the detector is another.

    Examples
    --------
    >>> image = np.random.default_rng(0).integers(0, 255, (12, 16), np.uint8).repeat(8, 0).repeat(8, 1)
    >>> features = detect_features(image)
    >>> features.points.shape[1], features.descriptors.shape[1]
    (2, 128)
    """
    if detector == "sift":
        points, descriptors = cv2.SIFT.create().detectAndCompute(_eight_bit(image), mask)
    elif detector == "orb":
        points, descriptors = cv2.ORB.create(1000).detectAndCompute(_eight_bit(image), mask)
    else:
        raise ValueError(f"detector is {detector!r}; choose 'sift' or 'orb'")
    if descriptors is None:
        width, dtype = (128, np.float32) if detector == "sift" else (32, np.uint8)
        return Features(np.empty((0, 2), np.float32), np.empty((0, width), dtype))
    return Features(np.array([p.pt for p in points], np.float32), descriptors)


def feature_matches(
    prev: Features, next: Features, *, radius: float = 25.0
) -> tuple[Float32, Float32]:
    """Match each feature of the next frame to the most alike one near it in the previous.

    Near means that both coordinates differ by less than `radius`. There is no ratio test and no
    cross check, as in improved dense trajectories: RANSAC sorts the matches out.

    Returns
    -------
    prev_points, next_points : ndarray of shape (N, 2), float32

    Examples
    --------
    >>> there = Features(np.float32([[10, 10], [40, 30]]), np.float32([[0, 1], [1, 0]]))
    >>> here = Features(np.float32([[42, 31], [11, 12]]), np.float32([[1, 0], [0, 1]]))
    >>> [points.tolist() for points in feature_matches(there, here)]
    [[[40.0, 30.0], [10.0, 10.0]], [[42.0, 31.0], [11.0, 12.0]]]
    """
    if len(prev.points) == 0 or len(next.points) == 0:
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
    # two axes, each a (N next, N prev) table of booleans
    near = np.ones((len(next.points), len(prev.points)), bool)
    for axis in range(2):
        near &= np.abs(next.points[:, None, axis] - prev.points[None, :, axis]) < radius
    norm = cv2.NORM_HAMMING if prev.descriptors.dtype == np.uint8 else cv2.NORM_L2
    found = cv2.BFMatcher(norm).match(next.descriptors, prev.descriptors, near.astype(np.uint8))
    pairs = np.array([(m.trainIdx, m.queryIdx) for m in found], np.int64).reshape(-1, 2)
    return prev.points[pairs[:, 0]], next.points[pairs[:, 1]]


def spread_matches(
    prev_points: Float32, next_points: Float32, *, cell: int = 16, per_cell: int = 4
) -> tuple[Float32, Float32]:
    """Keep the first few matches of every square cell of the previous frame.

    A detailed foreground would otherwise outnumber a plain background that covers more of the
    image, and RANSAC would take its motion for the camera's.

    Parameters
    ----------
    prev_points, next_points : ndarray of shape (N, 2), float32
        Matches, best first.
    cell : int
        Side of a cell in pixels.
    per_cell : int
        Matches kept of each cell.

    Returns
    -------
    prev_points, next_points : ndarray of shape (M, 2), float32
        M <= N of them, in their old order.

    Examples
    --------
    >>> points = np.float32([[1, 1], [2, 2], [30, 1]])
    >>> spread_matches(points, points, per_cell=1)[0].tolist()
    [[1.0, 1.0], [30.0, 1.0]]
    """
    column, row = np.floor(prev_points.T / cell).astype(np.int64)
    by_cell = np.lexsort((column, row))  # stable: the order within a cell stays
    is_new = np.ones(len(by_cell), bool)
    is_new[1:] = (np.diff(column[by_cell]) != 0) | (np.diff(row[by_cell]) != 0)
    first = np.maximum.accumulate(np.where(is_new, np.arange(len(by_cell)), 0))
    kept = np.sort(by_cell[np.arange(len(by_cell)) - first < per_cell])
    return prev_points[kept], next_points[kept]


def estimate_homography(
    prev_points: Float32, next_points: Float32, *, threshold: float = 1.0
) -> Float64:
    """Estimate by RANSAC the homography that takes the points of one frame to the next.

    RANSAC runs on all matches and again on those that the first homography leaves; each result is
    refitted to the matches within half the threshold, three times. Of the two the one is taken
    whose inliers lie in more squares of 32 px: what covers most of the image is the background,
    even where a detailed foreground has more matches. The identity is returned unless there are
    more than 50 matches and more than 25 of them lie within `threshold` of where that homography
    takes them. The random choices are OpenCV's with its fixed seed: the same
    matches in the same order give the same matrix.

    Parameters
    ----------
    prev_points, next_points : ndarray of shape (N, 2), float32
        Matches, in pixels.
    threshold : float
        Largest distance of an inlier from its prediction, in pixels of the next frame.

    Returns
    -------
    homography : ndarray of shape (3, 3), float64
        Maps (x, y, 1) of the previous frame to the next; last entry 1.

    Raises
    ------
    ValueError
        If the two arrays differ in shape or are not (N, 2).

    Examples
    --------
    >>> y, x = np.mgrid[0:80:10, 0:80:10].astype(np.float32)
    >>> points = np.stack([x.ravel(), y.ravel()], axis=1)
    >>> (estimate_homography(points, points + np.float32([3, -1])).round(3) + 0.0).tolist()
    [[1.0, 0.0, 3.0], [0.0, 1.0, -1.0], [0.0, 0.0, 1.0]]
    """
    if prev_points.shape != next_points.shape or prev_points.shape[1:] != (2,):
        raise ValueError(
            f"points have shapes {prev_points.shape} and {next_points.shape}; both must be (N, 2)"
        )
    if len(prev_points) <= MIN_MATCHES:
        return np.eye(3)
    homography, is_inlier = _ransac(prev_points, next_points, threshold)
    rest = ~is_inlier
    other, of_rest = _ransac(prev_points[rest], next_points[rest], threshold)
    if _n_squares(prev_points[rest][of_rest]) > _n_squares(prev_points[is_inlier]):
        return other
    return homography


def _ransac(
    prev_points: Float32, next_points: Float32, threshold: float
) -> tuple[Float64, NDArray[np.bool_]]:
    """Return a homography and its inliers; the identity and none if there are too few."""
    nothing = np.eye(3), np.zeros(len(prev_points), bool)
    if len(prev_points) <= MIN_INLIERS:
        return nothing
    homography, _ = cv2.findHomography(
        prev_points.astype(np.float32), next_points.astype(np.float32), cv2.RANSAC, threshold
    )
    if homography is None or not np.isfinite(homography).all():
        return nothing
    for _ in range(_N_REFITS):
        near = _distances(homography, prev_points, next_points) <= threshold / 2
        if near.sum() <= MIN_INLIERS:
            break
        refitted, _ = cv2.findHomography(prev_points[near], next_points[near], 0)
        if refitted is None or not np.isfinite(refitted).all():
            break
        homography = refitted
    # counted here: OpenCV 4 reports the inliers before its refinement, OpenCV 5 after
    is_inlier = _distances(homography, prev_points, next_points) <= threshold
    return (homography, is_inlier) if is_inlier.sum() > MIN_INLIERS else nothing


def _distances(homography: Float64, prev_points: Float32, next_points: Float32) -> Float64:
    return np.linalg.norm(project(homography, prev_points) - next_points, axis=-1)


def _n_squares(points: Float32) -> int:
    return len(np.unique(points // _SQUARE, axis=0))


def project(homography: Float64, points: NDArray[Any]) -> Float64:
    """Take points (..., 2) through a homography; points at or behind infinity go far outside.

    Examples
    --------
    >>> project(np.diag([2.0, 2.0, 1.0]), np.array([[1.0, 3.0]])).tolist()
    [[2.0, 6.0]]
    """
    mapped = points @ homography[:, :2].T + homography[:, 2]
    depth = mapped[..., 2:]
    ahead = depth > 1e-9
    scaled = mapped[..., :2] / np.where(ahead, depth, 1.0)
    return np.where(ahead, np.clip(scaled, -_FAR, _FAR), -_FAR)


def warp_back(
    next: NDArray[Any], prev: NDArray[Any], homography: Float64, *, border: int = 5
) -> NDArray[Any]:
    """Pull the next frame back to the coordinates of the previous one.

    The pixel (x, y) is read at ``homography (x, y, 1)``, bilinearly at 1/32 px. Where that
    place is not strictly within `border` px of the image's inside the previous frame is kept,
    so that the flow there is about 0. On uint8 the result equals that of the released code of
    improved dense trajectories.

    Parameters
    ----------
    next, prev : ndarray of shape (H, W), uint8 or float32
    homography : ndarray of shape (3, 3)
        Maps `prev` to `next` (`estimate_homography`).
    border : int
        Width of the frame whose pixels are not used.

    Returns
    -------
    warped : ndarray of shape (H, W), dtype of `next`

    Examples
    --------
    A camera that moved by 2 px, undone:

    >>> prev = np.random.default_rng(0).integers(0, 255, (30, 40), np.uint8)
    >>> moved = np.roll(prev, 2, axis=1)
    >>> to_next = np.array([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]])
    >>> bool((warp_back(moved, prev, to_next)[5:-5, 8:-8] == prev[5:-5, 8:-8]).all())
    True
    """
    height, width = next.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    source = project(homography, np.stack([columns, rows], axis=-1))
    steps = np.rint(np.clip(source, -1000.0, 32000.0) * 32).astype(np.int64)
    whole = (steps >> 5).astype(np.int16)
    fraction = ((steps[..., 1] & 31) * 32 + (steps[..., 0] & 31)).astype(np.uint16)
    warped = cv2.remap(next, whole, fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    limit = np.array([width - 1 - border, height - 1 - border])
    is_inside = ((source > border) & (source < limit)).all(axis=-1)
    return np.where(is_inside, warped, prev)


def _eight_bit(image: NDArray[Any]) -> NDArray[np.uint8]:
    return image if image.dtype == np.uint8 else np.rint(np.clip(image, 0, 255)).astype(np.uint8)
