"""Which frames make a window, against the published formulas and the plain definition."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from cinefeat.extractors.sampling import (
    crop_offsets,
    dense_starts,
    segment_starts,
    stream_windows,
    window_indices,
)


@pytest.mark.parametrize(
    "policy, frames",
    [("repeat_last", [0, 1, 2, 2, 2, 2, 2]), ("wrap", [0, 1, 2, 0, 1, 2, 0])],
)
def test_a_short_video_is_lengthened_by_the_policy(policy: str, frames: list[int]) -> None:
    assert window_indices(0, 3, 7, policy).tolist() == frames


def test_a_window_within_the_video_is_left_alone_by_every_policy() -> None:
    for policy in ("repeat_last", "wrap", "error"):
        assert window_indices(2, 6, 4, policy).tolist() == [2, 3, 4, 5]


def test_the_error_policy_names_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"has 3 frames and a window 7; short_clips = 'repeat_"):
        window_indices(0, 3, 7, "error")


@pytest.mark.parametrize(
    "arguments, message",
    [((0, 3, 4, "loop"), "'loop'"), ((3, 3, 1), "starts at 3 in 3"), ((0, 0, 1), "in 0 frames")],
)
def test_impossible_windows_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        window_indices(*arguments)


@pytest.mark.parametrize("n_frames", [1, 15, 16, 17, 23, 24, 100])
@pytest.mark.parametrize("stride", [1, 8, 16, 20])
def test_streamed_windows_are_the_dense_windows(n_frames: int, stride: int) -> None:
    starts = dense_starts(n_frames, 16, stride)
    expected = [window_indices(start, n_frames, 16).tolist() for start in starts]
    streamed = list(stream_windows(range(n_frames), 16, stride))
    assert [window for *_, window in streamed] == expected
    assert [start for start, *_ in streamed] == starts.tolist()
    assert all(stop == min(start + 16, n_frames) for start, stop, _ in streamed)


def test_streaming_reads_no_further_than_the_window_it_yields() -> None:
    read = []

    def frames() -> Iterator[int]:
        for index in range(100):
            read.append(index)
            yield index

    next(stream_windows(frames(), 16, 8))
    assert len(read) == 16


def test_an_empty_stream_has_no_window() -> None:
    assert list(stream_windows([], 16, 8)) == []


@pytest.mark.parametrize("n_frames", [1, 5, 24, 25, 29, 30, 163, 1000])
@pytest.mark.parametrize("length", [1, 5])
def test_centred_segments_follow_the_published_formula(n_frames: int, length: int) -> None:
    tick = Fraction(max(n_frames - length + 1, 1), 25)
    published = [int(tick / 2 + tick * k) for k in range(25)]
    starts = segment_starts(n_frames, 25, length)
    assert starts.tolist() == published
    assert starts.max() + length <= max(n_frames, length)


def test_segments_of_the_first_tool_start_at_the_first_frame() -> None:
    assert segment_starts(250, 25, 10, "ends").tolist() == [10 * k for k in range(25)]
    assert segment_starts(5, 25, 10, "ends").tolist() == [0] * 25


def test_ten_crops_are_corners_centre_and_their_mirrors() -> None:
    crops = crop_offsets(256, 340, 224, 10)
    places = [(0, 0), (0, 116), (32, 0), (32, 116), (16, 58)]
    assert crops == [(*p, False) for p in places] + [(*p, True) for p in places]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: crop_offsets(100, 300, 112), "does not fit into frames of 100 x 300"),
        (lambda: crop_offsets(256, 340, 224, 5), "n_crops is 5"),  # type: ignore[arg-type]
        (lambda: segment_starts(9, 3, 1, "random"), "'random'"),  # type: ignore[arg-type]
        (lambda: segment_starts(0, 3, 1), "must be at least 1"),
        (lambda: dense_starts(9, 3, 0), "must be at least 1"),
        (lambda: next(stream_windows([1], 3, 0)), "must be at least 1"),
    ],
)
def test_senseless_arguments_are_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_starts_are_integers() -> None:
    assert dense_starts(40, 16, 8).dtype == np.int64
    assert segment_starts(40, 3, 1).dtype == np.int64
