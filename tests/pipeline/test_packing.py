"""Packed files: read by the loaders, by a script without cinefeat, and by h5dump."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cinefeat.pipeline.cli import _status
from cinefeat.pipeline.datasets import PackedDataset, load_fold, load_packed
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip, write_manifest
from cinefeat.pipeline.plan import plan
from cinefeat.pipeline.protocol import Fold
from cinefeat.pipeline.recipe import load_recipe
from cinefeat.pipeline.store import write_product

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs/examples/train_on_packed.py"
LABELS, GROUPS = ("run", "sit", "jump"), ("ann", "bob", "cy", "dee")
PROTOCOL = "leave-one-group-out"


def pack(*arguments: object) -> int:
    return _status(["pack", *map(str, arguments)])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with pooled features and bags whose labels can be told apart."""
    folder = tmp_path_factory.mktemp("packing")
    (folder / "tiny.toml").write_text(
        'name = "tiny"\ntitle = "t"\nsource = "s"\n[flow]\n[describe]\n'
        'extractor = "dense-trajectories"\n',
        encoding="utf-8",
    )
    clips = [
        Clip(f"{label}/{who}", folder / f"{who}.avi", label, who)
        for who in GROUPS
        for label in LABELS
    ]
    write_manifest(folder / "store/manifest.csv", clips)
    rng = np.random.default_rng(0)
    nodes = plan(load_recipe(str(folder / "tiny.toml")), folder / "store", clips, _all(clips))
    for i, clip in enumerate(clips):
        bag = rng.normal(LABELS.index(clip.label), 0.1, (i, 4)).astype(np.float32)
        frames = np.arange(i, dtype=np.int32)
        write_product(
            nodes["describe"].product(clip.id),
            {"hog": bag, "start_frame": frames},
            {"stage": "describe", "clip": clip.id},
        )
    return folder


def _all(clips: list[Clip]) -> Fold:
    return Fold("all", tuple(clip.id for clip in clips), ())


@pytest.fixture(scope="module")
def bags(store: Path) -> Path:
    out = store / "bags.h5"
    assert pack("describe", store / "tiny.toml", "--store", store / "store", "-o", out,
                "--protocol", PROTOCOL) == 0  # fmt: skip
    return out


@pytest.fixture(scope="module")
def vectors(store: Path) -> Path:
    """As `cinefeat pack encode` writes it."""
    from types import SimpleNamespace

    from cinefeat.pipeline.manifest import read_manifest
    from cinefeat.pipeline.packing import pack_products
    from cinefeat.pipeline.protocol import folds

    clips = read_manifest(store / "store/manifest.csv")
    rng = np.random.default_rng(1)
    for clip in clips:
        hog = np.eye(3)[LABELS.index(clip.label)] + rng.normal(0, 0.1, 3)
        arrays = {"hog/1x1x1": hog.astype(np.float32), "hof": hog.astype(np.float32)[:2]}
        arrays["mirrored/hof"] = -arrays["hof"]
        write_product(store / f"encoded/{clip.id}.h5", arrays, {"stage": "encode"})
    node = SimpleNamespace(
        stage=SimpleNamespace(name="encode"), clips=clips, digest="d", identity="{}",
        product=lambda name: store / f"encoded/{name}.h5",
    )  # fmt: skip
    out = store / "vectors.h5"
    assert pack_products(node, folds(clips, PROTOCOL), out) == len(clips)
    return out


def test_a_packed_file_has_labels_groups_and_the_sides_of_each_fold(bags: Path) -> None:
    with h5py.File(bags) as file:
        assert file["label"].asstr()[:3].tolist() == list(LABELS)
        assert file["group"].asstr()[::3].tolist() == list(GROUPS)
        assert file["fold"].asstr()[:].tolist() == sorted(GROUPS)
        sides = file["side"].asstr()[1]
        assert (sides == "test").nonzero()[0].tolist() == [3, 4, 5]
        assert (sides == "train").sum() == 9
        assert file["clips/sit/bob/hog"].shape == (4, 4)
        assert file["clips/sit/bob"].attrs["label"] == "sit"


def test_vectors_of_all_clips_are_one_matrix(vectors: Path) -> None:
    with h5py.File(vectors) as file:
        assert file["features/hog.1x1x1"].shape == (12, 3)
        assert list(file["mirrored"]) == ["hof"]
        with h5py.File(vectors.parent / "encoded/jump/cy.h5") as one:
            np.testing.assert_array_equal(file["features/hof"][8], one["hof"][:])


def test_both_loaders_give_the_arrays_of_the_file(vectors: Path) -> None:
    data = load_packed(vectors)
    with h5py.File(vectors) as file:
        wanted = np.concatenate([file["features/hof"][:], file["features/hog.1x1x1"][:]], axis=1)
    np.testing.assert_array_equal(data.features, wanted)
    torch_set = PackedDataset(vectors)
    rows, targets = zip(*(torch_set[i] for i in range(len(torch_set))), strict=True)
    np.testing.assert_array_equal(torch.stack(rows).numpy(), data.features)
    assert [torch_set.classes[k] for k in targets] == data.labels.tolist()
    assert torch_set.groups.tolist() == data.groups.tolist()


