"""Codebooks: one per channel, learned from a sample of the training clips' descriptors.

Reads: the bags of the training clips. Writes, per channel: the arrays of a fitted
`KMeansCodebook` as `cinefeat.classifiers.to_arrays` names them.
"""

from collections.abc import Iterator

import numpy as np

from cinefeat.classifiers import KMeansCodebook, reservoir_sample, to_arrays
from cinefeat.extractors import mirror_descriptors
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.recipe import FitSettings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.store import ProductWriter, read_arrays


def run(job: Job, product: ProductWriter) -> None:
    """Learn and store the codebook of one channel (the job's part)."""
    settings: FitSettings = job.settings
    sample = reservoir_sample(_bags(job), settings.n_samples, settings.seed)
    if len(sample) < settings.n_words:
        raise InputError(
            f"fit.n_words = {settings.n_words}, but the {len(job.clips)} training clips give only "
            f"{len(sample)} descriptors; ask for fewer words or give more clips"
        )
    codebook = KMeansCodebook(
        settings.n_words,
        n_init=settings.n_starts,
        max_iter=settings.max_iterations,
        random_state=settings.seed,
    ).fit(sample)
    for name, array in to_arrays(codebook).items():
        product.write(name, array)
    product.set_attrs({"channel": job.part, "n_samples": len(sample)})


def _bags(job: Job) -> Iterator[np.ndarray]:
    # by id, so that the sample does not depend on the order of the manifest
    for clip in sorted(job.clips, key=lambda clip: clip.id):
        bag = read_arrays(job.input("describe", clip.id), [job.part])[job.part]
        yield bag.astype(np.float32)
        if job.settings.mirror:
            yield mirror_descriptors({job.part: bag})[job.part].astype(np.float32)
