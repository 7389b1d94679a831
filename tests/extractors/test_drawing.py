"""Colours of flow and drawings of tracks, against known values and a literal version."""

import math

import numpy as np
import pytest

from cinefeat.extractors.drawing import colour_wheel, draw_tracks, flow_colours, flow_legend

# computed by hand from the wheel's slices: colours 0, 27, 13.5 and 40.5 of 55
KNOWN = {(1, 0): (255, 0, 0), (-1, 0): (0, 209, 255), (0, 1): (255, 229, 0), (0, -1): (88, 0, 255)}


def literal_colour(x: float, y: float) -> tuple[int, ...]:
    """The benchmark's rule for one vector, in the units of the greatest motion."""
    wheel = [[int(c) for c in colour] for colour in colour_wheel()]
    place = (math.atan2(-y, -x) / math.pi + 1) / 2 * (len(wheel) - 1)
    k = int(place)
    colour = []
    for channel in range(3):
        low, high = wheel[k][channel] / 255, wheel[(k + 1) % len(wheel)][channel] / 255
        value = (1 - (place - k)) * low + (place - k) * high
        speed = math.hypot(x, y)
        value = 1 - speed * (1 - value) if speed <= 1 else value * 0.75
        colour.append(int(255 * value))
    return tuple(colour)


@pytest.mark.parametrize(("motion", "colour"), KNOWN.items())
def test_full_motion_has_the_colour_of_the_benchmark(motion: tuple, colour: tuple) -> None:
    flow = np.full((2, 3, 2), motion, np.float32) * 7
    assert (flow_colours(flow, 7) == colour).all()


def test_colours_are_those_of_the_literal_rule(rng: np.random.Generator) -> None:
    flow = rng.normal(0, 0.8, (20, 30, 2))
    literal = [[literal_colour(x, y) for x, y in row] for row in flow.tolist()]
    np.testing.assert_allclose(flow_colours(flow, 1).astype(int), literal, atol=1)


def test_no_motion_is_white_faster_than_full_is_darker_and_unknown_is_black() -> None:
    flow = np.float32([[[0, 0], [2, 0], [np.nan, 0], [2e9, 0]]])
    assert flow_colours(flow, 1)[0].tolist() == [[255] * 3, [191, 0, 0], [0] * 3, [0] * 3]


def test_the_sign_of_zero_does_not_change_a_colour() -> None:
    assert (flow_colours(np.float32([[[1, -0.0]]]), 1) == [255, 0, 0]).all()


@pytest.mark.parametrize(("flow", "scale"), [(np.zeros((2, 2)), 1), (np.zeros((2, 2, 2)), 0)])
def test_what_is_no_flow_or_no_scale_is_refused(flow: np.ndarray, scale: float) -> None:
    with pytest.raises(ValueError, match=r"flow has shape|must be above 0"):
        flow_colours(flow, scale)


def test_the_legend_has_each_direction_at_its_place() -> None:
    legend = flow_legend(33)
    assert legend[16, 32].tolist() == [255, 0, 0]
    assert legend[0, 16].tolist() == [88, 0, 255]
    assert legend[0, 0].tolist() == [255, 255, 255]


def test_a_track_is_dark_where_it_began_and_ends_in_red() -> None:
    track = np.array([[2.0, 5.0], [12.0, 5.0], [22.0, 5.0]])
    drawn = draw_tracks(np.zeros((10, 30, 3), np.uint8), [track])
    assert drawn[5, [7, 17, 22]].tolist() == [[0, 85, 0], [0, 170, 0], [255, 0, 0]]


def test_removed_tracks_are_white_and_lie_below() -> None:
    picture = np.zeros((10, 30, 3), np.uint8)
    flat = np.array([[2.0, 5.0], [25.0, 5.0]])
    drawn = draw_tracks(picture, [np.array([[10.0, 1.0], [10.0, 9.0]])], [flat])
    assert drawn[5, 5].tolist() == [255, 255, 255]
    assert drawn[5, 10].tolist() == [0, 127, 0]
    assert not picture.any()
