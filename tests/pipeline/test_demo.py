import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from cinefeat.pipeline import demo
from cinefeat.pipeline.demo import write_demo
from cinefeat.pipeline.demo_motion import (
    ACTIONS,
    REST_RANGES,
    Body,
    joint_angles,
    joint_positions,
    project,
)
from cinefeat.pipeline.demo_render import draw_capsule, noise
from cinefeat.pipeline.errors import InputError

SHORT = (16, 18)


def read_frames(path: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return np.stack(frames)


def read_manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set of the default size and seed."""
    folder = tmp_path_factory.mktemp("demo") / "videos"
    write_demo(folder)
    return folder


@pytest.fixture(scope="module")
def clips(folder: Path) -> list[np.ndarray]:
    return [read_frames(folder / row["path"]) for row in read_manifest(folder)]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    write_demo(folder, n_actors=1, n_frames=SHORT)
    return folder


def make_take(seed: int = 3) -> demo.Take:
    return demo.draw_take(np.random.default_rng(seed), (20, 20))


def leave_one_actor_out(folder: Path, features: list[np.ndarray]) -> float:
    rows = read_manifest(folder)
    x = np.stack([feature.ravel() for feature in features])
    y = np.array([row["label"] for row in rows])
    groups = [row["group"] for row in rows]
    model = make_pipeline(StandardScaler(), LinearSVC(C=0.01, random_state=0))
    predicted = cross_val_predict(model, x, y, groups=groups, cv=LeaveOneGroupOut())
    return float((predicted == y).mean())


# --- what is promised about the files


def test_every_actor_does_every_action(folder: Path) -> None:
    rows = read_manifest(folder)
    pairs = {(row["label"], row["group"]) for row in rows}
    assert len(rows) == len(pairs) == 36
    assert len({label for label, _ in pairs}) == len({group for _, group in pairs}) == 6


def test_manifest_lists_the_videos_of_the_folder(folder: Path) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.avi")}
    assert {row["path"] for row in read_manifest(folder)} == files


def test_path_names_action_and_actor(folder: Path) -> None:
    for row in read_manifest(folder):
        assert row["path"] == f"{row['label']}/{row['group']}_{row['label']}.avi"


def test_decoded_frames_agree_with_the_manifest(folder: Path, clips: list[np.ndarray]) -> None:
    stated = [(int(r["frames"]), int(r["height"]), int(r["width"])) for r in read_manifest(folder)]
    assert stated == [clip.shape[:3] for clip in clips]
    assert all(48 <= n_frames <= 60 for n_frames, _, _ in stated)


def test_videos_play_at_25_frames_a_second(small: Path) -> None:
    path = next(small.rglob("*.avi"))
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == demo.FPS == 25


def test_decoded_pixels_are_close_to_the_rendered_ones(small: Path) -> None:
    label, actor, take = next(demo.draw_clips(1, 0, SHORT))
    rendered = np.stack(list(demo.render(label, actor, take)))
    decoded = read_frames(small / "bend" / "actor01_bend.avi")
    assert np.abs(decoded.astype(float) - rendered).mean() < 4


# --- determinism, resume and refusal


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_seed_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    write_demo(tmp_path / "again", n_actors=1, n_frames=SHORT)
    assert content(tmp_path / "again") == content(small)


def test_another_seed_gives_other_videos(small: Path, tmp_path: Path) -> None:
    paths = write_demo(tmp_path / "other", n_actors=1, n_frames=SHORT, seed=1)
    first = read_frames(paths[0])[0].astype(float)
    assert np.abs(first - read_frames(small / "bend" / "actor01_bend.avi")[0]).mean() > 10


def test_second_call_writes_no_video(small: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*.avi")}
    write_demo(small, n_actors=1, n_frames=SHORT)
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*.avi")} == before


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_second_call_restores_what_is_not_whole(small: Path, damage: str) -> None:
    whole = content(small)
    path = small / "wave" / "actor01_wave.avi"
    keep = {"missing": 0, "truncated": path.stat().st_size // 2, "empty": 0}[damage]
    path.write_bytes(path.read_bytes()[:keep])
    if damage == "missing":
        path.unlink()
    write_demo(small, n_actors=1, n_frames=SHORT)
    assert content(small) == whole


def test_interrupted_writing_leaves_no_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_early(*args: object) -> object:
        yield np.zeros((demo.HEIGHT, demo.WIDTH, 3), np.uint8)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "render", stop_early)
    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path / "set", n_actors=1, n_frames=SHORT)
    assert list(content(tmp_path / "set")) == ["demo.json"]


def test_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(InputError, match="is not empty and no demo set"):
        write_demo(tmp_path)
    assert list(content(tmp_path)) == ["thesis.tex"]


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="is not empty"):
        write_demo(tmp_path / "file")


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="cannot be written"):
        write_demo(tmp_path / "file" / "set")


def test_demo_of_other_settings_is_refused(small: Path) -> None:
    with pytest.raises(InputError, match="demo set of other settings"):
        write_demo(small, n_actors=1, n_frames=SHORT, seed=5)


def test_mark_says_what_made_the_set(small: Path) -> None:
    made_by = json.loads((small / "demo.json").read_text())
    assert (made_by["seed"], made_by["n_actors"], made_by["n_frames"]) == (0, 1, [16, 18])


@pytest.mark.parametrize("wrong", [{"n_actors": 0}, {"seed": -1}, {"n_frames": (9, 8)}])
def test_number_out_of_range_is_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValueError, match="at least one actor"):
        write_demo(tmp_path / "set", **wrong)
    assert not (tmp_path / "set").exists()


def test_progress_counts_up_to_the_number_of_clips(small: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_demo(small, n_actors=1, n_frames=SHORT, progress=lambda *call: calls.append(call))
    assert calls == [(i, 6) for i in range(1, 7)]


# --- the label shows in the motion alone


@pytest.mark.parametrize("label", sorted(ACTIONS))
def test_first_frame_does_not_depend_on_the_action(label: str) -> None:
    actor, take = demo.draw_actor(0, 0), make_take()
    assert np.array_equal(
        next(demo.render(label, actor, take)), next(demo.render("bend", actor, take))
    )


@pytest.mark.parametrize("label", sorted(ACTIONS))
def test_every_pose_of_a_clip_is_a_first_pose_of_any_other_action(label: str) -> None:
    take, seconds = make_take(), np.array([0.0, 0.7])
    late = joint_angles(label, take.rest, take.phases, seconds)
    phase = take.phases[label] + 2 * np.pi * ACTIONS[label].hertz * 0.7
    other = next(name for name in ACTIONS if name != label)
    first = joint_angles(other, take.rest, {**take.phases, label: phase}, seconds)
    for name in REST_RANGES:
        assert late[name][1] == pytest.approx(first[name][0])


def color_histogram(clip: np.ndarray) -> np.ndarray:
    frame = clip[len(clip) // 2]
    return np.sqrt(cv2.calcHist([frame], [0, 1, 2], None, [6] * 3, [0, 256] * 3) / frame.size)


def single_frame_hog(clip: np.ndarray) -> np.ndarray:
    gray = cv2.cvtColor(clip[len(clip) // 2], cv2.COLOR_BGR2GRAY)
    return cv2.HOGDescriptor((160, 112), (16, 16), (16, 16), (8, 8), 9).compute(gray[:112])


def first_frame(clip: np.ndarray) -> np.ndarray:
    return cv2.resize(clip[0], (32, 24), interpolation=cv2.INTER_AREA).astype(float)


def mean_image(clip: np.ndarray) -> np.ndarray:
    return cv2.resize(clip.mean(axis=0), (32, 24), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(
    "appearance", [color_histogram, single_frame_hog, first_frame, mean_image, len]
)
def test_appearance_does_not_show_the_label(
    folder: Path, clips: list[np.ndarray], appearance: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Chance is 6 of 36; more than 12 has a probability of 0.4 % there."""
    features = [np.atleast_1d(appearance(clip)) for clip in clips]
    assert leave_one_actor_out(folder, features) <= 12 / 36


def flow_histogram(clip: np.ndarray) -> np.ndarray:
    """Orientations of the flow, mirrored to one side, in eight bands of the frame's height."""
    gray = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in clip]
    total = np.zeros((8, 5))
    for before, after in zip(gray[:-1:3], gray[1::3], strict=False):
        flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 9, 2, 5, 1.1, 0)
        u, v = (flow - np.median(flow, axis=(0, 1))).reshape(8, -1, 2).transpose(2, 0, 1)
        speed = np.hypot(u, v)
        angle = np.arctan2(v, np.abs(u))
        edges = np.linspace(-np.pi / 2, np.pi / 2 + 1e-6, 6)
        for band in range(8):
            weights = speed[band] * (speed[band] > 0.8)
            total[band] += np.histogram(angle[band], edges, weights=weights)[0]
    return np.sqrt(total / total.sum())


