"""Filters that stream through time against their direct definitions."""

import numpy as np
import pytest

from cinefeat.extractors.spacetime_filters import (
    Delay,
    blocks,
    correlate_time,
    gaussian,
    gaussian_derivative,
    hold_ends,
    local_maxima,
)


@pytest.mark.parametrize("make_kernel", [gaussian, gaussian_derivative])
def test_correlation_along_time_is_the_direct_sum(make_kernel, rng: np.random.Generator) -> None:
    window, kernel = rng.random((20, 5, 7), np.float32), make_kernel(2.0)
    expected = [
        np.einsum("tyx,t->yx", window[t : t + len(kernel)], kernel.astype(np.float64))
        for t in range(len(window) - len(kernel) + 1)
    ]
    np.testing.assert_allclose(correlate_time(window, kernel), expected, atol=1e-6)


def test_a_window_shorter_than_the_kernel_gives_no_frames() -> None:
    assert correlate_time(np.zeros((3, 5, 7), np.float32), gaussian(2.0)).shape == (0, 5, 7)


def test_an_odd_kernel_gives_exactly_zero_on_equal_frames(rng: np.random.Generator) -> None:
    window = np.repeat(rng.random((1, 5, 7), np.float32), 13, axis=0)
    assert not correlate_time(window, gaussian_derivative(2.0)).any()


def test_the_derivative_of_a_ramp_is_its_slope() -> None:
    ramp = np.arange(30, dtype=np.float32)[:, None, None] * np.float32(0.25)
    np.testing.assert_allclose(correlate_time(ramp, gaussian_derivative(4.0)), 0.25, rtol=1e-6)


@pytest.mark.parametrize("block_frames", [1, 3, 40])
def test_blocks_with_a_delay_filter_as_the_whole_does(
    block_frames: int, rng: np.random.Generator
) -> None:
    video, kernel = rng.random((33, 4, 6), np.float32), gaussian(2.0)
    delay = Delay(len(kernel) // 2)
    parts = [correlate_time(delay.push(b), kernel) for b in blocks(video, block_frames)]
    np.testing.assert_array_equal(np.concatenate(parts), correlate_time(video, kernel))


def test_held_ends_repeat_the_first_and_the_last_frame() -> None:
    planes = [np.full((1, 1), value, np.float32) for value in (1, 2, 3)]
    assert [int(plane[0, 0]) for plane in hold_ends(planes, 2)] == [1, 1, 1, 2, 3, 3, 3]
    assert [int(plane[0, 0]) for plane in hold_ends(planes[:1], 1)] == [1, 1, 1]


def test_maxima_are_the_voxels_above_all_their_neighbours(rng: np.random.Generator) -> None:
    window = rng.random((6, 12, 14), np.float32)
    expected = [
        (t, y, x)
        for t, y, x in np.ndindex(window.shape)
        if 1 <= t < 5 and 2 <= y < 10 and 2 <= x < 12 and window[t, y, x] > 0.5
        and window[t, y, x] == window[t - 1 : t + 2, y - 1 : y + 2, x - 1 : x + 2].max()
    ]  # fmt: skip
    assert len(expected) > 5
    np.testing.assert_array_equal(local_maxima(window, 0.5, border=2), expected)
