"""The classifier of a fold, learned from the encodings of its training clips.

Reads: the training clips' encodings. Writes: the arrays of the fitted classifier as
`cinefeat.classifiers.to_arrays` names them, with the channels in the order of its columns; under
``calibration/`` those of the sigmoids that make probabilities of its margins, where asked for. The
attribute `C` is the number used, `C_accuracies` what cross-validation gave to each candidate.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from cinefeat.classifiers import (
    SGDSVM,
    KernelSVM,
    LinearSVM,
    RandomForest,
    SigmoidCalibration,
    accumulate_gram,
    choose_c,
    out_of_fold_scores,
    to_arrays,
)
from cinefeat.classifiers.kernels import chi2_exponent
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.stages import Job
from cinefeat.pipeline.stages.encode import MIRRORED
from cinefeat.pipeline.store import ProductWriter, array_names, dataset, open_product
from cinefeat.pipeline.train_settings import (
    ChiSquareSettings,
    GradientSettings,
    HellingerSettings,
    LinearSettings,
    TrainSettings,
)

CALIBRATION = "calibration/"
N_FOLDS = 5  # of the cross-validation inside a training set
BATCH = 256  # clips whose encodings are in memory at once where they are streamed
HELD_BYTES = 1 << 30  # encodings up to here are read once, not in every epoch

Blocks = Callable[[], Iterator[np.ndarray]]


class Layout(NamedTuple):
    """How the encodings of a clip become rows: channels and widths, copies, and the square root."""

    channels: list[str]
    sizes: list[int]
    copies: list[str]
    rooted: bool


def run(job: Job, product: ProductWriter) -> None:
    """Fit and store the classifier of one fold."""
    labels = np.array([clip.label for clip in job.clips])
    if len(set(labels)) < 2:
        raise InputError(
            f"the training clips have {len(set(labels))} label(s); a classifier needs 2"
        )
    copies, channels = copies_of(job, job.clips[0])
    sizes = channel_sizes(job, job.clips[0], channels)
    layout = Layout(channels, sizes, copies, isinstance(job.settings, HellingerSettings))
    targets = np.tile(labels, len(copies))
    settings = job.settings
    if settings.reads_groups:
        chosen, found, calibration = _cross_validate(job, layout, targets)
        settings = settings.model_copy(update={"C": chosen})
        product.set_attrs({"C": chosen, "C_accuracies": found})
        _write(product, CALIBRATION, calibration)
    _write(product, "", _fit(job, settings, layout, targets))
    product.set_attrs({"channels": channels, "channel_sizes": sizes, "copies": copies})
    product.set_attrs({"square_rooted": layout.rooted})


def _write(product: ProductWriter, prefix: str, estimator: Any) -> None:
    for name, array in to_arrays(estimator).items() if estimator is not None else ():
        product.write(prefix + name, array)


def _fit(job: Job, settings: TrainSettings, layout: Layout, targets: np.ndarray) -> Any:
    classifier = build(settings, layout.sizes)
    if isinstance(classifier, SGDSVM):
        n_bytes = 4 * len(targets) * sum(layout.sizes)
        held = list(_batches(job, layout)) if n_bytes <= HELD_BYTES else None
        return classifier.fit_batches(lambda: held or _batches(job, layout), targets)
    blocks = functools.partial(_blocks, job, layout)
    if isinstance(classifier, LinearSVM) and sum(layout.sizes) > len(targets):
        return classifier.fit_blocks(blocks, targets)
    return classifier.fit(np.concatenate(list(blocks()), axis=1), targets)


def build(settings: TrainSettings, sizes: Sequence[int]) -> Any:
    """Return the unfitted classifier of a recipe's train table, `C` being a number."""
    if isinstance(settings, ChiSquareSettings):
        return KernelSVM(settings.C, kernel="chi2", channel_sizes=list(sizes))
    if isinstance(settings, LinearSettings):
        return LinearSVM(settings.C, loss=settings.loss, random_state=0)
    if isinstance(settings, HellingerSettings):
        return LinearSVM(settings.C, random_state=0)
    if isinstance(settings, GradientSettings):
        return SGDSVM(settings.C, n_epochs=settings.n_epochs, random_state=settings.seed)
    return RandomForest(settings.n_trees, random_state=settings.seed)


