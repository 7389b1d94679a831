"""Damaged copies of real files: the same bytes for the same number."""

import random
from collections.abc import Sequence
from pathlib import Path

HEADER = 4096  # bytes at either end of a file that hold most of what misleads a reader


def _truncate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _flip_bits(data: bytes, other: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 10, 200))):
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _mislead(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Put great, negative or random numbers into the headers, which lie at either end."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 4, 20))):
        place = rng.randrange(min(HEADER, len(data)))
        place = place if rng.random() < 0.7 else len(data) - 1 - place
        value = rng.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, rng.randbytes(4)))
        damaged[place : place + 4] = value
    return bytes(damaged)


def _overwrite(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, size = rng.randrange(len(data)), rng.choice((16, 1000, 50_000))
    return data[:start] + rng.randbytes(min(size, len(data) - start)) + data[start + size :]


def _remove(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, size = rng.randrange(len(data)), rng.choice((1, 100, 20_000))
    return data[:start] + data[start + size :]


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Let one file go over into another, somewhere."""
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _insert(data: bytes, other: bytes, rng: random.Random) -> bytes:
    place, start = rng.randrange(len(data)), rng.randrange(len(other))
    return data[:place] + other[start : start + rng.choice((8, 1000, 50_000))] + data[place:]


def _repeat(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start : start + 2000] * rng.choice((2, 50)) + data[start:]


DAMAGES = (_truncate, _flip_bits, _mislead, _splice, _overwrite, _remove, _insert, _repeat)


def write_variants(files: Sequence[Path], folder: Path, n: int, seed: int) -> list[Path]:
    """Write n damaged copies: every file in turn, and every kind of damage."""
    folder.mkdir(parents=True)
    paths = []
    for number in range(n):
        rng = random.Random(f"{seed} {number}")
        source, other = files[number % len(files)], rng.choice(files)
        damage = DAMAGES[(number + number // len(files)) % len(DAMAGES)]
        name = f"{number:04d}{damage.__name__}_{source.stem}{source.suffix}"
        path = folder / "x" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(damage(source.read_bytes(), other.read_bytes(), rng))
        paths.append(path)
    return paths
