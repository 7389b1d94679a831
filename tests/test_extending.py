"""The code of docs/extending.md adds an extractor."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import write_video
from test_architecture import ROOT
from test_documentation import _blocks

from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.stages import Job, describe
from cinefeat.pipeline.store import ProductWriter, read_arrays


def test_the_page_adds_an_extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page: dict[str, Any] = {"__name__": "page"}
    for block in _blocks(ROOT / "docs" / "extending.md"):
        exec(compile(block.text, "extending.md", "exec"), page)  # noqa: S102 - the page is ours
    monkeypatch.setitem(describe._EXTRACTORS, "frame-changes", page["frame_changes"])
    monkeypatch.setitem(describe.MIN_SIDES, "frame-changes", 16)

    frames = np.zeros((6, 48, 64, 3), np.uint8)
    frames[3:, :24, :32] = 200  # the upper left quarter lights up once
    clip = Clip(id="a", path=write_video(tmp_path / "a.avi", frames), label="x")
    settings = page["FrameChangeSettings"](extractor="frame-changes", n_cells=2)
    job = Job("describe", tmp_path / "a.h5", settings, (clip,), {}, {}, "a")
    with ProductWriter(job.target, {}) as product:
        describe.run(job, product)

    found = read_arrays(job.target)
    assert found["change"].shape == (5, 4)
    np.testing.assert_array_equal(found["end_frame"], np.arange(1, 6))
    np.testing.assert_allclose(found["change"][2], [200, 0, 0, 0], atol=8)
    np.testing.assert_allclose(found["change"][[0, 1, 3, 4]], 0, atol=8)
