"""Flow as eight-bit codes: zero stays zero, bounded errors, the codes of other tools."""

import numpy as np
import pytest

from cinefeat.extractors.quantise import (
    decode_tsn,
    dequantise_flow,
    encode_tsn,
    flow_bounds,
    quantise_flow,
)

BOUNDS = (1.0, 15.0, 20.0, 33.3)


def _flow(rng: np.random.Generator, bound: float) -> np.ndarray:
    flow = rng.uniform(-bound, bound, (3, 20, 30, 2)).astype(np.float32)
    flow[0, 0, :3, 0] = (-bound, 0.0, bound)
    return flow


@pytest.mark.parametrize("bound", BOUNDS)
def test_zero_motion_returns_as_exactly_zero(bound):
    still = np.zeros((4, 5, 2), np.float32)
    assert (dequantise_flow(quantise_flow(still, bound), bound) == 0).all()


@pytest.mark.parametrize("bound", BOUNDS)
def test_flow_within_the_bound_returns_within_a_255th_of_it(rng, bound):
    flow = _flow(rng, bound)
    back = dequantise_flow(quantise_flow(flow, bound), bound)
    assert np.abs(back - flow).max() <= bound * (1 / 255 + 1e-7)  # float32


def test_flow_beyond_the_bound_is_clipped():
    flow = np.float32([[[1e6, -1e6]]])
    assert quantise_flow(flow, 20).tolist() == [[[255, 0]]]


def test_codes_are_a_fixed_point_of_decoding_and_encoding():
    codes = np.arange(256, dtype=np.uint8).reshape(1, 128, 2)
    assert (quantise_flow(dequantise_flow(codes, 20), 20) == codes).all()


def test_opposite_flow_has_opposite_codes(rng):
    flow = rng.uniform(-19, 19, (5, 6, 2)).astype(np.float32)
    codes = quantise_flow(flow).astype(int)
    assert (codes + quantise_flow(-flow) == 256).all()


def test_each_field_has_its_own_bound(rng):
    flow = _flow(rng, 1.0) * np.float32([1, 5, 0]).reshape(3, 1, 1, 1)
    bounds = flow_bounds(flow)
    back = dequantise_flow(quantise_flow(flow, bounds), bounds)
    error = np.abs(back - flow).max(axis=(1, 2, 3))
    assert bounds[2] == 1
    assert (error <= bounds * (1 / 255 + 1e-7)).all()


@pytest.mark.parametrize("value, code", [(-20, 0), (-25, 0), (20, 255), (0, 128), (0.4, 130)])
def test_dense_flow_codes_are_those_of_its_formula(value, code):
    # round(255 (v + 20) / 40); 0.4 px is 2.55 steps above 127.5
    assert encode_tsn(np.full((1, 1, 2), value, np.float32)).tolist() == [[[code, code]]]


@pytest.mark.parametrize("code", [127, 128])
def test_zero_of_tools_that_round_and_that_truncate_is_read_as_zero(code):
    assert (decode_tsn(np.full((2, 2, 2), code, np.uint8)) == 0).all()


def test_dense_flow_codes_return_to_the_centre_of_their_step(rng):
    flow = rng.uniform(1, 20, (5, 6, 2)).astype(np.float32)
    assert np.abs(decode_tsn(encode_tsn(flow)) - flow).max() <= 20 / 255 * (1 + 1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("function", [quantise_flow, encode_tsn])
def test_flow_without_a_value_is_refused(function, bad):
    with pytest.raises(ValueError, match="NaN or infinity"):
        function(np.full((1, 1, 2), bad, np.float32))


@pytest.mark.parametrize("bound", [0, -1.0, np.nan, [1.0, 2.0]])
def test_bounds_that_bound_nothing_are_refused(bound):
    with pytest.raises(ValueError, match="bound"):
        quantise_flow(np.zeros((1, 1, 2), np.float32), bound)


@pytest.mark.parametrize("function", [dequantise_flow, decode_tsn])
def test_codes_of_another_type_are_refused(function):
    with pytest.raises(ValueError, match="int16"):
        function(np.zeros((1, 1, 2), np.int16))
