"""Networks trained on stored features: by stage, by command, killed and resumed, and in two processes."""

import hashlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from synthetic import moving_texture, write_video
from torch import nn

from cinefeat.extractors.spec import InputSpec
from cinefeat.pipeline import network_models
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip, write_manifest
from cinefeat.pipeline.network_settings import PixelSettings, StreamSettings
from cinefeat.pipeline.network_sources import open_samples
from cinefeat.pipeline.plan import jobs, plan
from cinefeat.pipeline.protocol import folds
from cinefeat.pipeline.recipe import load_recipe, parse_recipe
from cinefeat.pipeline.run import Request, make_product
from cinefeat.pipeline.settings import Recipe
from cinefeat.pipeline.stages import CHECKPOINT, Job
from cinefeat.pipeline.store import ProductWriter, read_arrays, write_product

LABELS = ("jump", "run", "walk")
GROUPS = ("ann", "bob", "cy", "dan")
D, SIDE = 12, 4
RECIPE = """
name = "tiny"
title = "A head on stored features"
source = "test"
[embed]
networks = [{{network = "c3d", weights = "{weights}"}}]
[network]
{network}
"""
LRCN = """
model = "lrcn"
streams = [
  {name = "rgb", inputs = ["c3d/features"]},
  {name = "flow", inputs = ["c3d/other"], weight = 2.0},
]
steps = 5
width = 0.06
dropout = [0.2, 0.2]
n_epochs = 25
batch_size = 6
learning_rate = 0.1
validation = 0.34
patience = 20
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a manifest of videos that are never opened, as their features are stored."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    clips = []
    for label in LABELS:
        for group in GROUPS:
            path = tmp_path / "videos" / f"{label}-{group}.avi"
            path.write_bytes(path.name.encode())
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            clips.append(Clip(path.stem, path, label, group, sha256=sha256, status="ok"))
    write_manifest(tmp_path / "manifest.csv", clips)
    return tmp_path


def clips_of(work: Path) -> tuple[Clip, ...]:
    from cinefeat.pipeline.manifest import read_manifest

    return read_manifest(work / "manifest.csv")


def recipe_of(work: Path, network: str) -> Recipe:
    text = RECIPE.format(weights=work / "weights.safetensors", network=network)
    (work / "tiny.toml").write_text(text)
    return load_recipe(str(work / "tiny.toml"))


def store_features(work: Path, store: str, recipe: Recipe) -> tuple[Clip, ...]:
    """Store features and maps of every clip that lean to its label, as the embed stage would."""
    clips = clips_of(work)
    node = plan(recipe, work / store, clips, folds(clips, "leave-one-group-out")[0])["embed"]
    rng = np.random.default_rng(7)
    for number, clip in enumerate(clips):
        n = 4 + number % 3
        lean = 2.0 * (np.arange(D) % 3 == LABELS.index(clip.label))
        rows = {name: rng.random((n, D)) + lean for name in ("features", "other")}
        rows["maps"] = rng.random((n, D, 2, SIDE, SIDE)) + lean[:, None, None, None]
        arrays = {f"c3d/{name}": array.astype(np.float16) for name, array in rows.items()}
        write_product(node.product(clip.id), arrays, {"source_sha256": clip.sha256})
    return clips


def request_of(work: Path, network: str, store: str = "store") -> Request:
    recipe = recipe_of(work, network)
    clips = store_features(work, store, recipe)
    return Request(recipe, clips, work / store, folds(clips, "leave-one-group-out")[:1])


def learn_and_judge(request: Request) -> None:
    """Run the stages network and evaluate here, without workers."""
    for stage in ("network", "evaluate"):
        node = plan(request.recipe, request.store, request.clips, request.folds[0])[stage]
        for job in jobs(node, node.parts(), "cpu"):
            make_product(job)


def one_stream(model: str, inputs: str, more: str = "") -> str:
    return f"""
