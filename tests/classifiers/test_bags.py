import numpy as np
import pytest

from cinefeat.classifiers.bags import as_bag, iter_bags, row_chunks, stack_bags


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.uint8])
def test_bags_become_contiguous_float32(dtype):
    bag = as_bag(np.asfortranarray(np.ones((3, 2), dtype)))
    assert bag.dtype == np.float32
    assert bag.flags.c_contiguous


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_outside_float32_are_refused(value):
    with pytest.raises(ValueError, match="NaN or infinity"):
        as_bag(np.full((2, 2), value))


def test_one_descriptor_is_not_a_bag():
    with pytest.raises(ValueError, match=r"shape \(N, D\), not \(5,\)"):
        as_bag(np.ones(5))


def test_bags_of_different_dimensions_are_refused():
    with pytest.raises(ValueError, match="3 dimensions"):
        list(iter_bags([np.ones((1, 2)), np.ones((1, 3))]))


def test_one_array_is_one_bag():
    assert [bag.shape for bag in iter_bags(np.ones((4, 2)))] == [(4, 2)]


def test_bags_stack_in_order():
    stacked = stack_bags([np.array([[1.0]]), np.empty((0, 1)), np.array([[2.0], [3.0]])])
    assert stacked.ravel().tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("bags", [[], [np.empty((0, 3))]])
def test_nothing_to_stack_is_an_error(bags):
    with pytest.raises(ValueError, match="no descriptor"):
        stack_bags(bags)


@pytest.mark.parametrize("n_rows, row_bytes", [(0, 8), (1, 8), (1000, 64), (10, 10**9)])
def test_chunks_cover_every_row_once(n_rows, row_bytes):
    covered = [i for rows in row_chunks(n_rows, row_bytes, 2**12) for i in range(n_rows)[rows]]
    assert covered == list(range(n_rows))
