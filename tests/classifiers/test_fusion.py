import numpy as np
import pytest

from cinefeat.classifiers import (
    StackedSVM,
    concatenate_channels,
    fuse_scores,
    learn_weights,
    normalise_scores,
)

SCORES = np.array([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    "rule, first, second",
    [
        ("raw", [3, -4, 0], [0, 0, 0]),
        ("l2", [0.6, -0.8, 0], [0, 0, 0]),
        ("relu_l1", [1, 0, 0], [0, 0, 0]),
        ("softmax", np.exp([3, -4, 0]) / np.exp([3, -4, 0]).sum(), [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_rules_normalise_rows_as_defined(rule, first, second):
    np.testing.assert_allclose(normalise_scores(SCORES, rule), [first, second])


def test_softmax_does_not_overflow():
    assert normalise_scores([[1e4, 0.0]], "softmax").tolist() == [[1.0, 0.0]]


def test_raw_scores_are_copied():
    normalise_scores(SCORES, "raw")[:] = 7
    assert SCORES[0, 0] == 3.0


@pytest.mark.parametrize(
    "scores, rule, message",
    [
        ([1.0], "raw", "n_classes"),
        ([[np.nan]], "raw", "finite"),
        ([[1.0]], "max", "choose 'raw'"),
    ],
)
def test_unfit_scores_are_refused(scores, rule, message):
    with pytest.raises(ValueError, match=message):
        normalise_scores(scores, rule)


def test_weights_scale_the_normalised_scores():
    fused = fuse_scores([SCORES, 10 * SCORES], [1.0, 1.5], "l2")
    np.testing.assert_allclose(fused, 2.5 * normalise_scores(SCORES, "l2"))


def test_systems_of_different_clips_are_refused():
    with pytest.raises(ValueError, match="score the same clips"):
        fuse_scores([SCORES, SCORES[:1]])


def test_a_weight_is_needed_for_each_system():
    with pytest.raises(ValueError, match="3 weights for 2"):
        fuse_scores([SCORES, SCORES], [1, 2, 3])


def test_learned_weights_favour_the_system_that_knows(rng):
    y = rng.integers(0, 4, 300)
    good = np.eye(4)[y] + 0.6 * rng.normal(size=(300, 4))
    noise = rng.normal(size=(300, 4))
    weights = learn_weights([noise, good], y, np.arange(4))
    assert weights.sum() == pytest.approx(1)
    assert weights[1] > 0.7


def test_equal_systems_get_equal_weights():
    y = np.array([0, 1, 2])
    assert learn_weights([np.eye(3), np.eye(3)], y, [0, 1, 2]).tolist() == [0.5, 0.5]


def test_learned_weights_are_at_least_as_accurate_as_each_system(rng):
    y = rng.integers(0, 5, 200)
    systems = [np.eye(5)[y] + rng.normal(size=(200, 5)) for _ in range(3)]
    weights = learn_weights(systems, y, np.arange(5), "softmax", n_steps=10)
    fused = fuse_scores(systems, weights.tolist(), "softmax").argmax(axis=1)
    assert np.mean(fused == y) >= max(np.mean(s.argmax(axis=1) == y) for s in systems)


def test_channels_are_scaled_to_their_weights_before_they_are_joined(rng):
    blocks = [rng.normal(size=(4, 3)) * 100, rng.normal(size=(4, 5))]
    joined = concatenate_channels(blocks, [1.0, 2.0])
    np.testing.assert_allclose(np.linalg.norm(joined[:, :3], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(joined[:, 3:], axis=1), 2, rtol=1e-6)


def test_channels_of_different_clips_are_not_joined():
    with pytest.raises(ValueError, match="same clips"):
        concatenate_channels([np.ones((2, 2)), np.ones((3, 2))])


def test_the_stacked_machine_uses_what_each_system_knows(rng):
    y = rng.integers(0, 4, 400)
    first = 4.0 * (np.arange(4) // 2 == (y // 2)[:, None])  # knows the half, not the class
    second = 4.0 * (np.arange(4) % 2 == (y % 2)[:, None])
    systems = [s + rng.normal(size=(400, 4)) for s in (first, second)]
    train, test = ([s[part] for s in systems] for part in (slice(200), slice(200, 400)))
    assert StackedSVM().fit(train, y[:200]).score(test, y[200:]) > 0.9
    assert np.mean(systems[0].argmax(axis=1) == y) < 0.6
