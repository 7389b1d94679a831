import numpy as np
import pytest

from cinefeat.classifiers import bootstrap_difference, mcnemar_test


def test_mcnemar_counts_only_disagreements_and_is_symmetric(rng):
    first, second = rng.random(100) < 0.8, rng.random(100) < 0.7
    one, other = mcnemar_test(first, second), mcnemar_test(second, first)
    assert (one.only_first, one.only_second) == (other.only_second, other.only_first)
    assert one.p_value == other.p_value


@pytest.mark.parametrize("wins, losses, expected", [(3, 3, 1.0), (10, 0, 2 / 2**10), (0, 0, 1.0)])
def test_p_values_are_the_exact_binomial_ones(wins, losses, expected):
    first = [True] * wins + [False] * losses + [True] * 5
    second = [False] * wins + [True] * losses + [True] * 5
    assert mcnemar_test(first, second).p_value == pytest.approx(expected)


def test_the_interval_has_the_width_of_the_normal_one(rng):
    first, second = rng.random(2000) < 0.8, rng.random(2000) < 0.7
    gain = first.astype(float) - second
    half = 1.96 * gain.std() / np.sqrt(2000)
    interval = bootstrap_difference(first, second, random_state=0)
    assert interval.difference == pytest.approx(gain.mean())
    assert interval.low == pytest.approx(gain.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(gain.mean() + half, abs=0.1 * half)


def test_clips_of_one_group_are_drawn_together(rng):
    groups = np.repeat(np.arange(20), 50)
    first = np.repeat(rng.random(20) < 0.6, 50)
    second = ~first
    single = bootstrap_difference(first, second, random_state=0)
    grouped = bootstrap_difference(first, second, groups, random_state=0)
    ratio = (grouped.high - grouped.low) / (single.high - single.low)
    assert ratio == pytest.approx(np.sqrt(50), rel=0.15)


@pytest.mark.parametrize("first, second", [([True], [True, False]), ([], [])])
def test_unpaired_results_are_refused(first, second):
    with pytest.raises(ValueError, match="one value a clip"):
        mcnemar_test(first, second)


def test_a_group_is_needed_for_each_clip():
    with pytest.raises(ValueError, match="2 groups for 3 clips"):
        bootstrap_difference([1, 1, 0], [0, 0, 0], groups=[1, 2])
