"""Reading videos: colours, times and rotation; and what is said of files that are not whole."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from cinefeat.pipeline.errors import ClipError
from cinefeat.pipeline.video import VideoReader, backend_versions, probe

# status, frames declared, frames decoded, and words of the reason
CLIPS = {
    "arajinzz_m84_1.mpg": ("ok", 550, 658, "the 550 declared are an estimate"),
    "decord_corrupted.mp4": ("short", 50, 49, "damaged: 49 of its 50 frames could be decoded"),
    "decord_flipping_a_pancake.mkv": ("ok", 311, 310, "the 311 declared are an estimate"),
    "decord_rot_180.mov": ("ok", 3, 3, "all 3 declared"),
    "decord_rot_90.mov": ("ok", 3, 3, "all 3 declared"),
    "decord_unordered.mov": ("ok", 4, 4, "all 4 declared"),
    "hmdb_cartwheel.avi": ("ok", 85, 84, "all 84 frames decoded; 1 of 85 declared are empty"),
    "imageio_realshort.mp4": ("ok", 36, 36, "all 36 declared"),
    "mma_part_0.mp4": ("ok", 32, 32, "all 32 declared"),
    "mpy_no_duration.webm": ("ok", None, 74, "the container declares no number"),
    "mpy_transparent.webm": ("ok", 150, 150, "all 150 declared"),
    "mpy_video_with_failing_audio.mp4": ("ok", 280, 280, "all 280 declared"),
    "skv_carphone_pristine.mp4": ("ok", 120, 120, "all 120 declared"),
    "skv_scene_cuts.mp4": ("ok", 250, 250, "all 250 declared"),
    "tc_av1_video.mkv": ("unreadable", 125, 0, "AV1 (AV01) cannot be decoded by this OpenCV"),
    "tc_h264_10bits.mp4": ("ok", 30, 30, "all 30 declared"),
    "tc_h265_video.mp4": ("ok", 10, 10, "all 10 declared"),
    "tc_nasa_13013.mp4": ("ok", 325, 325, "all 325 declared"),
    "tv_R6llTwEh07w.mp4": ("ok", 303, 303, "all 303 declared"),
    "tv_TrumanShow_wave_f_nm_np1_fr_med_26.avi": ("ok", 49, 48, "1 of 49 declared are empty"),
}


def _write(path: Path, frames: np.ndarray, fps: float = 25, codec: str = "MJPG") -> Path:
    size = frames.shape[2], frames.shape[1]
    fourcc = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def _gray_frames(n: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Frames of one grey each, 4 levels brighter from one to the next."""
    levels = 4 * np.arange(n, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (n, height, width, 3))


def test_frames_come_in_order_with_index_and_time(tmp_path):
    path = _write(tmp_path / "a.avi", _gray_frames(20), fps=10)
    with VideoReader(path) as video:
        read = list(video)
    assert [item.index for item in read] == list(range(20))
    assert [item.seconds for item in read] == pytest.approx(np.arange(20) / 10)
    levels = [item.frame.mean() for item in read]
    assert levels == pytest.approx(4.0 * np.arange(20), abs=1.5)


def test_colours_are_red_green_blue(tmp_path):
    frames = np.zeros((3, 48, 64, 3), np.uint8)
    frames[..., 0] = 200
    with VideoReader(_write(tmp_path / "red.avi", frames)) as video:
        frame = next(iter(video)).frame
    assert (frame.dtype, frame.shape) == (np.uint8, (48, 64, 3))
    assert frame.reshape(-1, 3).mean(axis=0) == pytest.approx([200, 0, 0], abs=6)


def test_a_kept_frame_is_not_overwritten_by_the_next(tmp_path):
    with VideoReader(_write(tmp_path / "a.avi", _gray_frames(3))) as video:
        stream = iter(video)
        first = next(stream).frame
        before = first.copy()
        next(stream)
    assert np.array_equal(first, before)