def _cross_validate(
    job: Job, layout: Layout, targets: np.ndarray
) -> tuple[float, dict[str, float], SigmoidCalibration | None]:
    """Choose C, and fit the sigmoids, on training clips whose groups were left out.

    All classifiers of the folds share the kernel of all training clips; a clip and its mirror
    image are of one group.
    """
    groups = np.tile(_groups(job), len(layout.copies))
    n_folds = min(N_FOLDS, len(set(groups)))
    kernel = _kernel(job, layout)
    values = job.settings.C
    found: dict[str, float] = {}
    try:
        if isinstance(values, tuple):
            machine = KernelSVM(kernel="precomputed")
            values, by_value = choose_c(machine, kernel, targets, groups, values, n_folds)
            found = {f"{value:g}": share for value, share in by_value.items()}
        if not job.settings.probabilities:
            return values, found, None
        machine = KernelSVM(values, kernel="precomputed")
        margins = out_of_fold_scores(machine, kernel, targets, groups, n_folds)
    except ValueError as error:
        raise InputError(f"cross-validation for train.C or train.probabilities: {error}") from error
    return values, found, SigmoidCalibration().fit(margins, targets)


def _groups(job: Job) -> list[str]:
    for clip in job.clips:
        if not clip.group:
            raise InputError(
                "a list of train.C and train.probabilities need cross-validation over groups, but "
                f"clip {clip.id!r} has none: fill the manifest's group column"
            )
    return [clip.group for clip in job.clips]


def _kernel(job: Job, layout: Layout) -> np.ndarray:
    """Return the kernel (n, n) float64 of the training rows, that of the classifier `build` gives."""
    blocks = _blocks(job, layout)
    if isinstance(job.settings, ChiSquareSettings):
        rows = np.concatenate(list(blocks), axis=1)
        return np.exp(-chi2_exponent(rows, rows, layout.sizes)[0])
    return accumulate_gram(blocks)


def _blocks(job: Job, layout: Layout) -> Iterator[np.ndarray]:
    """Yield the training encodings channel by channel: (n_copies * n_clips, d) float32."""
    for channel in layout.channels:
        parts = (
            read_encodings(job, job.clips, [channel], prefix, layout.rooted)
            for prefix in layout.copies
        )
        yield np.concatenate(list(parts))


def _batches(job: Job, layout: Layout) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the training rows and their labels, some clips at a time, in a shuffled order."""
    clips = sorted(job.clips, key=lambda clip: clip.id)
    order = np.random.default_rng(job.settings.seed).permutation(len(clips))
    for start in range(0, len(order), BATCH):
        chosen = [clips[i] for i in order[start : start + BATCH]]
        labels = np.array([clip.label for clip in chosen])
        for prefix in layout.copies:
            yield read_encodings(job, chosen, layout.channels, prefix, layout.rooted), labels


def copies_of(job: Job, clip: Clip) -> tuple[list[str], list[str]]:
    """Return the prefixes of a clip's encodings, itself and maybe its mirror image, and channels."""
    names = _stored_names(job, clip)
    channels = [name for name in names if not name.startswith(MIRRORED)]
    return ["", MIRRORED] if len(names) > len(channels) else [""], channels


def channel_sizes(job: Job, clip: Clip, channels: Sequence[str]) -> list[int]:
    """Return the width of each channel."""
    vectors = _read_vectors(job, clip, channels)
    return [len(vectors[name]) for name in channels]


def read_encodings(
    job: Job,
    clips: Sequence[Clip],
    channels: Sequence[str],
    prefix: str = "",
    rooted: bool = False,
) -> np.ndarray:
    """Return the encodings (n_clips, D) float32 of one copy of the clips, channels side by side.

    A channel that has no such copy (network features have no mirror image) is taken as it is. With
    `rooted`, their square roots.
    """
    stored = set(_stored_names(job, clips[0]))
    names = [prefix + name if prefix + name in stored else name for name in channels]
    rows = (_read_vectors(job, clip, names) for clip in clips)
    encodings = np.stack([np.concatenate([row[name] for name in names]) for row in rows])
    return _root(encodings) if rooted else encodings


def _root(encodings: np.ndarray) -> np.ndarray:
    if encodings.min() < 0:
        raise InputError(
            f"train.classifier 'hellinger-svm' compares histograms, but an encoding holds "
            f"{encodings.min():g}: use 'linear-svm'"
        )
    return np.sqrt(encodings)


def _sources(job: Job) -> list[str]:
    return [stage for stage in ("encode", "pool") if stage in job.inputs]


def _stored_names(job: Job, clip: Clip) -> list[str]:
    names = []
    for stage in _sources(job):
        with open_product(job.input(stage, clip.id)) as file:
            names += array_names(file)
    return names


def _read_vectors(job: Job, clip: Clip, names: Sequence[str]) -> dict[str, np.ndarray]:
    vectors: dict[str, np.ndarray] = {}
    for stage in _sources(job):
        with open_product(job.input(stage, clip.id)) as file:
            there = set(array_names(file)) & set(names)
            vectors |= {name: dataset(file, name)[...] for name in there}
    return vectors