def test_motion_in_the_pixels_shows_the_label(folder: Path, clips: list[np.ndarray]) -> None:
    assert leave_one_actor_out(folder, [flow_histogram(clip) for clip in clips]) >= 24 / 36


def test_course_of_the_joints_shows_the_label(folder: Path) -> None:
    features = []
    for label, _, take in demo.draw_clips(6, 0, (48, 60)):
        seconds = np.arange(take.n_frames) / demo.FPS
        angles = joint_angles(label, take.rest, take.phases, seconds)
        features.append(np.array([course.std() for course in angles.values()]))
    assert leave_one_actor_out(folder, features) == 1


# --- bodies and brushes


def test_bones_keep_their_lengths() -> None:
    take, body = make_take(), Body()
    joints = joint_positions(
        joint_angles("march", take.rest, take.phases, np.arange(20) / 25), body
    )
    bone = np.linalg.norm(joints["knee_left"] - joints["hip_left"], axis=1)
    np.testing.assert_allclose(bone, body.thigh)


def test_a_foot_stays_on_the_ground_unless_the_figure_jumps() -> None:
    take = make_take()
    angles = joint_angles("march", take.rest, take.phases, np.arange(50) / 25)
    joints = joint_positions({**angles, "lift": 0 * angles["lift"]}, Body())
    lowest = np.minimum(joints["ankle_left"][:, 1], joints["ankle_right"][:, 1])
    np.testing.assert_allclose(lowest, 0, atol=1e-12)