def test_the_header_is_known_before_the_first_frame(tmp_path):
    with VideoReader(_write(tmp_path / "a.avi", _gray_frames(5), fps=12.5)) as video:
        assert (video.frames_declared, video.frames_decoded, video.fps) == (5, 0, 12.5)
        assert (video.width, video.height, video.rotation, video.codec) == (64, 48, 0, "MJPG")


def test_a_reader_is_read_once(tmp_path):
    with VideoReader(_write(tmp_path / "a.avi", _gray_frames(2))) as video:
        assert len(list(video)) == video.frames_decoded == 2
        with pytest.raises(RuntimeError, match="read once"):
            iter(video)


@pytest.mark.parametrize(
    "name", ["two words.avi", "ünï 日本.avi", "100%d.avi", "file:x.avi", "[a]{b}&;'.avi"]
)
def test_any_file_name_is_read(tmp_path, monkeypatch, name):
    _write(tmp_path / "a.avi", _gray_frames(3)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with VideoReader(name) as video:
        assert len(list(video)) == 3


@pytest.mark.parametrize("degrees", [90, 180])
def test_rotation_is_applied_and_reported(shared, degrees):
    path = shared / f"data/clips/decord_rot_{degrees}.mov"
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    stored = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    with VideoReader(path) as video:
        frame = next(iter(video)).frame
        assert video.rotation == degrees
        assert frame.shape[:2] == (video.height, video.width)
    assert np.array_equal(frame, np.rot90(stored, -degrees // 90))


def test_times_are_those_of_the_container_where_the_rate_varies(shared):
    with VideoReader(shared / "data/clips/mma_part_0.mp4") as video:
        seconds = [item.seconds for item in video]
    assert video.times_filled == 0
    assert np.diff(seconds) == pytest.approx([1 / 30] * 30 + [2 / 30], abs=1e-6)


def test_a_missing_time_follows_by_the_last_interval(shared):
    with VideoReader(shared / "data/clips/hmdb_cartwheel.avi") as video:
        seconds = [item.seconds for item in video]
    assert video.times_filled == 1
    assert seconds[0] == pytest.approx(2 / 30)
    assert np.diff(seconds) == pytest.approx([1 / 30] * 83)


@pytest.mark.parametrize("name", CLIPS)
def test_every_odd_clip_gets_its_status_and_a_true_reason(shared, name, capfd):
    status, declared, decoded, reason = CLIPS[name]
    found = probe(shared / "data/clips" / name)
    assert (found.status, found.frames_declared, found.frames_decoded) == (
        status,
        declared,
        decoded,
    )
    assert reason in found.reason
    assert capfd.readouterr() == ("", "")


def test_the_table_names_every_odd_clip(shared):
    assert sorted(path.name for path in (shared / "data/clips").iterdir()) == sorted(CLIPS)


@pytest.mark.parametrize("name", [n for n, (status, *_) in CLIPS.items() if status != "unreadable"])
def test_times_increase_and_frames_have_one_size(shared, name):
    with VideoReader(shared / "data/clips" / name) as video:
        read = [(item.seconds, item.frame.shape) for item in video]
    seconds, shapes = zip(*read, strict=True)
    assert np.all(np.diff(seconds) > 0)
    assert set(shapes) == {(video.height, video.width, 3)}


def test_ucf101_clips_are_whole(shared):
    found = [probe(path) for path in (shared / "data/ucf101_clips").glob("*.avi")]
    assert {(item.status, item.width, item.height) for item in found} == {("ok", 320, 240)}
    assert all(item.frames_declared == item.frames_decoded for item in found)


@pytest.mark.parametrize(
    "suffix, reason",
    [
        ("avi", "cut off or trimmed: [0-9]+ of the 60 declared frames are in"),
        ("mkv", r"ends at 1\.. of 2\.4 s"),
    ],
)
def test_a_file_cut_in_half_is_short_and_keeps_its_frames(tmp_path, suffix, reason):
    path = _write(tmp_path / f"a.{suffix}", _gray_frames(60))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = probe(path)
    assert (found.status, found.frames_declared) == ("short", 60)
    assert 15 <= found.frames_decoded <= 40
    assert re.search(reason, found.reason)


def test_decoding_goes_on_after_damage(shared):
    with VideoReader(shared / "data/clips/decord_corrupted.mp4") as video:
        seconds = [item.seconds for item in video]
    assert video.gaps == 1
    assert len(seconds) == 49
    assert np.flatnonzero(np.diff(seconds) > 0.15).tolist() == [29]


def _bad_file(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "cut":
        _write(path, _gray_frames(60), codec="mp4v")
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind != "absent":
        path.write_bytes({"empty": b"", "text": b"not a video\n" * 200}[kind])
    return path


BAD_FILES = {
    "absent": "cannot be read: No such file",
    "folder": "cannot be read: Is a directory",
    "empty": "the file is empty",
    "text": "not a video that FFmpeg can open",
    "cut": "not a video that FFmpeg can open",
}


@pytest.mark.parametrize("kind, reason", BAD_FILES.items())
def test_a_file_that_is_no_video_is_an_error_of_its_clip(tmp_path, kind, reason):
    with pytest.raises(ClipError, match=reason):
        VideoReader(_bad_file(tmp_path, kind))


@pytest.mark.parametrize("kind, reason", BAD_FILES.items())
def test_probing_what_is_no_video_says_why_and_makes_no_noise(tmp_path, kind, reason, capfd):
    found = probe(_bad_file(tmp_path, kind))
    assert (found.status, found.frames_decoded) == ("unreadable", None)
    assert reason in found.reason
    assert capfd.readouterr() == ("", "")


def test_zero_frames_are_an_error_with_the_remedy(shared):
    remedy = r"AV1 .* re-encode the video, for example to H\.264"
    with (
        VideoReader(shared / "data/clips/tc_av1_video.mkv") as video,
        pytest.raises(ClipError, match=remedy),
    ):
        list(video)


def _write_jpegs(path: Path, shapes: list[tuple[int, int]]) -> Path:
    pictures = [cv2.imencode(".jpg", np.full((*shape, 3), 90, np.uint8))[1] for shape in shapes]
    path.write_bytes(b"".join(picture.tobytes() for picture in pictures))
    return path


@pytest.mark.parametrize("height, width", [(47, 63), (1, 33), (121, 17)])
def test_any_frame_size_is_read(tmp_path, height, width):
    found = probe(_write_jpegs(tmp_path / "a.mjpeg", [(height, width)] * 3))
    assert (found.status, found.frames_decoded) == ("ok", 3)
    assert (found.height, found.width) == (height, width)


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    with VideoReader(_write_jpegs(tmp_path / "a.mjpeg", [(48, 64)] * 3 + [(24, 64)] * 3)) as video:
        assert [item.frame.shape for item in video] == [(48, 64, 3)] * 6


def test_a_probe_holds_the_file_as_it_is(tmp_path):
    path = _write(tmp_path / "a.avi", _gray_frames(10), fps=5)
    found = probe(path)
    assert (found.bytes, found.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert found.duration == pytest.approx(2.0)
    assert found.reason == "all 10 declared frames decoded"


@pytest.mark.parametrize("n, duration", [(1, 0.2), (2, 0.4)])
def test_the_duration_counts_the_last_frame(tmp_path, n, duration):
    path = _write(tmp_path / "a.avi", _gray_frames(n), fps=5)
    assert probe(path).duration == pytest.approx(duration)


def test_the_digest_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "a.avi"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert probe(path).sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_versions_name_opencv_and_its_ffmpeg():
    versions = backend_versions()
    assert versions["opencv"] == cv2.__version__
    assert versions["ffmpeg"].startswith("avcodec ")
