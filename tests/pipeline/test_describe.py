"""The describe stage: the cap on rows, and clips that are too short to describe."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import motion_only_frames, write_video

from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.settings import TrajectorySettings
from cinefeat.pipeline.stages import Job, describe
from cinefeat.pipeline.store import ProductWriter, read_arrays


def _describe(video: Path, out: Path, **settings: int) -> dict[str, np.ndarray]:
    table = TrajectorySettings(extractor="dense-trajectories", flow="farneback", **settings)
    job = Job("describe", out, table, (Clip("c", video, "x"),), {}, {}, "c")
    with ProductWriter(out, {}) as product:
        describe.run(job, product)
    return read_arrays(out)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = motion_only_frames("turning", 1, n_frames=20)
    return write_video(tmp_path_factory.mktemp("videos") / "turning.avi", frames)


def test_the_cap_keeps_rows_of_the_whole_clip_in_their_order(video: Path, tmp_path: Path) -> None:
    every = _describe(video, tmp_path / "all.h5")
    some = _describe(video, tmp_path / "some.h5", max_rows=10)
    assert len(every["info"]) > 10
    rows = [np.flatnonzero((every["info"] == row).all(axis=1))[0] for row in some["info"]]
    assert len(rows) == 10
    assert rows == sorted(rows)
    for name, array in some.items():
        np.testing.assert_array_equal(array, every[name][rows], err_msg=name)


def test_the_seed_decides_which_rows_the_cap_keeps(video: Path, tmp_path: Path) -> None:
    draws = [_describe(video, tmp_path / f"{s}.h5", max_rows=10, seed=s)["info"] for s in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


@pytest.mark.parametrize("cap", [{}, {"max_rows": 5}])
def test_a_clip_too_short_for_a_track_has_an_empty_bag(tmp_path: Path, cap: dict) -> None:
    video = write_video(tmp_path / "short.avi", motion_only_frames("turning", 1, n_frames=8))
    assert _describe(video, tmp_path / "short.h5", **cap)["hog"].shape == (0, 96)


@pytest.mark.parametrize("cap", [{}, {"max_rows": 5}])
def test_a_single_frame_is_a_clips_failure(tmp_path: Path, cap: dict) -> None:
    video = write_video(tmp_path / "one.avi", motion_only_frames("turning", 1, n_frames=1))
    with pytest.raises(ClipError, match="1 frame"):
        _describe(video, tmp_path / "one.h5", **cap)
