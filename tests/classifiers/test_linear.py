import numpy as np
import pytest

from cinefeat.classifiers import accumulate_gram
from cinefeat.classifiers.linear import column_blocks, linear_scores


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_the_gram_matrix_does_not_depend_on_the_blocks(size, dtype, tolerance, rng):
    x = rng.normal(size=(9, 50)).astype(dtype)
    gram = accumulate_gram(column_blocks(x, size))
    np.testing.assert_allclose(
        gram, x.astype(float) @ x.T.astype(float), rtol=0, atol=tolerance * 50
    )
    assert gram.dtype == np.float64
    np.testing.assert_array_equal(gram, gram.T)


def test_blocks_cover_the_columns_in_order(rng):
    x = rng.normal(size=(3, 10))
    np.testing.assert_array_equal(np.concatenate(list(column_blocks(x, 4)), axis=1), x)


@pytest.mark.parametrize(
    "blocks, message",
    [([], "no block"), ([np.ones((2, 3)), np.ones((3, 3))], "3 rows, the first had 2")],
)
def test_unfit_blocks_are_refused(blocks, message):
    with pytest.raises(ValueError, match=message):
        accumulate_gram(blocks)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_dims", [1, 4096, 9000])
def test_scores_are_products_plus_intercepts(dtype, n_dims, rng):
    x, coef = rng.normal(size=(4, n_dims)).astype(dtype), rng.normal(size=(3, n_dims)).astype(dtype)
    intercept = np.array([1.0, 2.0, 3.0])
    expected = x.astype(float) @ coef.T.astype(float) + intercept
    np.testing.assert_allclose(linear_scores(x, coef, intercept), expected, atol=1e-9)