@pytest.mark.parametrize("side", [0, 1])
def test_both_loaders_give_the_same_sides_of_a_fold(vectors: Path, side: int) -> None:
    part = load_fold(vectors, "cy")[side]
    torch_set = PackedDataset(vectors, fold="cy", side=("train", "test")[side])
    assert torch_set.clips.tolist() == part.clips.tolist()
    rows = np.stack([torch_set[i][0].numpy() for i in range(len(torch_set))])
    np.testing.assert_array_equal(rows, part.features)
    assert set(part.groups) == ({"cy"} if side else set(GROUPS) - {"cy"})


def test_bags_are_loaded_by_name(bags: Path) -> None:
    data = load_packed(bags, ["hog"])
    assert [len(bag) for bag in data.features] == list(range(12))
    np.testing.assert_array_equal(PackedDataset(bags, ["hog"])[5][0].numpy(), data.features[5])
    with pytest.raises(InputError, match="name one of hog, start_frame"):
        load_packed(bags)


def test_a_data_set_travels_to_workers(vectors: Path) -> None:
    torch_set = PackedDataset(vectors)
    first = torch_set[0][0]
    again = pickle.loads(pickle.dumps(torch_set))
    assert torch.equal(again[0][0], first)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda path: load_packed(path, ["mbh"]), "has no 'mbh'; it has hof, hog"),
        (lambda path: load_fold(path, "eve"), "no fold 'eve'; its folds: ann, bob, cy, dee"),
        (lambda path: PackedDataset(path, fold="cy"), "give 'train' or 'test'"),
        (lambda path: load_packed(path.parent / "encoded/sit/bob.h5"), "not a file of"),
    ],
)
def test_what_is_not_there_is_told(vectors: Path, call, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        call(vectors)


def test_fifteen_lines_without_cinefeat_train_on_a_packed_file(vectors: Path) -> None:
    lines = SCRIPT.read_text(encoding="utf-8").split('"""')[2].strip().splitlines()
    assert len([line for line in lines if line.strip()]) <= 15
    done = subprocess.run(
        [sys.executable, SCRIPT, vectors], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "accuracy 1.000 of 12 clips in 4 folds\n"
    assert "import cinefeat" not in SCRIPT.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["bags.h5", "vectors.h5", "encoded/sit/bob.h5"])
def test_h5dump_reads_what_is_written(store: Path, bags: Path, vectors: Path, name: str) -> None:
    program = shutil.which("h5dump")
    if program is None:
        reason = "no h5dump: install Debian's hdf5-tools"
        if os.environ.get("CINEFEAT_REQUIRE_H5DUMP") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run([program, store / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "DATASET" in done.stdout
    assert "error" not in done.stderr.lower()


def test_the_command_writes_a_file_of_numpy_per_clip(store: Path, bags: Path, capsys) -> None:
    arguments = ("describe", store / "tiny.toml", "--store", store / "store", "-o", store / "npz")
    assert _status(["export-arrays", *map(str, arguments)]) == 0
    assert capsys.readouterr().out == f"12 clips in {store / 'npz'}\n"
    with h5py.File(bags) as file, np.load(store / "npz/sit/bob.npz") as found:
        np.testing.assert_array_equal(found["hog"], file["clips/sit/bob/hog"][:])


SCORES = "clip,label,run,sit\nsit/bob,sit,0.5,-1.5\nrun/ann,run,2.0,-inf\nelsewhere,run,1.0,2.0\n"


@pytest.fixture(scope="module")
def scored(store: Path) -> Path:
    (store / "scores.csv").write_text(SCORES)
    out = store / "scored.h5"
    assert pack("describe", store / "tiny.toml", "--store", store / "store", "-o", out,
                "--scores", store / "scores.csv") == 0  # fmt: skip
    return out


def test_scores_are_packed_in_the_order_of_the_clips(scored: Path) -> None:
    with h5py.File(scored) as file:
        found = dict(zip(file["clip"].asstr()[:], file["scores"][:].tolist(), strict=True))
        assert file["classes"].asstr()[:].tolist() == ["run", "sit"]
    assert found.pop("sit/bob") == [0.5, -1.5]
    assert found.pop("run/ann") == [2.0, -np.inf]
    assert len(found) == 10
    assert np.isnan(list(found.values())).all()


def test_scores_of_other_clips_are_refused(store: Path, capsys) -> None:
    (store / "others.csv").write_text("clip,a,b\nx,1,2\n")
    assert pack("describe", store / "tiny.toml", "--store", store / "store",
                "-o", store / "others.h5", "--scores", store / "others.csv") == 2  # fmt: skip
    assert "--scores has none of the clips, such as 'run/ann'" in capsys.readouterr().err
    assert not (store / "others.h5").exists()
