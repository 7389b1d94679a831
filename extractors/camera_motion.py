"""Camera motion between two frames as improved dense trajectories remove it.

Wang, Schmid, "Action recognition with improved trajectories", ICCV 2013. Matches come from the flow
at good corners and from features compared by their looks (the authors' SURF is in no OpenCV wheel;
BRIEF at the same corners stands in for it, which changes the output less than the order of the
matches does). A homography is fitted with RANSAC and the second frame pulled back through it, so
that the flow between the two is that of the scene alone.

`homography` has the same steps for the flow of videos; here they are those of the reference to the
bit, and fast enough for every frame.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numba import njit

from cinefeat.extractors.ransac import sample_homography
from cinefeat.extractors.trajectories import Planes

Matches = tuple[np.ndarray, np.ndarray]  # (M, 2) float32 points of the first and second frame

MAX_CORNERS = 1000
CORNER_QUALITY = 0.001
CORNER_DISTANCE = 3  # px
MAX_FEATURES = 500
PATCH_RADIUS = 16  # px, of a feature's descriptor
MAX_DIFFERENCE = 64  # bits of 256; features that differ in as many do not match
MATCH_WINDOW = np.float32(25.0)  # px; a match moves less on both axes
RANSAC_THRESHOLD = 1.0  # px
MIN_MATCHES = 50  # a homography is fitted to more
MIN_INLIERS = 25  # and accepted with more
REFITS = 2
WARP_MARGIN = 5  # px; what comes from nearer the border is taken from the first frame


def box_mask(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask that is 0 inside boxes (of people, say) and 1 elsewhere.

    Parameters
    ----------
    boxes : ndarray of shape (K, 4) or (K, 5)
        x1, y1, x2, y2 in pixels, and a confidence that is not used. A box covers the integer pixels
        from ``ceil(x1)`` to ``floor(x2)`` and ``ceil(y1)`` to ``floor(y2)``.
    shape : tuple of int
        Height and width of the frame.

    Returns
    -------
    ndarray of shape (H, W), uint8

    Raises
    ------
    ValueError
        If a box leaves the frame (the reference then writes outside its arrays).

    Examples
    --------
    >>> box_mask(np.array([[0.5, 0, 2, 1]]), (3, 4))
    array([[1, 0, 0, 1],
           [1, 0, 0, 1],
           [1, 1, 1, 1]], dtype=uint8)
    """
    mask = np.ones(shape, np.uint8)
    for box in np.asarray(boxes, np.float64).reshape(-1, np.shape(boxes)[-1] or 4):
        left, top = np.ceil(box[:2]).astype(int)
        right, bottom = np.floor(box[2:4]).astype(int)
        if left < 0 or top < 0 or right >= shape[1] or bottom >= shape[0]:
            raise ValueError(
                f"box {box[:4].tolist()} leaves the frame of {shape[1]}x{shape[0]} px; "
                "clip the boxes"
            )
        mask[top : bottom + 1, left : right + 1] = 0
    return mask


