"""The weighted median near motion boundaries against sorting, window by window."""

import numpy as np
import pytest

from cinefeat.extractors import weighted_median as wm

HEIGHT, WIDTH = 13, 41
REACH = wm.RADIUS


def _filtered(flow, image, trust, marked):
    """Run the kernel on fields (2, H, W), an image (H, W) and weights (H, W)."""
    shape = wm.padded_shape(HEIGHT, WIDTH)
    right = shape[1] - WIDTH - REACH
    pad = ((REACH, REACH), (REACH, right))
    padded_flow = np.stack([np.pad(field, pad, mode="edge") for field in flow])
    out = np.zeros((HEIGHT, 3, WIDTH + 1), np.float32)
    out[:, :2, :-1] = flow.transpose(1, 0, 2)
    padded = np.pad(image, pad, mode="edge"), np.pad(trust, pad)
    wm.weighted_median_rows(padded_flow, *padded, marked, wm.space_weights(), out, 0, HEIGHT)
    return out[:, :2, :-1].transpose(1, 0, 2)


def _literal(field, image, trust, y, x):
    """The value at which half of the weight of the window is reached, by sorting."""
    rows = slice(max(y - REACH, 0), y + REACH + 1)
    columns = slice(max(x - REACH, 0), x + REACH + 1)
    dy = np.arange(HEIGHT)[rows, None] - y
    dx = np.arange(WIDTH)[None, columns] - x
    weight = np.exp(-(dx**2 + dy**2) / (2 * wm.SIGMA_SPACE**2)) * trust[rows, columns]
    difference = image[rows, columns] - image[y, x]
    weight /= (1 + difference**2 / (8 * wm.SIGMA_BRIGHTNESS**2)) ** 4
    order = np.argsort(field[rows, columns], axis=None)
    reached = np.cumsum(weight.ravel()[order])
    return field[rows, columns].ravel()[order[np.searchsorted(reached, reached[-1] / 2)]]


@pytest.mark.parametrize("seed", range(3))
def test_median_is_that_of_the_sorted_window(seed):
    rng = np.random.default_rng(seed)
    flow = rng.normal(size=(2, HEIGHT, WIDTH)).astype(np.float32)
    image = rng.uniform(0, 60, (HEIGHT, WIDTH)).astype(np.float32)
    trust = rng.uniform(0.01, 1, (HEIGHT, WIDTH)).astype(np.float32)
    out = _filtered(flow, image, trust, np.ones((HEIGHT, WIDTH), np.uint8))
    expected = [
        [[_literal(field, image, trust, y, x) for x in range(WIDTH)] for y in range(HEIGHT)]
        for field in flow
    ]
    tolerance = np.ptp(flow) / 2 ** (wm.N_BISECTIONS + 1)
    assert np.abs(out - expected).max() < tolerance * 1.01


def test_unmarked_pixels_are_left_alone(rng):
    flow = rng.normal(size=(2, HEIGHT, WIDTH)).astype(np.float32)
    marked = np.zeros((HEIGHT, WIDTH), np.uint8)
    marked[4, 33] = 1
    flat = np.ones((HEIGHT, WIDTH), np.float32)
    changed = (_filtered(flow, flat, flat, marked) != flow).any(axis=0)
    assert np.argwhere(changed).tolist() == [[4, 33]]


def test_a_pixel_takes_the_motion_of_what_looks_like_it():
    image = np.zeros((HEIGHT, WIDTH), np.float32)
    image[:, 20:] = 200
    flow = np.zeros((2, HEIGHT, WIDTH), np.float32)
    flow[:, :, 22:] = 5  # the boundary of the motion is 2 px off the edge of the image
    everywhere = np.ones((HEIGHT, WIDTH), np.uint8)
    out = _filtered(flow, image, np.ones_like(image), everywhere)
    assert np.abs(out[:, :, :20]).max() < 0.02
    assert np.abs(out[:, :, 20:] - 5).max() < 0.02


def test_occluded_pixels_have_no_say():
    flow = np.zeros((2, HEIGHT, WIDTH), np.float32)
    flow[:, :, 20:] = 5
    trust = np.ones((HEIGHT, WIDTH), np.float32)
    trust[:, 20:26] = wm.FLOOR
    flat, everywhere = np.ones_like(trust), np.ones((HEIGHT, WIDTH), np.uint8)
    assert np.abs(_filtered(flow, flat, trust, everywhere)[:, :, 20:22]).max() < 0.02


def _marks(u, data):
    changes = np.empty((HEIGHT, WIDTH), np.uint8)
    trust = np.zeros(wm.padded_shape(HEIGHT, WIDTH), np.float32)
    wm.mark_rows(u, data, np.float32(1.5), changes, trust, 0, HEIGHT)
    return changes, trust[REACH : REACH + HEIGHT, REACH : REACH + WIDTH]


def _still():
    data = np.zeros((HEIGHT, 4, WIDTH), np.float32)
    data[:, 2] = 1
    return np.zeros((HEIGHT, 3, WIDTH + 1), np.float32), data


def test_changes_of_flow_are_marked_and_constant_flow_is_not():
    u, data = _still()
    u[:, 0, 20:] = 1
    changes, _ = _marks(u, data)
    assert (changes[:, 19] == 1).all()
    assert np.delete(changes, 19, axis=1).sum() == 0


@pytest.mark.parametrize("case", ["converging", "residual", "outside"])
def test_pixels_seen_in_one_image_alone_are_not_relied_on(case):
    u, data = _still()
    if case == "converging":
        u[:, 0, 20:] = -3
    elif case == "residual":
        data[:, 3, 20] = 100
    else:
        data[:, 2, 20] = 0
    _, trust = _marks(u, data)
    assert (trust[:, 20] < 0.1).all()
    assert (trust[:, 5] > 0.99).all()
