"""Windows and features along time."""

import numpy as np
import pytest

from cinefeat.extractors.timeline import draw_heat_map, draw_windows, mark_frame, rows_to_frames


def test_rows_spread_as_the_mean_of_all_that_cover_a_frame(rng: np.random.Generator) -> None:
    rows, first = rng.normal(size=(9, 4)), rng.integers(0, 20, 9)
    last = first + rng.integers(0, 6, 9)
    along = rows_to_frames(rows, first, last, 30)
    for t in range(30):
        covers = (first <= t) & (t <= last)
        wanted = rows[covers].mean(axis=0) if covers.any() else np.full(4, np.nan)
        np.testing.assert_allclose(along[t], wanted, atol=1e-12)


def test_rows_of_another_video_are_refused() -> None:
    with pytest.raises(ValueError, match="rows cover frames 3 to 9; the video has 0 to 7"):
        rows_to_frames(np.ones((1, 2)), np.array([3]), np.array([9]), 8)


def test_a_heat_map_runs_from_dark_to_bright_and_leaves_gaps_grey() -> None:
    picture = draw_heat_map(np.array([[0.0], [1.0], [np.nan], [0.5]]), (2, 8))
    brightness = picture[0, ::2].astype(int).sum(axis=1)
    assert brightness[0] < brightness[3] < brightness[1]
    assert picture[0, 4].tolist() == [225, 225, 225]


def test_windows_have_a_line_each_at_their_frames() -> None:
    picture = draw_windows([(0, 4), (5, 9)], 10, (4, 20))
    assert (picture[0, :10] == picture[0, 0]).all()
    assert (picture[3, 10:] == picture[0, 0]).all()
    assert (picture[0, 10:] == picture[3, 0]).all()


def test_the_mark_stands_at_its_frame() -> None:
    picture = np.zeros((3, 40, 3), np.uint8)
    assert mark_frame(picture, 3, 4).any(axis=(0, 2)).nonzero()[0].tolist() == [34, 35]
    assert not picture.any()