def good_corners(gray: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Find at most 1000 good corners (Shi and Tomasi 1994), best first and at least 3 px apart.

    Parameters
    ----------
    gray : ndarray of shape (H, W), uint8
    mask : ndarray of shape (H, W), uint8, optional
        0 where no corner is wanted.

    Returns
    -------
    ndarray of shape (M, 2), float32
        x and y, whole pixels.
    """
    corners = cv2.goodFeaturesToTrack(gray, MAX_CORNERS, CORNER_QUALITY, CORNER_DISTANCE, mask=mask)
    return np.empty((0, 2), np.float32) if corners is None else corners.reshape(-1, 2)


def flow_matches(corners: np.ndarray, flow: Planes) -> Matches:
    """Match corners (M, 2) of a frame with the points that the flow carries them to.

    Examples
    --------
    >>> right, down = np.full((9, 9), 0.5, np.float32), np.zeros((9, 9), np.float32)
    >>> flow_matches(np.array([[4, 2]], np.float32), (right, down))[1]
    array([[4.5, 2. ]], dtype=float32)
    """
    x, y = np.rint(corners).astype(int).T
    return corners, np.stack([x + flow[0][y, x], y + flow[1][y, x]], 1).astype(np.float32)


def _comparisons() -> np.ndarray:
    """Draw the 256 pairs of pixels that a descriptor compares: x, y, x, y around a corner."""
    spread = np.random.default_rng(256).normal(0, PATCH_RADIUS / 2.5, (256, 4))
    return np.clip(np.rint(spread), -PATCH_RADIUS, PATCH_RADIUS).astype(np.int64)


_PAIRS = _comparisons()


@njit(cache=True, nogil=True)
def _compare_pixels(
    smooth: np.ndarray, points: np.ndarray, pairs: np.ndarray, bits: np.ndarray
) -> None:
    for i in range(len(points)):
        x, y = int(points[i, 0]), int(points[i, 1])
        for k in range(len(pairs)):
            first = smooth[y + pairs[k, 1], x + pairs[k, 0]]
            second = smooth[y + pairs[k, 3], x + pairs[k, 2]]
            if first < second:
                bits[i, k >> 6] |= np.uint64(1) << np.uint64(k & 63)


def describe_corners(gray: np.ndarray, corners: np.ndarray) -> Matches:
    """Describe the best 500 corners by 256 comparisons of pixels around each (BRIEF).

    Calonder, Lepetit, Strecha, Fua, ECCV 2010: the image is smoothed (5x5), the pairs are drawn
    once from a normal distribution. Corners within 16 px of the border are left out.

    Parameters
    ----------
    gray : ndarray of shape (H, W), uint8
    corners : ndarray of shape (M, 2), float32
        Whole pixels, best first.

    Returns
    -------
    pair of ndarray
        Points (K, 2) float32 and their 256 bits, (K, 4) uint64.
    """
    limit = np.array(gray.shape[::-1]) - PATCH_RADIUS
    inside = ((corners >= PATCH_RADIUS) & (corners < limit)).all(1)
    points = corners[inside][:MAX_FEATURES]
    bits = np.zeros((len(points), 4), np.uint64)
    _compare_pixels(cv2.blur(gray, (5, 5)), points, _PAIRS, bits)
    return points, bits


@njit(cache=True, nogil=True)
def _count_bits(v: np.uint64) -> np.uint64:
    v = v - ((v >> np.uint64(1)) & np.uint64(0x5555555555555555))
    v = (v & np.uint64(0x3333333333333333)) + ((v >> np.uint64(2)) & np.uint64(0x3333333333333333))
    v = (v + (v >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (v * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True)
def _nearest_in_window(
    points: np.ndarray, bits: np.ndarray, old_points: np.ndarray, old_bits: np.ndarray,
    begin: np.ndarray, end: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return for each feature the old one nearby with the fewest differing bits, or -1.

    Old ones are sorted by y; those near enough in y lie from begin to end. Features that differ in
    a quarter of the bits are different: they would only keep RANSAC longer.
    """
    nearest = np.full(len(points), -1, np.int64)
    for i in range(len(points)):
        least = np.uint64(MAX_DIFFERENCE)
        for j in range(begin[i], end[i]):
            if abs(points[i, 0] - old_points[j, 0]) < MATCH_WINDOW:
                distance = np.uint64(0)
                for word in range(4):
                    distance += _count_bits(bits[i, word] ^ old_bits[j, word])
                if distance < least:
                    least, nearest[i] = distance, j
    return nearest


def match_features(first: Matches, second: Matches) -> Matches:
    """Match each feature of the second frame with the most similar one of the first nearby.

    Nearby is less than 25 px away on both axes, similar is fewer than 64 of 256 bits different.
    There is no ratio test and no check from the other side; of equally similar ones the uppermost
    is taken.

    Parameters
    ----------
    first, second : pair of ndarray
        Points (K, 2) float32 and bits (K, 4) uint64 of each frame, as of `describe_corners`.

    Returns
    -------
    pair of ndarray of shape (M, 2), float32
    """
    order = np.argsort(first[0][:, 1], kind="stable")
    points, bits = first[0][order], first[1][order]
    begin = np.searchsorted(points[:, 1], second[0][:, 1] - MATCH_WINDOW, "right")
    end = np.searchsorted(points[:, 1], second[0][:, 1] + MATCH_WINDOW, "left")
    nearest = _nearest_in_window(*second, points, bits, begin, end)
    found = nearest >= 0
    return points[nearest[found]], second[0][found]


def fit_homography(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Fit the homography that carries points of the first frame to the second (RANSAC, 1 px).

    Parameters
    ----------
    first, second : ndarray of shape (M, 2), float32
        Matched points.

    Returns
    -------
    ndarray of shape (3, 3), float64
        The identity if there are at most 50 matches or at most 25 of them fit.

    Notes
    -----
    The best of the random samples is fitted to the matches that agree with it (least squares, then
    Levenberg and Marquardt), and once more to those that then agree. The reference stops after the
    first time, which leaves more of the random choice in its result.
    """
    if len(first) <= MIN_MATCHES:
        return np.eye(3)
    homography = sample_homography(first, second, RANSAC_THRESHOLD)
    for _ in range(REFITS):
        near = None if homography is None else _fits(homography, first, second)
        if near is None or np.count_nonzero(near) <= MIN_INLIERS:
            return np.eye(3)
        homography, _ = cv2.findHomography(first[near], second[near], 0)
    return np.eye(3) if homography is None else homography


def _fits(homography: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    ahead = cv2.perspectiveTransform(first[None].astype(np.float64), homography)[0]
    return ((ahead - second) ** 2).sum(1) < RANSAC_THRESHOLD**2


@njit(cache=True, nogil=True, error_model="numpy")
def _pull_back(previous: np.ndarray, current: np.ndarray, h: np.ndarray, out: np.ndarray) -> None:
    height, width = previous.shape
    right, bottom = width - 1 - WARP_MARGIN, height - 1 - WARP_MARGIN
    for y in range(height):
        for x in range(width):
            scale = 1.0 / (h[2, 0] * x + h[2, 1] * y + h[2, 2])
            from_x = (h[0, 0] * x + h[0, 1] * y + h[0, 2]) * scale
            from_y = (h[1, 0] * x + h[1, 1] * y + h[1, 2]) * scale
            if not (WARP_MARGIN < from_x < right and WARP_MARGIN < from_y < bottom):
                out[y, x] = previous[y, x]
                continue
            fixed_x, fixed_y = int(np.rint(from_x * 32)), int(np.rint(from_y * 32))
            i, j, fx, fy = fixed_y >> 5, fixed_x >> 5, fixed_x & 31, fixed_y & 31
            upper = (32 - fx) * current[i, j] + fx * current[i, j + 1]
            lower = (32 - fx) * current[i + 1, j] + fx * current[i + 1, j + 1]
            out[y, x] = (((32 - fy) * upper + fy * lower) * 32 + 16384) >> 15


def pull_back(previous: np.ndarray, current: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """Warp a frame into the coordinates of the one before it.

    Parameters
    ----------
    previous, current : ndarray of shape (H, W), uint8
    homography : ndarray of shape (3, 3), float64
        Carries points of `previous` to `current`.

    Returns
    -------
    ndarray of shape (H, W), uint8
        Pixel p is `current` at ``homography @ p``, bilinear in 32nds of a pixel. Where that is not
        more than 5 px inside the frame, the pixel of `previous` stands instead: no motion there.
    """
    out = np.empty_like(previous)
    _pull_back(previous, current, np.asarray(homography, np.float64), out)
    return out


class CameraMotion:
    """Estimate the homography of one pair of frames after another.

    Parameters
    ----------
    boxes : iterable of ndarray of shape (K, 4) or (K, 5), optional
        Boxes of each frame, the first included; no match is taken inside (see `box_mask`). As in
        the reference, corners of the earlier frame are masked with the boxes of the later one.
    """

    def __init__(self, boxes: Iterable[np.ndarray] | None = None) -> None:
        self._boxes: Iterator[np.ndarray] | None = None if boxes is None else iter(boxes)
        self._frame = 0
        self._corners: np.ndarray | None = None
        self._features: Matches | None = None

    def __call__(self, previous: np.ndarray, current: np.ndarray, flow: Planes) -> np.ndarray:
        """Return the homography (3, 3) from `previous` to `current`, given the flow between."""
        if self._corners is None or self._features is None:
            self._corners = good_corners(previous, self._next_mask(previous.shape))
            self._features = describe_corners(previous, self._corners)
        mask = self._next_mask(current.shape)
        corners = good_corners(current, mask)
        features = describe_corners(current, corners)
        earlier = self._corners if mask is None else good_corners(previous, mask)
        first, second = flow_matches(earlier, flow)
        old, new = match_features(self._features, features)
        self._corners, self._features = corners, features
        return fit_homography(np.concatenate([first, old]), np.concatenate([second, new]))

    def _next_mask(self, shape: tuple[int, ...]) -> np.ndarray | None:
        if self._boxes is None:
            return None
        boxes = next(self._boxes, None)
        if boxes is None:
            raise ValueError(
                f"boxes ends after {self._frame} frames; "
                "give one array for each frame, (0, 4) for none"
            )
        self._frame += 1
        return box_mask(boxes, (shape[0], shape[1]))
