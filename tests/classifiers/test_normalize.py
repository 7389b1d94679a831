import numpy as np
import pytest

from cinefeat.classifiers.normalize import intra_norm, l1_norm, l2_norm, root_norm, signed_power


@pytest.mark.parametrize("normalise", [l1_norm, l2_norm, root_norm])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_rows_stay_zero_and_dtypes_stay(normalise, dtype):
    out = normalise(np.zeros((2, 3), dtype))
    assert not out.any()
    assert out.dtype == dtype


def test_integers_become_float64():
    assert l2_norm(np.array([[3, 4]])).tolist() == [[0.6, 0.8]]


def test_root_normed_rows_have_unit_length(rng):
    x = root_norm(rng.normal(size=(5, 8)))
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1)


@pytest.mark.parametrize("power", [0.2, 0.5, 1.0])
def test_signed_power_is_odd(power, rng):
    x = rng.normal(size=10)
    np.testing.assert_array_equal(signed_power(-x, power), -signed_power(x, power))


def test_intra_norm_treats_each_block_of_each_row_apart():
    x = np.array([[3.0, 4.0, 0.0, 0.0], [0.0, 2.0, 5.0, 12.0]])
    expected = [[0.6, 0.8, 0, 0], [0, 1, 5 / 13, 12 / 13]]
    np.testing.assert_allclose(intra_norm(x, 2), expected)
