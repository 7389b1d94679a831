"""Film strips: which frames, what they may cost, and what is said where there is none."""

import base64
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from report_folders import clips_of
from synthetic import write_video

from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.reporting import film
from cinefeat.pipeline.reporting.film import film_strips


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    return clips_of(tmp_path)[0]


def test_frames_come_from_the_middles_of_four_parts(tmp_path: Path) -> None:
    grey = np.arange(16, dtype=np.uint8)[:, None, None] * 15 + np.zeros((16, 32, 64), np.uint8)
    path = write_video(tmp_path / "grey.avi", grey)
    (strip,) = film_strips(["a"], {"a": Clip("a", path, "x", frames_decoded=16)})
    data = np.frombuffer(base64.b64decode(strip.uri.partition(",")[2]), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert image.shape == (strip.height, strip.width) == (120, 4 * 240 + 3 * 4)
    means = [image[:, 244 * k : 244 * k + 240].mean() for k in range(4)]
    np.testing.assert_allclose(means, np.array([2, 6, 10, 14]) * 15, atol=4)
    assert strip.seconds == pytest.approx([0.08, 0.24, 0.4, 0.56])


@pytest.mark.parametrize("change, reason", [
    ({"path": Path("/nowhere.avi")}, "no longer there"),
    ({"sha256": "0" * 64}, "has changed since"),
])  # fmt: skip
def test_a_video_that_is_gone_or_another_costs_its_strip_alone(
    clip: Clip, change: dict, reason: str
) -> None:
    first, second = film_strips(["bad", "good"], {"bad": replace(clip, **change), "good": clip})
    assert reason in first.reason
    assert not first.uri
    assert second.uri


def test_a_file_that_is_no_video_says_so(tmp_path: Path) -> None:
    path = tmp_path / "text.avi"
    path.write_text("no video")
    (strip,) = film_strips(["a"], {"a": Clip("a", path, "x")})
    assert strip.reason.startswith("the video cannot be shown: ")


def test_a_clip_that_nobody_knows_says_so() -> None:
    (strip,) = film_strips(["a"], {})
    assert "does not say where" in strip.reason


def test_all_strips_together_keep_to_their_bytes(clip: Clip) -> None:
    whole = film_strips(["a"], {"a": clip})[0]
    n_bytes = len(base64.b64decode(whole.uri.partition(",")[2]))
    strips = film_strips(["a"] * 5, {"a": clip}, max_bytes=2 * n_bytes)
    assert [bool(strip.uri) for strip in strips] == [True, True, False, False, False]
    assert "its share" in strips[-1].reason


def test_a_long_video_is_read_no_further_than_allowed(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film, "MAX_READ", 4)
    (strip,) = film_strips(["a"], {"a": clip})
    assert strip.seconds == pytest.approx([0.0, 0.04, 0.08, 0.12])


def test_a_clip_of_fewer_frames_shows_each_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "two.avi", np.zeros((2, 32, 64), np.uint8))
    (strip,) = film_strips(["a"], {"a": Clip("a", path, "x", frames_decoded=2)})
    assert len(strip.seconds) == 2