model = "{model}"
streams = [{{name = "rgb", inputs = {inputs}}}]
steps = 4
n_epochs = 30
batch_size = 9
optimiser = "adam"
learning_rate = 0.01
{more}
"""


MODELS = {
    "lrcn": one_stream("lrcn", '["c3d/features"]', "width = 0.06\ndropout = [0.0, 0.0]"),
    "segment-consensus": one_stream("segment-consensus", '["c3d/features"]', "dropout = 0.0"),
    "attention": one_stream(
        "attention", '["c3d/features", "c3d/other"]', "width = 0.01\ndropout = 0.0"
    ),
    "action-vlad": one_stream("action-vlad", '["c3d/maps"]', "width = 0.1"),
    "two-stream-fusion": one_stream(
        "two-stream-fusion", '["c3d/maps", "c3d/maps"]', "width = 0.05\ndropout = 0.0"
    ),
    "snippet-pooling": one_stream("snippet-pooling", '["c3d/features"]', "width = 0.02"),
}


@pytest.mark.parametrize("model", MODELS)
def test_every_head_learns_and_is_judged(work: Path, model: str) -> None:
    request = request_of(work, MODELS[model])
    learn_and_judge(request)
    (product,) = (work / "store/evaluate").rglob("scores.h5")
    found = read_arrays(product)
    assert found["predicted"].tolist() == found["label"].tolist()
    np.testing.assert_allclose(found["scores"].sum(axis=1), 1, atol=1e-6)
    (trained,) = (work / "store/network").rglob("rgb.h5")
    curves = read_arrays(trained, ["curves/train/loss", "curves/train/accuracy"])
    assert curves["curves/train/accuracy"][-1] == 1.0
    assert trained.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    assert not list(work.rglob(f"*{CHECKPOINT}"))


@pytest.mark.parametrize("mode", ["train", "test"])
def test_normalised_rows_have_unit_length_and_their_directions(work: Path, mode: Any) -> None:
    loaded = []
    for more in ("normalise = true", ""):
        text = one_stream("two-stream-fusion", '["c3d/maps", "c3d/features"]', more)
        request = request_of(work, text)
        node = plan(request.recipe, request.store, request.clips, request.folds[0])["network"]
        (job,) = jobs(node, ("rgb",), "cpu")
        stream = job.settings.streams[0]
        loaded.append(open_samples(job, job.settings, stream, job.clips, LABELS, mode).load([0], 3))
    normalised, plain = loaded
    for name in ("x0", "x1"):  # maps at each place, and features
        expected = plain[name] / plain[name].square().sum(dim=2, keepdim=True).sqrt()
        torch.testing.assert_close(normalised[name], expected)


def test_rows_of_zeros_stay_when_normalised() -> None:
    from cinefeat.pipeline.network_sources import _unit_length

    rows = np.array([[0, 0], [3, 4]], np.float32)
    np.testing.assert_allclose(_unit_length(rows), [[0, 0], [0.6, 0.8]])


def test_streams_are_averaged_by_their_weights(work: Path) -> None:
    both = request_of(work, LRCN)
    learn_and_judge(both)
    single = {}
    for name, array in (("rgb", "features"), ("flow", "other")):
        text = LRCN.replace(LRCN[LRCN.index("streams") : LRCN.index("steps")], "")
        text += f'streams = [{{name = "{name}", inputs = ["c3d/{array}"]}}]\n'
        request = request_of(work, text, name)
        learn_and_judge(request)
        (path,) = (work / name / "evaluate").rglob("scores.h5")
        single[name] = read_arrays(path)["scores"]
    (path,) = (work / "store/evaluate").rglob("scores.h5")
    expected = (single["rgb"] + 2 * single["flow"]) / 3
    np.testing.assert_allclose(read_arrays(path)["scores"], expected, atol=1e-12)


TRAIN = """
import pickle, sys
from cinefeat.classifiers.training import fit_network
from cinefeat.pipeline.run import make_product
fit_network.__kwdefaults__["save_seconds"] = 0.1
make_product(pickle.load(open(sys.argv[1], "rb")))
"""


def _jobs(request: Request) -> Iterator[Job]:
    node = plan(request.recipe, request.store, request.clips, request.folds[0])["network"]
    yield from jobs(node, ("rgb",), "cpu")


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_ends_at_the_same_weights(work: Path) -> None:
    n_kills = 8
    network = LRCN.replace("n_epochs = 25", "n_epochs = 1500").replace("patience = 20", "")
    weights = []
    for store in ("whole", "killed"):
        (job,) = _jobs(request_of(work, network, store))
        (work / "job").write_bytes(pickle.dumps(job))
        line = [sys.executable, "-c", TRAIN, str(work / "job")]
        checkpoint = job.target.with_name(f"rgb{CHECKPOINT}")
        rng = random.Random(n_kills)
        for _ in range(n_kills if store == "killed" else 0):
            before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
            process = subprocess.Popen(line)
            while process.poll() is None and (
                not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before
            ):
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 0.5))
            assert process.poll() is None, "it ended before it could be killed: more epochs"
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        subprocess.run(line, check=True)
        assert not checkpoint.exists()
        weights.append(read_arrays(job.target))
    assert weights[0].keys() == weights[1].keys()
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "budget"), [(None, "30s"), (signal.SIGTERM, "1h")])
def test_a_training_that_is_asked_to_stop_ends_with_75_and_its_checkpoint(
    work: Path, number: signal.Signals | None, budget: str
) -> None:
    network = LRCN.replace("n_epochs = 25", "n_epochs = 100000").replace("patience = 20", "")
    (job,) = _jobs(request_of(work, network))
    line = [sys.executable, "-m", "cinefeat.pipeline", "fit-network", str(work / "tiny.toml")]
    line += ["--manifest", str(work / "manifest.csv"), "--store", str(work / "store")]
    line += ["--protocol", "leave-one-group-out", "--jobs", "1", "--time-budget", budget]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    checkpoint = job.target.with_name(f"rgb{CHECKPOINT}")
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.05)
    if number is not None:
        process.send_signal(number)
    _, told = process.communicate()
    assert process.returncode == 75, told
    assert "run the same line again to go on" in told
    assert checkpoint.exists()
    assert not job.target.exists()


SHORT_LRCN = LRCN.replace("n_epochs = 25", "n_epochs = 4").replace(
    "batch_size = 6", "batch_size = 2"
)
NORMED = """
model = "fine-tune"
network = "i3d-rgb"
streams = [{name = "rgb", inputs = ["frames"]}]
window = 16
size = 32
width = 0.05
n_epochs = 3
batch_size = 3
learning_rate = 0.01
"""
# saves its state after every step; dies when one is written, or half written
DIE = f"""
import os, pickle, signal, sys
import torch
from cinefeat.classifiers.training import fit_network
from cinefeat.pipeline.run import make_product
fit_network.__kwdefaults__["save_seconds"] = 0
torch.set_num_threads(int(sys.argv[4]))
moment, left, replace = sys.argv[2], int(sys.argv[3]), os.replace

