"""A homography from matches of which many are wrong, by random samples of four (RANSAC).

Fischler and Bolles, 1981. OpenCV's function finds the same; on matches of which half are wrong it
takes ten times as long, as long as the flow between the frames.
"""

import numpy as np
from numba import njit

MAX_SAMPLES = 2000
CONFIDENCE = 0.995  # of having drawn a sample without a wrong match


@njit(cache=True, nogil=True, error_model="numpy")
def _next_index(state: np.ndarray, n: int) -> int:
    """Draw from 0 to n - 1 by a linear congruential generator of 64 bits (Knuth's constants)."""
    state[0] = state[0] * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
    return int((state[0] >> np.uint64(33)) % np.uint64(n))


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_four(state: np.ndarray, n: int, drawn: np.ndarray) -> None:
    for k in range(4):
        drawn[k] = _next_index(state, n)
        for earlier in range(k):
            # a match drawn twice leaves the system singular, which is found out there
            if drawn[earlier] == drawn[k]:
                drawn[k] = _next_index(state, n)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_system(
    first: np.ndarray, second: np.ndarray, drawn: np.ndarray, system: np.ndarray
) -> None:
    """Write the 8 equations of four matches for the entries of H but the last, which is 1."""
    system[:] = 0
    for k in range(4):
        x, y = first[0, drawn[k]], first[1, drawn[k]]
        u, v = second[0, drawn[k]], second[1, drawn[k]]
        a, b = system[2 * k], system[2 * k + 1]
        a[0], a[1], a[2], a[6], a[7], a[8] = x, y, 1, -u * x, -u * y, u
        b[3], b[4], b[5], b[6], b[7], b[8] = x, y, 1, -v * x, -v * y, v


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(system: np.ndarray) -> bool:
    """Solve 8 equations (8, 9) by elimination with pivots; the solution goes to the last column."""
    for k in range(8):
        pivot = k
        for row in range(k + 1, 8):
            if abs(system[row, k]) > abs(system[pivot, k]):
                pivot = row
        if abs(system[pivot, k]) < 1e-9:
            return False
        for column in range(k, 9):
            system[k, column], system[pivot, column] = system[pivot, column], system[k, column]
        for row in range(k + 1, 8):
            factor = system[row, k] / system[k, k]
            for column in range(k, 9):
                system[row, column] -= factor * system[k, column]
    for k in range(7, -1, -1):
        for column in range(k + 1, 8):
            system[k, 8] -= system[k, column] * system[column, 8]
        system[k, 8] /= system[k, k]
    return True


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True, forceinline=True)
def _count_fits(
    x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray, h: np.ndarray, threshold: np.float32
) -> int:
    h0, h1, h2, h3 = h[0], h[1], h[2], h[3]
    h4, h5, h6, h7 = h[4], h[5], h[6], h[7]
    fits = 0
    for i in range(len(x)):
        scale = np.float32(1) / (h6 * x[i] + h7 * y[i] + np.float32(1))
        dx = (h0 * x[i] + h1 * y[i] + h2) * scale - u[i]
        dy = (h3 * x[i] + h4 * y[i] + h5) * scale - v[i]
        fits += 1 if dx * dx + dy * dy < threshold * threshold else 0
    return fits


@njit(cache=True, nogil=True, error_model="numpy")
def _best_sample(first: np.ndarray, second: np.ndarray, threshold: np.float32) -> np.ndarray:
    """Return the 8 entries of the homography of four matches that most matches fit, or zeros."""
    n = first.shape[1]
    state, drawn = np.array([np.uint64(1)]), np.empty(4, np.int64)
    system, best, trial = np.empty((8, 9)), np.zeros(8, np.float32), np.empty(8, np.float32)
    most, needed, sample = 3, float(MAX_SAMPLES), 0
    while sample < needed:
        sample += 1
        _draw_four(state, n, drawn)
        _fill_system(first, second, drawn, system)
        if not _solve(system):
            continue
        for k in range(8):
            trial[k] = system[k, 8]
        fits = _count_fits(first[0], first[1], second[0], second[1], trial, threshold)
        if fits > most:
            most = fits
            best[:] = trial
            clean = min((fits / n) ** 4, 1 - 1e-12)
            needed = min(needed, np.log(1 - CONFIDENCE) / np.log(1 - clean))
    return best


def sample_homography(first: np.ndarray, second: np.ndarray, threshold: float) -> np.ndarray | None:
    """Find the homography through four matches that most of the matches fit.

    Parameters
    ----------
    first, second : ndarray of shape (M, 2), float32
        Matched points, M >= 4.
    threshold : float
        A match fits if its second point is nearer than this to where the first is carried, px.

    Returns
    -------
    ndarray of shape (3, 3), float64, or None
        Last entry 1; exact for the four, so yet to be fitted to all that agree. None if no four
        matches determine one. The samples are the same in every call.

    Examples
    --------
    >>> grid = np.stack(np.meshgrid([0, 10, 20, 30], [0, 10, 20]), -1).reshape(-1, 2)
    >>> first = grid.astype(np.float32)
    >>> second = first + np.float32([5, -2])
    >>> second[[0, 5, 7]] += 40  # wrong matches
    >>> (sample_homography(first, second, 1.0).round(3) + 0).tolist()
    [[1.0, 0.0, 5.0], [0.0, 1.0, -2.0], [0.0, 0.0, 1.0]]
    """
    best = _best_sample(
        np.ascontiguousarray(first.T, np.float32),
        np.ascontiguousarray(second.T, np.float32),
        np.float32(threshold),
    )
    return np.append(best, 1).astype(np.float64).reshape(3, 3) if best.any() else None
