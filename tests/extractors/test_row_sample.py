"""A bounded sample of rows."""

import numpy as np
import pytest

from cinefeat.extractors import draw_rows


def _chunks(sizes):
    ends = np.cumsum(sizes)
    return [
        {"x": np.arange(end - size, end), "y": -np.arange(end - size, end)}
        for size, end in zip(sizes, ends, strict=True)
    ]


@pytest.mark.parametrize("sizes", [[200], [50, 0, 150], [1] * 200, [199, 1]])
def test_chunks_make_no_difference(sizes):
    expected = draw_rows(_chunks([200]), 10, seed=3)["x"]
    np.testing.assert_array_equal(draw_rows(_chunks(sizes), 10, seed=3)["x"], expected)


def test_rows_stay_together_and_in_order():
    drawn = draw_rows(_chunks([30, 70]), 20, seed=0)
    np.testing.assert_array_equal(drawn["x"], -drawn["y"])
    assert (np.diff(drawn["x"]) > 0).all()


@pytest.mark.parametrize("n", [0, 5])
def test_few_rows_are_all_kept(n):
    np.testing.assert_array_equal(draw_rows(_chunks([n]), 5, seed=1)["x"], np.arange(n))


def test_each_row_is_as_likely():
    counts = np.zeros(20)
    for seed in range(400):
        counts[draw_rows(_chunks([7, 13]), 5, seed=seed)["x"]] += 1
    # 100 expected of each, standard deviation 8.7
    assert np.abs(counts - 100).max() < 4 * 8.7


def test_drawing_nothing_is_refused():
    with pytest.raises(ValueError, match="n_rows is 0"):
        draw_rows(_chunks([3]), 0, seed=0)


def test_no_chunk_is_refused():
    with pytest.raises(ValueError, match="no chunks"):
        draw_rows([], 3, seed=0)