def replace_or_die(source, target):
    global left
    left -= str(target).endswith({CHECKPOINT!r})
    if left == 0 and moment == "half":
        os.truncate(source, os.path.getsize(source) // 2)
    else:
        replace(source, target)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = replace_or_die
make_product(pickle.load(open(sys.argv[1], "rb")))
"""


def _job_on_pixels(work: Path, store: str) -> Job:
    clips = []
    for number, clip in enumerate(clips_of(work)):
        frames, _ = moving_texture(18, 36, 40, n_channels=3, seed=number)
        clips.append(replace(clip, path=write_video(work / f"{number}.avi", frames)))
    recipe = parse_recipe(f'name = "t"\ntitle = "t"\nsource = "s"\n[network]{NORMED}', "t.toml")
    (fold,) = folds(clips, "leave-one-group-out")[:1]
    (job,) = _jobs(Request(recipe, tuple(clips), work / store, (fold,)))
    return job


@pytest.mark.parametrize("kind", ["features", "pixels"])
def test_killed_in_an_epoch_and_amid_a_write_and_run_again_ends_at_the_same_weights(
    work: Path, kind: str
) -> None:
    found = []
    for store, deaths in (("whole", ()), ("killed", (("written", 2), ("half", 4)))):
        if kind == "pixels":
            job = _job_on_pixels(work, store)
        else:
            (job,) = _jobs(request_of(work, SHORT_LRCN, store))
        (work / "job").write_bytes(pickle.dumps(job))
        checkpoint = job.target.with_name(f"rgb{CHECKPOINT}")
        for number, (moment, count) in enumerate(deaths):
            words = [work / "job", moment, count, torch.get_num_threads()]
            done = subprocess.run([sys.executable, "-c", DIE, *map(str, words)], check=False)
            assert done.returncode == -signal.SIGKILL
            epoch, step, _ = load_file(checkpoint)["position"].tolist()
            assert (epoch, step) == ((0, 2), (1, 1))[number]  # within an epoch both times
        make_product(job)
        assert not checkpoint.exists()
        found.append(read_arrays(job.target))
    assert found[0].keys() == found[1].keys()
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)


def cinefeat(*arguments: object, launcher: tuple[str, ...] = ()) -> str:
    line = [sys.executable, *launcher, "-m", "cinefeat.pipeline", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_processes_of_torchrun_learn_as_one(work: Path) -> None:
    network = LRCN.replace("dropout = [0.2, 0.2]", "dropout = [0.0, 0.0]")
    place = ("--manifest", work / "manifest.csv", "--protocol", "k-fold:2")
    for store, launcher in (
        ("one", ()),
        ("two", ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")),
    ):
        store_features(work, store, recipe_of(work, network))
        out = cinefeat(
            "fit-network", work / "tiny.toml", "--store", work / store, *place, launcher=launcher
        )
        assert out.count(".h5") == 4  # two folds, two streams
    for path in (work / "one/network").rglob("*.h5"):
        found = read_arrays(work / "two" / path.relative_to(work / "one"))
        for name, array in read_arrays(path).items():
            if name != "classes_":
                np.testing.assert_allclose(found[name], array, atol=1e-4, err_msg=name)


def test_a_recipe_is_trained_judged_and_used_by_the_commands(work: Path) -> None:
    network = MODELS["lrcn"]
    store_features(work, "store", recipe_of(work, network))
    place = ("--manifest", work / "manifest.csv", "--store", work / "store", "--jobs", 1)
    out = cinefeat("fit-network", work / "tiny.toml", *place, "--protocol", "k-fold:2")
    assert all(Path(line).exists() for line in out.splitlines())
    assert not (work / "store/evaluate").exists()
    out = cinefeat("run", work / "tiny.toml", *place, "--protocol", "k-fold:2", "--json")
    assert json.loads(out.splitlines()[-1])["accuracy"] == 1.0
    model = work / "model.h5"
    cinefeat("export-model", work / "tiny.toml", *place, "--protocol", "all", "-o", model)
    video = work / "videos/run-cy.avi"
    out = cinefeat("predict", model, video, "--store", work / "store", "--jobs", 1)
    assert out.startswith("run-cy: run ")


@pytest.mark.parametrize(
    "network, sentence",
    [
        (MODELS["lrcn"].replace("c3d/features", "c3d/maps"), "takes features: correct its inputs"),
        (MODELS["lrcn"].replace("c3d/features", "frames"), "reads arrays of the embed stage"),
        (MODELS["lrcn"].replace("c3d/features", "c3d/none"), "has no array 'c3d/none'"),
        (MODELS["action-vlad"].replace("c3d/maps", "c3d/other"), "takes maps"),
    ],
)
def test_what_a_network_cannot_learn_from_is_refused(
    work: Path, network: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        learn_and_judge(request_of(work, network))


def test_validation_needs_groups(work: Path) -> None:
    request = request_of(work, LRCN)
    clips = tuple(replace(clip, group="") for clip in request.clips)
    with pytest.raises(InputError, match=r"needs groups, but clip .* has none"):
        learn_and_judge(replace(request, clips=clips))


@pytest.mark.parametrize(
    "more, sentence",
    [
        ('model = "lrnc"', "network.model = 'lrnc'"),
        ('model = "lrcn"\nstreams = []\nn_epochs = 1', "streams"),
        (MODELS["lrcn"] + "units = 3", "unknown key 'network.lrcn.units'|unknown key"),
    ],
)
def test_a_recipe_that_breaks_a_rule_is_refused(more: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_recipe(RECIPE.format(weights="w", network=more), "tiny.toml")


class Pixels(PixelSettings):
    """Settings of a network that exists here alone."""

    model: str = "pixels"


FRAMES = InputSpec("rgb", 6, 40, 32, (127.5,) * 3, (127.5,) * 3, "features", 8)
FLOW = InputSpec("flow", 5, 40, 32, (0.0, 0.0), (20.0, 20.0), "features", 8, layout="stack")


@pytest.mark.parametrize("spec, name", [(FRAMES, "frames"), (FLOW, "flow")])
def test_windows_of_pixels_are_drawn_by_seed_and_spread_at_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: InputSpec, name: str
) -> None:
    entry = network_models.ModelEntry(lambda *_: nn.Identity(), lambda *_: spec)
    monkeypatch.setitem(network_models.MODELS, "pixels", entry)
    frames, flow = moving_texture(20, 48, 64, n_channels=3)
    clip = Clip("a", write_video(tmp_path / "a.avi", frames), "jump")
    with ProductWriter(tmp_path / "flow/a.h5", {}) as product:
        flow += np.random.default_rng(0).normal(size=flow.shape)
        product.write("flow", flow.astype(np.float16))
    stream = StreamSettings(name="s", inputs=(name,))
    settings = Pixels(streams=(stream,), n_epochs=1, segments=3, test_windows=4)
    job = Job("network", tmp_path / "x.h5", settings, (clip,), {"flow": tmp_path / "flow"}, {}, "s")
    trained = open_samples(job, settings, stream, [clip, clip], ("jump", "run"), "train")
    first, again, other = (trained.load([0, 1], seed)["x0"] for seed in (1, 1, 2))
    assert first.shape == (2, 3, *spec.shape) == (2, *trained.shapes[0])
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])  # each sample is drawn by itself
    assert trained.load([0, 1], 1)["label"].tolist() == [0, 0]
    tested = open_samples(job, settings, stream, [clip], (), "test").load([0], 0)
    assert tested.keys() == {"x0"}
    assert tested["x0"].shape == (1, 4, *spec.shape)


def test_a_mirrored_flow_points_the_other_way() -> None:
    from cinefeat.pipeline.network_sources import _cropped

    window = np.arange(2 * 2 * 3 * 2, dtype=np.float32).reshape(2, 2, 3, 2)
    found = _cropped(window, (slice(0, 2), slice(0, 3), True), FLOW)
    np.testing.assert_array_equal(found[..., 0], -window[:, :, ::-1, 0])
    np.testing.assert_array_equal(found[..., 1], window[:, :, ::-1, 1])
