import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from cinefeat.classifiers import Mixture, encode_fisher
from cinefeat.classifiers.kmeans import nearest
from cinefeat.classifiers.threads import map_blocks, row_blocks


def blas_threads():
    return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}


@pytest.mark.parametrize("n_rows", [0, 1, 1023, 2047, 2048, 50_000])
def test_blocks_cover_every_row_once(n_rows):
    blocks = row_blocks(n_rows)
    assert [i for block in blocks for i in range(n_rows)[block]] == list(range(n_rows))
    assert len(blocks) <= 16


def test_results_come_in_the_order_of_the_blocks():
    with threadpool_limits(3, user_api="blas"):
        assert map_blocks(lambda block: block.start, row_blocks(50_000)) == [
            block.start for block in row_blocks(50_000)
        ]


def test_blas_has_one_thread_inside_and_its_own_number_outside():
    with threadpool_limits(3, user_api="blas"):
        inside = map_blocks(lambda _: blas_threads(), row_blocks(4000))
        assert inside == [{1}] * 3
        assert blas_threads() == {3}


def test_blas_gets_its_threads_back_after_an_error():
    with threadpool_limits(3, user_api="blas"):
        with pytest.raises(ZeroDivisionError):
            map_blocks(lambda _: 1 / 0, row_blocks(4000))
        assert blas_threads() == {3}


def test_callers_in_several_threads_leave_blas_as_it_was():
    meet = threading.Barrier(2)
    with threadpool_limits(3, user_api="blas"):
        callers = [
            threading.Thread(target=map_blocks, args=(lambda _: meet.wait(5), [slice(0, 1)]))
            for _ in range(2)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert blas_threads() == {3}


@pytest.mark.parametrize("n_threads", [2, 3])
def test_encodings_do_not_depend_on_the_number_of_threads(n_threads, rng):
    x = rng.normal(size=(9000, 12)).astype(np.float32)
    mixture = Mixture(np.full(40, 1 / 40), rng.normal(size=(40, 12)), np.full((40, 12), 0.3))
    words = rng.normal(size=(700, 12)).astype(np.float32)
    with threadpool_limits(1, user_api="blas"):
        vector, labels = encode_fisher(x, mixture), nearest(x, words)
    with threadpool_limits(n_threads, user_api="blas"):
        np.testing.assert_array_equal(encode_fisher(x, mixture), vector)
        np.testing.assert_array_equal(nearest(x, words), labels)
