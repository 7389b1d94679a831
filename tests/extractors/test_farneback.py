"""The reference's Farneback flow, against its own intermediate stages and known motion."""

import numpy as np
import pytest
from synthetic import moving_texture

from cinefeat.extractors import farneback, farneback_torch
from cinefeat.extractors.trajectories import TrajectorySettings, pyramid_levels


def _stage(shared, frame):
    return np.load(shared / f"reference/idt/stages/person01_f{frame:05d}.npz")


def _levels(gray, **settings):
    return pyramid_levels(gray.shape[1], gray.shape[0], TrajectorySettings(**settings))


def _flow(first, second):
    levels = _levels(first)
    return farneback.flow_between(
        farneback.polynomial_pyramid(first, levels), farneback.polynomial_pyramid(second, levels)
    )


def _fit(image, y, x):
    """Weighted least squares of 1, y, x, y^2, x^2, xy, literally."""
    r = np.arange(-7, 8)
    g = np.exp(-(r**2) / 4.5)
    dy, dx = (a.ravel() for a in np.meshgrid(r, r, indexing="ij"))
    weight = np.outer(g, g).ravel()
    basis = np.stack([np.ones(dx.size), dy, dx, dy * dy, dx * dx, dx * dy], 1)
    values = image[y - 7 : y + 8, x - 7 : x + 8].ravel()
    return np.linalg.solve(basis.T @ (weight[:, None] * basis), basis.T @ (weight * values))[1:]


def test_polynomial_is_the_weighted_least_squares_fit(rng):
    image = rng.uniform(0, 255, (30, 40)).astype(np.float32)
    np.testing.assert_allclose(
        farneback.expand_polynomials(image)[:, 15, 22], _fit(image, 15, 22), atol=2e-4
    )


@pytest.mark.parametrize("frame", [1, 2, 40])
@pytest.mark.parametrize("level", range(4))
def test_polynomials_equal_the_reference(shared, frame, level):
    stage = _stage(shared, frame)
    pyramid = farneback.polynomial_pyramid(stage["prev_grey"], _levels(stage["prev_grey"]))
    expected = stage[f"prev_poly_s{level}"].transpose(2, 0, 1)
    np.testing.assert_allclose(pyramid[level], expected, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("frame", [1, 2, 40])
@pytest.mark.parametrize("second, name", [("grey", "flow"), ("grey_warp", "flow_warp")])
def test_flow_equals_the_reference(shared, frame, second, name):
    stage = _stage(shared, frame)
    for level, flow in enumerate(_flow(stage["prev_grey"], stage[second])):
        np.testing.assert_allclose(np.stack(flow, -1), stage[f"{name}_s{level}"], atol=1e-6)


def test_flow_of_identical_frames_is_zero_inside(rng):
    image = rng.integers(0, 256, (36, 44), dtype=np.uint8)
    ((x, y),) = _flow(image, image)
    # the last row and column count as outside; two averages (5 px) and a median (2 px) spread that
    assert not x[:-13, :-13].any()
    assert not y[:-13, :-13].any()


def test_a_shift_is_found_at_every_level():
    frames, _ = moving_texture(2, 96, 128, shift=(1.5, -0.75))
    for level, (x, y) in zip(_levels(frames[0]), _flow(*frames), strict=True):
        inner = (slice(10, -10), slice(10, -10))
        assert np.median(np.abs(x[inner] * level.scale - 1.5)) < 0.1
        assert np.median(np.abs(y[inner] * level.scale + 0.75)) < 0.1


def test_blur_grows_with_the_level_as_in_the_reference():
    levels = pyramid_levels(640, 480, TrajectorySettings())
    sizes = [farneback.blur_of_level(level)[0] for level in levels]
    assert sizes == [3, 3, 3, 5, 7, 13, 17, 27]


def test_torch_agrees():
    (first, second), _ = moving_texture(2, 72, 96, shift=(2.2, 1.1), rotation_degrees=1)
    levels = _levels(first)
    prepared = [farneback_torch.polynomial_pyramid(f, levels, "cpu") for f in (first, second)]
    found = farneback_torch.flow_between(*prepared)
    for planes, expected in zip(found, _flow(first, second), strict=True):
        for plane, wanted in zip(planes, expected, strict=True):
            np.testing.assert_allclose(plane.numpy(), wanted, atol=1e-3)
