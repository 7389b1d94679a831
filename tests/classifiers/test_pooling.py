import numpy as np
import pytest

from cinefeat.classifiers import Pooling, pool_max, pool_mean, pool_segments

X = np.array([[1.0, -2.0], [3.0, -4.0], [8.0, 0.0]])


def test_pools_of_three_rows_by_hand():
    assert pool_mean(X).tolist() == [4.0, -2.0]
    assert pool_max(X).tolist() == [8.0, 0.0]
    assert pool_segments(X, 2).tolist() == [5.0, -1.5]


def test_segments_of_equal_length_pool_to_the_mean(rng):
    x = rng.normal(size=(12, 5))
    np.testing.assert_allclose(pool_segments(x, 3), pool_mean(x))


def test_fewer_rows_than_segments_count_once_each():
    np.testing.assert_allclose(pool_segments(X[:2], 7), pool_mean(X[:2]))


@pytest.mark.parametrize("pool", [pool_mean, pool_max, pool_segments])
def test_no_rows_pool_to_zeros(pool):
    assert pool(np.empty((0, 3))).tolist() == [0.0, 0.0, 0.0]


def test_pooled_rows_have_unit_length_unless_told_otherwise():
    lengths = np.linalg.norm(Pooling("mean").fit_transform([X, X[:1]]), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    raw = Pooling("mean", normalize=False).fit_transform([X])
    assert raw.tolist() == [[4.0, -2.0]]


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="choose 'mean', 'max' or 'segments'"):
        Pooling("median").fit([X])
