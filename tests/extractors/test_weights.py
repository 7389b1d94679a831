"""Weight files: the way there and back, damage, and where they are looked for."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cinefeat.extractors.formats import FORMATS
from cinefeat.extractors.networks import NETWORKS, network_entry
from cinefeat.extractors.spec import change_spec
from cinefeat.extractors.weights import (
    KNOWN_WEIGHTS,
    WeightRecord,
    cache_folder,
    check_tensors,
    digest_tensors,
    find_weights,
    read_record,
    read_weights,
    sha256_of,
    weight_bytes,
)

RECORD = WeightRecord("c3d", "here", {"pool5": "pad"}, {"mean": [1.0, 2.0, 3.0]}, ("walk", "läuft"))
TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(4)[::2]}


def test_a_weight_file_reads_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(weight_bytes(TENSORS, RECORD))
    tensors, record = read_weights(path)
    assert record == RECORD == read_record(path)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_the_same_weights_are_the_same_bytes() -> None:
    turned = dict(reversed(TENSORS.items()))
    assert weight_bytes(TENSORS, RECORD) == weight_bytes(turned, RECORD)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_weight_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "w.safetensors"
    whole = weight_bytes({"a": torch.zeros(1000)}, RECORD)
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"w\.safetensors is damaged or not safetensors"):
        read_weights(path)


@pytest.mark.parametrize(
    "record, message",
    [
        (None, "is not a weight file of cinefeat: make one with"),
        ("{", "record in its header is damaged"),
        ('{"net": "c3d"}', "record in its header is damaged"),
        ("[1]", "record in its header is damaged"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, record: str | None, message: str
) -> None:
    path = tmp_path / "w.safetensors"
    save_file(
        TENSORS | {"a": torch.ones(2)}, path, None if record is None else {"cinefeat": record}
    )
    with pytest.raises(ValueError, match=message):
        read_record(path)


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "f") == expected


@pytest.mark.parametrize(
    "other",
    [
        {"a": torch.zeros(2), "c": torch.ones(3)},
        {"a": torch.zeros(2, 1), "b": torch.ones(3)},
        {"a": torch.zeros(2), "b": torch.ones(3, dtype=torch.float64)},
        {"a": torch.zeros(2), "b": torch.tensor([1, 1, 1 + 2e-7])},
    ],
    ids=["name", "shape", "type", "value"],
)
def test_a_digest_notices_every_difference(other: dict[str, torch.Tensor]) -> None:
    tensors = {"b": torch.ones(3), "a": torch.zeros(2)}
    assert digest_tensors(tensors) == digest_tensors({"a": torch.zeros(2), "b": torch.ones(6)[::2]})
    assert digest_tensors(tensors) != digest_tensors(other)


def test_many_differences_are_counted() -> None:
    wanted = {f"w{k}": (1,) for k in range(9)}
    with pytest.raises(
        ValueError, match=r"^x: lacks w0, w1, w2, w3, w4 and 4 more; has unknown a$"
    ):
        check_tensors({"a": torch.zeros(1)}, wanted, "x")


def test_known_weights_are_looked_for_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CINEFEAT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    with pytest.raises(ValueError, match="`cinefeat weights fetch i3d-kinetics400-rgb`"):
        find_weights("i3d-kinetics400-rgb")
    path = tmp_path / "i3d-kinetics400-rgb.safetensors"
    path.touch()
    assert find_weights("i3d-kinetics400-rgb") == path


def test_the_cache_lies_in_the_home_folder_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CINEFEAT_CACHE", raising=False)
    assert cache_folder() == Path.home() / ".cache/cinefeat"


@pytest.mark.parametrize("name", KNOWN_WEIGHTS)
def test_known_weights_name_a_network_a_format_and_their_digests(name: str) -> None:
    known = KNOWN_WEIGHTS[name]
    assert known.network in FORMATS[known.format].networks
    for digest in (known.archive_sha256, known.member_sha256, known.tensors_sha256):
        assert len(bytes.fromhex(digest)) == 32


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_of_known_networks_and_of_valid_inputs(name: str) -> None:
    form = FORMATS[name]
    assert set(form.networks) <= set(NETWORKS)
    for network in form.networks:
        change_spec(network_entry(network).spec, form.spec_by_network.get(network, form.spec))
