"""One vector per clip and channel: bag of words, VLAD or Fisher vector of its descriptors.

Reads: the clip's bag and the codebooks of the fold. Writes: per channel an array (D,) float32, named
after it; each spatio-temporal grid of a bag of words is a channel of its own, ``hog/2x2x1``. The
encodings of the mirror image, if asked for, are ``mirrored/hog``.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cinefeat.classifiers import BagOfWords, encode_fisher, encode_vlad, from_arrays
from cinefeat.extractors import mirror_descriptors
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.store import ProductWriter, read_arrays

MIRRORED = "mirrored/"


def run(job: Job, product: ProductWriter) -> None:
    """Encode one clip with every codebook of its fold."""
    codebooks = _codebooks(job.inputs["fit"])
    arrays = read_arrays(job.input("describe"), [*codebooks, "positions"])
    copies = {"": arrays}
    if job.settings.mirror:
        copies[MIRRORED] = mirror_descriptors(arrays)
    for prefix, copy in copies.items():
        for channel, (pca, codebook) in codebooks.items():
            bag = copy[channel].astype(np.float32)
            projected = bag if pca is None else pca.transform(bag)
            for name, vector in _encode(projected, copy["positions"], codebook, job.settings):
                product.write(f"{prefix}{channel}{name}", vector)


def _encode(
    bag: np.ndarray, positions: np.ndarray, codebook: Any, settings: Any
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the encodings of one bag, each with what its name adds to the channel's."""
    if settings.method == "fisher":
        yield "", encode_fisher(bag, codebook.mixture, power=settings.power)
    elif settings.method == "vlad":
        yield (
            "",
            encode_vlad(
                bag,
                codebook.codewords_,
                power=settings.power,
                intra_norm=settings.intra_norm,
                residual_norm=settings.residual_norm,
            ),
        )
    else:
        encoder = BagOfWords.from_codebook(codebook, settings.grids)
        vector = encoder.transform([bag], [positions])[0]
        ends = np.cumsum(encoder.channel_sizes_)[:-1]
        for grid, block in zip(settings.grids, np.split(vector, ends), strict=True):
            yield f"/{'x'.join(map(str, grid))}", block


@functools.lru_cache(maxsize=2)  # a worker meets the clips of one fold after those of another
def _codebooks(folder: Path) -> dict[str, tuple[Any, Any]]:
    return {path.stem: _read(path) for path in sorted(folder.glob("*.h5"))}


def _read(path: Path) -> tuple[Any, Any]:
    arrays = read_arrays(path)
    return _restore(arrays, "pca/"), _restore(arrays, "codebook/")


def _restore(arrays: dict[str, np.ndarray], prefix: str) -> Any:
    mine = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    return from_arrays(mine) if mine else None
