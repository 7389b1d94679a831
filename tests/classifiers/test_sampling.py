import numpy as np
import pytest

from cinefeat.classifiers.sampling import reservoir_sample, seed_sequence

ROWS = np.arange(200.0)[:, None]


def test_a_sample_holds_different_rows_of_the_stream():
    sample = reservoir_sample([ROWS], 50, random_state=0)
    assert len(np.unique(sample)) == 50
    assert set(sample.ravel()) <= set(ROWS.ravel())


def test_the_cut_into_bags_leaves_no_trace():
    cuts = np.split(ROWS, [0, 7, 7, 60, 199])
    np.testing.assert_array_equal(
        reservoir_sample(cuts, 50, random_state=3), reservoir_sample([ROWS], 50, random_state=3)
    )


def test_every_row_is_as_likely_as_any_other():
    counts = np.zeros(20)
    for seed in range(4000):
        counts[reservoir_sample([ROWS[:20]], 5, random_state=seed).astype(int).ravel()] += 1
    # each count is binomial with mean 1000 and deviation 27
    assert np.abs(counts - 1000).max() < 5 * 27.4


def test_a_short_stream_is_returned_whole():
    sample = reservoir_sample(iter([ROWS[:2], ROWS[2:5]]), 10)
    np.testing.assert_array_equal(sample, ROWS[:5])


def test_channels_are_drawn_with_the_same_rows():
    bags = [{"x": ROWS[i : i + 10], "y": -ROWS[i : i + 10]} for i in range(0, 200, 10)]
    sample = reservoir_sample(bags, 30, random_state=1)
    np.testing.assert_array_equal(sample["x"], -sample["y"])
    np.testing.assert_array_equal(sample["x"], reservoir_sample([ROWS], 30, random_state=1))


def test_the_byte_budget_bounds_all_channels_together():
    bags = [{"x": ROWS, "y": np.repeat(ROWS, 3, axis=1)}]
    sample = reservoir_sample(bags, 1000, random_state=0, max_bytes=20 * 4 * 8)
    assert sample["y"].shape == (20, 3)


@pytest.mark.parametrize(
    "bags, message",
    [
        ([], "no bag"),
        ([np.ones(3)], "shape"),
        ([np.ones((2, 3)), np.ones((2, 4))], "4 dimensions"),
        ([{"x": np.ones((2, 1)), "y": np.ones((3, 1))}], "differ in length"),
        ([{"x": np.ones((2, 1))}, {"y": np.ones((2, 1))}], "differ from the first"),
    ],
)
def test_unfit_bags_are_refused(bags, message):
    with pytest.raises(ValueError, match=message):
        reservoir_sample(bags, 2)


def test_a_budget_below_one_row_is_refused():
    with pytest.raises(ValueError, match="one row of 8 bytes"):
        reservoir_sample([ROWS], 2, max_bytes=7)


def test_an_integer_seed_repeats_and_a_generator_moves_on(rng):
    assert seed_sequence(5).entropy == seed_sequence(5).entropy
    assert seed_sequence(rng).entropy != seed_sequence(rng).entropy
