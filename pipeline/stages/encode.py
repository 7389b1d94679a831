"""One vector per clip and channel: the bag of words of its descriptors.

Reads: the clip's bag and the codebooks of the fold. Writes: per channel an array (D,) float32;
with several spatio-temporal grids each is a channel of its own, ``hog/2x2x1``. The encodings of the
mirror image, if asked for, are ``mirrored/hog/1x1x1``.
"""

import functools
from pathlib import Path

import numpy as np

from cinefeat.classifiers import BagOfWords, from_arrays
from cinefeat.extractors import mirror_descriptors
from cinefeat.pipeline.recipe import EncodeSettings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.store import ProductWriter, read_arrays

MIRRORED = "mirrored/"


def run(job: Job, product: ProductWriter) -> None:
    """Encode one clip with every codebook of its fold."""
    settings: EncodeSettings = job.settings
    encoders = _encoders(job.inputs["fit"], settings.grids)
    arrays = read_arrays(job.input("describe"), [*encoders, "info"])
    arrays["positions"] = arrays.pop("info")[:, 7:10]
    _write(product, "", arrays, encoders)
    if settings.mirror:
        _write(product, MIRRORED, mirror_descriptors(arrays), encoders)


def _write(
    product: ProductWriter,
    prefix: str,
    arrays: dict[str, np.ndarray],
    encoders: dict[str, BagOfWords],
) -> None:
    for channel, encoder in encoders.items():
        bag = arrays[channel].astype(np.float32)
        vector = encoder.transform([bag], [arrays["positions"]])[0]
        ends = np.cumsum(encoder.channel_sizes_)[:-1]
        for grid, block in zip(encoder.grids, np.split(vector, ends), strict=True):
            product.write(f"{prefix}{channel}/{'x'.join(map(str, grid))}", block)


@functools.lru_cache(maxsize=2)  # a worker meets the clips of one fold after those of another
def _encoders(folder: Path, grids: tuple[tuple[int, int, int], ...]) -> dict[str, BagOfWords]:
    codebooks = {path.stem: from_arrays(read_arrays(path)) for path in sorted(folder.glob("*.h5"))}
    return {name: BagOfWords.from_codebook(book, grids) for name, book in codebooks.items()}
