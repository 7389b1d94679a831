"""Codebooks: one per channel, learned from a sample of the training clips' descriptors.

Reads: the bags of the training clips. Writes, per channel: under ``codebook/`` the arrays of a fitted
`KMeansCodebook` or `DiagonalGMM`, and under ``pca/`` those of the `PCA` before it, if any, as
`cinefeat.classifiers.to_arrays` names them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from cinefeat.classifiers import PCA, DiagonalGMM, KMeansCodebook, reservoir_sample, to_arrays
from cinefeat.extractors import mirror_descriptors
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.settings import KMeansSettings, MixtureSettings
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.store import ProductWriter, read_arrays


def run(job: Job, product: ProductWriter) -> None:
    """Learn and store the codebook of one channel (the job's part)."""
    settings: KMeansSettings | MixtureSettings = job.settings
    sample = reservoir_sample(_bags(job), settings.n_samples, settings.seed)
    _require_enough(job, len(sample))
    if settings.pca is not None:
        pca = PCA(_n_dims(settings.pca), whiten=settings.whiten).fit(sample)
        sample = pca.transform(sample)
        _write(product, "pca/", pca)
    _write(product, "codebook/", _codebook(settings, job.device).fit(sample))
    product.set_attrs({"channel": job.part, "n_samples": len(sample)})


def _codebook(settings: KMeansSettings | MixtureSettings, device: str) -> Any:
    options = {
        "n_init": settings.n_starts,
        "max_iter": settings.max_iterations,
        "random_state": settings.seed,
    }
    if isinstance(settings, MixtureSettings):
        return DiagonalGMM(settings.n_components, device=device, **options)
    return KMeansCodebook(settings.n_words, **options)


def _n_dims(pca: float) -> float:
    """Return a share as it is and a number of dimensions as an integer, as `PCA` tells them apart."""
    return int(pca) if pca > 1 else pca


def _require_enough(job: Job, n_samples: int) -> None:
    name = "n_components" if isinstance(job.settings, MixtureSettings) else "n_words"
    wanted = getattr(job.settings, name)
    if n_samples < wanted:
        raise InputError(
            f"fit.{name} = {wanted}, but the {len(job.clips)} training clips give only {n_samples} "
            f"descriptors of channel {job.part}; ask for fewer or give more clips"
        )


def _bags(job: Job) -> Iterator[np.ndarray]:
    # by id, so that the sample does not depend on the order of the manifest
    for clip in sorted(job.clips, key=lambda clip: clip.id):
        bag = read_arrays(job.input("describe", clip.id), [job.part])[job.part]
        yield bag.astype(np.float32)
        if job.settings.mirror:
            yield mirror_descriptors({job.part: bag})[job.part].astype(np.float32)


def _write(product: ProductWriter, prefix: str, estimator: Any) -> None:
    for name, array in to_arrays(estimator).items():
        product.write(prefix + name, array)
