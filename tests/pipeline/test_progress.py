"""Progress lines: one a heartbeat, whether or not an item comes."""

import logging
import time

import pytest

from cinefeat.pipeline.progress import track


def test_a_long_item_does_not_silence_the_heartbeat(caplog: pytest.LogCaptureFixture) -> None:
    def items():
        yield "a"
        time.sleep(0.35)
        yield "b"

    with caplog.at_level(logging.INFO):
        assert list(track(items(), 2, "describe", seconds=0.1)) == ["a", "b"]
    lines = [record.getMessage() for record in caplog.records]
    assert 2 <= len(lines) <= 3
    assert all(line.startswith("describe: 1 of 2 in 0 s, about") for line in lines)


def test_a_quick_stage_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(track(range(3), 3, "pool")) == [0, 1, 2]
    assert not caplog.records
