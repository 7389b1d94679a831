"""Mirrored descriptors against descriptors of the mirrored video."""

import numpy as np
import pytest
from synthetic import motion_only_frames, moving_square

from cinefeat.extractors import dense_trajectories, mirror_descriptors, optical_flow_tvl1

NAMES = ("trajectory", "hog", "hof", "mbhx", "mbhy")


def _describe(frames: np.ndarray) -> dict[str, np.ndarray]:
    grays = np.ascontiguousarray(frames[..., 0] if frames.ndim == 4 else frames)
    flow = optical_flow_tvl1(grays[:-1], grays[1:], preset="fast")
    found = dense_trajectories(list(grays), camera_motion=False, flow=list(flow))
    return {name: found[name] for name in NAMES}


@pytest.fixture(scope="module")
def both() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    # a width that the 5 px grid divides into mirror-symmetric cells on the first scale
    frames = motion_only_frames("turning", 5, width=110)
    return _describe(frames), _describe(frames[:, :, ::-1])


def test_tracks_of_a_square_that_moves_right_are_those_of_one_that_moves_left() -> None:
    right, _ = moving_square(20, 64, 80, side=24, start=(8, 20), velocity=(1.5, 0.5))
    left = right[:, :, ::-1]
    expected = np.median(_describe(left)["trajectory"], axis=0)
    found = mirror_descriptors(_describe(right))["trajectory"]
    np.testing.assert_allclose(np.median(found, axis=0), expected, atol=0.01)
    assert expected[::2].max() < -0.03  # all steps go to the left


@pytest.mark.parametrize("name", NAMES[1:])
def test_the_mean_descriptor_is_that_of_the_mirrored_video(both, name: str) -> None:  # type: ignore[no-untyped-def]
    original, mirrored = both
    expected = mirrored[name].astype(np.float64).mean(axis=0)
    mean = mirror_descriptors({name: original[name]})[name].mean(axis=0)
    unmirrored = original[name].mean(axis=0)
    assert np.abs(mean - expected).max() < 0.5 * np.abs(unmirrored - expected).max()


@pytest.mark.parametrize("name", [*NAMES, "positions"])
def test_mirroring_twice_changes_nothing(rng: np.random.Generator, name: str) -> None:
    width = {"trajectory": 30, "hof": 108, "positions": 3}.get(name, 96)
    array = rng.random((5, width))
    twice = mirror_descriptors(mirror_descriptors({name: array}))[name]
    np.testing.assert_allclose(twice, array, atol=1e-15)


def test_a_row_without_a_mirror_image_is_named() -> None:
    with pytest.raises(ValueError, match="'info' has no mirror image"):
        mirror_descriptors({"info": np.zeros((1, 10))})


def test_motion_to_the_right_becomes_motion_to_the_left() -> None:
    hof = np.zeros((1, 3, 2, 2, 9), np.float32)
    hof[0, 0, 0, 1, 0] = 1  # first third, left cell, lower cell, bin of 0 degrees
    mirrored = mirror_descriptors({"hof": hof.reshape(1, 108)})["hof"].reshape(3, 2, 2, 9)
    assert np.argwhere(mirrored).tolist() == [[0, 1, 1, 4]]