def test_projection_keeps_distances() -> None:
    points = np.random.default_rng(0).standard_normal((5, 3))
    seen = project(points, 0.6, 0.2)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), np.linalg.norm(points, axis=1))


@pytest.mark.parametrize("seed", range(3))
def test_joints_stay_in_the_frame(seed: int) -> None:
    for label, actor, take in demo.draw_clips(6, seed, (48, 60)):
        course, _ = demo.on_screen(label, actor, take)
        places = np.concatenate(list(course.values()))[:, :2]
        assert (places >= 2).all()
        assert (places <= [demo.WIDTH - 3, demo.HEIGHT - 3]).all()


def test_mirrored_take_moves_the_joints_to_the_other_side() -> None:
    take = replace(make_take(), pan=np.zeros((20, 2)), is_mirrored=False)
    actor = demo.draw_actor(0, 0)
    plain, _ = demo.on_screen("wave", actor, take)
    mirrored, _ = demo.on_screen("wave", actor, replace(take, is_mirrored=True))
    both = plain["hand_right"][:, 0] + mirrored["hand_right"][:, 0]
    np.testing.assert_allclose(both, 2 * take.foot[0])


def test_pan_moves_background_and_figure_alike() -> None:
    pan = np.zeros((20, 2))
    pan[1] = (3, -2)
    take = replace(make_take(), pan=pan, grain=0.0, phases=dict.fromkeys(ACTIONS, 0.0))
    # a figure whose action does not advance is as still as the wall
    first, second, *_ = demo.render("bend", demo.draw_actor(0, 0), replace(take, tempo=0.0))
    np.testing.assert_allclose(
        second[10:-10, 10:-10].astype(float), first[8:-12, 13:-7].astype(float), atol=1
    )


def test_capsule_without_length_is_a_disc_of_its_area() -> None:
    image = np.zeros((40, 40, 3), np.float32)
    middle, texture = np.array([19.3, 20.6]), np.full((8, 8, 3), 100, np.float32)
    draw_capsule(image, middle, middle, (9.0, 9.0), texture, length=0.0)
    assert (image[..., 0] > 0).sum() == pytest.approx(np.pi * 9.5**2, rel=0.05)


def test_capsule_outside_the_image_draws_nothing() -> None:
    image = np.zeros((10, 10, 3), np.float32)
    start, end = np.array([-20.0, 4.0]), np.array([-12.0, 4.0])
    draw_capsule(image, start, end, (3.0, 3.0), np.ones((8, 8, 3), np.float32), length=8.0)
    assert not image.any()


def test_noise_has_zero_mean_and_unit_variance() -> None:
    pattern = noise(np.random.default_rng(0), 50, 70)
    assert pattern.shape == (50, 70)
    assert (pattern.mean(), pattern.std()) == pytest.approx((0, 1), abs=1e-5)
