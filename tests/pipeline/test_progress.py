"""Progress lines: one a heartbeat, whether or not an item comes."""

import logging
import re
import time

import pytest

from cinefeat.pipeline.progress import track


def test_a_long_item_does_not_silence_the_heartbeat(caplog: pytest.LogCaptureFixture) -> None:
    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records]

    def items():
        yield "a"
        until = time.monotonic() + 60
        while sum("1 of 2" in line for line in told()) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        yield "b"

    started = time.monotonic()
    with caplog.at_level(logging.INFO):
        assert list(track(items(), 2, "describe", seconds=0.1)) == ["a", "b"]
    elapsed = time.monotonic() - started
    assert len(told()) <= elapsed / 0.1
    lines = [line for line in told() if "1 of 2" in line]
    assert len(lines) >= 2
    for line in lines:
        found = re.fullmatch(r"describe: 1 of 2 in (\d+) s, about (\d+) s left", line)
        assert found
        assert int(found[1]) <= round(elapsed)


def test_a_quick_stage_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(track(range(3), 3, "pool")) == [0, 1, 2]
    assert not caplog.records
