"""The networks of a fold, trained on its training clips: one for each stream.

Reads: the training clips' features or maps of the embed stage, their flow, or their videos. Writes,
per stream: ``weights/<name>`` of every parameter and buffer; `classes_` (n_classes,) strings;
``curves/train/<name>`` and ``curves/validation/<name>`` (n_epochs,) float64, `loss` and `accuracy`
over the epochs; attributes `model`, `stream`, `shapes` of a sample's inputs, and `best_epoch`. Beside
the product lie a picture of the curves, ``<stream>.png``, and, while it trains,
``<stream>.checkpoint.safetensors``, from which a stopped training goes on.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from cinefeat.classifiers import grouped_folds
from cinefeat.classifiers.consensus import SegmentConsensus, inputs_of
from cinefeat.classifiers.training import (
    History,
    State,
    TrainingSettings,
    Validation,
    fit_network,
)
from cinefeat.pipeline.curves import curves_png
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.manifest import Clip
from cinefeat.pipeline.network_models import MODELS, build_model
from cinefeat.pipeline.network_settings import NetworkSettings, StreamSettings
from cinefeat.pipeline.network_sources import Samples, open_samples
from cinefeat.pipeline.stages import CHECKPOINT, Job
from cinefeat.pipeline.store import ProductWriter, read_arrays, read_attrs, write_bytes

WEIGHTS = "weights/"
CURVES = "curves/"
BATCH = 8  # test clips that go through a network together
N_PREPARED = 8  # batches that a network may see before it is trained


class Trained(NamedTuple):
    """A trained network, and what is kept of its training."""

    network: nn.Module
    classes: list[str]
    shapes: list[tuple[int, ...]]
    history: History


def run(job: Job, product: ProductWriter) -> None:
    """Train and store the network of one stream (the job's part)."""
    trained = train_stream(job)
    for name, tensor in trained.network.state_dict().items():
        product.write(WEIGHTS + name, tensor.cpu().numpy())
    product.write("classes_", np.array(trained.classes))
    for name, values in trained.history.curves.items():
        product.write(CURVES + name, values)
    best = trained.history.best_epoch
    about = {"model": job.settings.model, "stream": job.part, "shapes": trained.shapes}
    product.set_attrs({**about, "best_epoch": best})
    title = f"{job.settings.model}, {job.part}"
    write_bytes(job.target.with_suffix(".png"), curves_png(trained.history.curves, best, title))


def train_stream(job: Job) -> Trained:
    """Train the network of one stream, from its checkpoint on where there is one.

    Raises
    ------
    InputError
        If there are fewer than two labels, the stream reads what its model does not take, clips
        have no group for the validation part, or training does not converge.
    """
    settings, stream = job.settings, stream_named(job.settings, job.part)
    classes = sorted({clip.label for clip in job.clips})
    if settings.classifies and len(classes) < 2:
        raise InputError(f"the training clips have {len(classes)} label(s); a network needs 2")
    learned, held_out = _divide(job.clips, settings.validation)
    samples = open_samples(job, settings, stream, learned, classes, "train")
    validation = None
    if held_out:
        others = open_samples(job, settings, stream, held_out, classes, "validation")
        validation = Validation(others.load, others.n)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = build_model(settings, stream, samples.shapes, len(classes))
    history = _fit(job, network, samples, validation)
    return Trained(network, classes, samples.shapes, history)


def _fit(job: Job, network: nn.Module, samples: Samples, validation: Validation | None) -> History:
    settings, entry = job.settings, MODELS[job.settings.model]
    checkpoint = job.target.with_name(f"{job.target.stem}{CHECKPOINT}")
    state = _read_state(checkpoint)
    if state is None and entry.prepare is not None:
        entry.prepare(settings, network, _first_batches(samples, settings))
    names = TrainingSettings.__dataclass_fields__
    values = {name: getattr(settings, name) for name in names if hasattr(settings, name)}
    rate = entry.rate_of
    try:
        return fit_network(
            network,
            entry.loss,
            samples.load,
            samples.n,
            TrainingSettings(**values),
            validation=validation,
            state=state,
            save=lambda new: write_bytes(checkpoint, save(new)),
            device=job.device,
            rate_of=None if rate is None else lambda name: rate(settings, name),
        )
    except ValueError as error:
        raise InputError(f"network {settings.model}, stream {job.part}: {error}") from error


def _first_batches(samples: Samples, settings: Any) -> list[dict[str, Tensor]]:
    """Return batches of training samples, spread over all of them."""
    size = min(settings.batch_size, samples.n)
    order = np.random.default_rng(settings.seed).permutation(samples.n)
    numbers = [order[i : i + size].tolist() for i in range(0, samples.n, size)][:N_PREPARED]
    return [dict(samples.load(chosen, settings.seed)) for chosen in numbers]


def _read_state(checkpoint: Path) -> State | None:
    if not checkpoint.exists():
        return None
    try:
        return load_file(checkpoint)
    except SafetensorError as error:
        raise InputError(f"{checkpoint} is damaged: remove it ({error})") from error


def _divide(clips: Sequence[Clip], share: float) -> tuple[list[Clip], list[Clip]]:
    """Return the clips to learn from, and whole groups that say when to stop: about that share."""
    if share == 0:
        return list(clips), []
    for clip in clips:
        if not clip.group:
            raise InputError(
                f"network.validation = {share} needs groups, but clip {clip.id!r} has none: fill "
                "the manifest's group column, or set it to 0"
            )
    labels, groups = [clip.label for clip in clips], [clip.group for clip in clips]
    n_folds = min(max(2, round(1 / share)), len(set(groups)))
    try:
        learned, held_out = grouped_folds(labels, groups, n_folds)[0]
    except ValueError as error:
        raise InputError(f"network.validation = {share}: {error}") from error
    return [clips[i] for i in learned], [clips[i] for i in held_out]


def stream_named(settings: Any, name: str) -> StreamSettings:
    """Return the stream of that name."""
    stream: StreamSettings = next(s for s in settings.streams if s.name == name)
    return stream


def network_scores(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (M, n_classes) float64 of a job's clips by the fold's networks, and classes.

    They are the mean of the streams by their weights; of probabilities, or of logits where the
    recipe says so.
    """
    total, weight, classes = 0.0, 0.0, np.array([])
    for stream in _settings_of(job).streams:
        settings, network, classes = read_network(job.input("network", stream.name))
        found = _scores(job, settings, stream, network.to(job.device))
        total, weight = total + stream.weight * found, weight + stream.weight
    return np.asarray(total / weight), classes


def read_network(path: Path) -> tuple[Any, nn.Module, np.ndarray]:
    """Return the settings, the trained network and the classes of a product of this stage."""
    attrs, arrays = read_attrs(path), read_arrays(path)
    settings = _parse(attrs["settings"])
    classes = arrays["classes_"].astype(np.str_)
    shapes = [tuple(shape) for shape in json.loads(attrs["shapes"])]
    network = build_model(settings, stream_named(settings, attrs["stream"]), shapes, len(classes))
    network.load_state_dict(
        {
            name.removeprefix(WEIGHTS): torch.from_numpy(np.asarray(array))
            for name, array in arrays.items()
            if name.startswith(WEIGHTS)
        }
    )
    return settings, network.eval(), classes


def _settings_of(job: Job) -> Any:
    """Return the settings of the fold's networks, which any of its products tells."""
    product = next(path for path in sorted(job.inputs["network"].glob("*.h5")))
    return _parse(read_attrs(product)["settings"])


def _parse(text: str) -> Any:
    return TypeAdapter(NetworkSettings).validate_json(text)


def _scores(job: Job, settings: Any, stream: StreamSettings, network: nn.Module) -> np.ndarray:
    samples = open_samples(job, settings, stream, job.clips, (), "test")
    if isinstance(network, SegmentConsensus) and network.rule == "average":
        network.rule = "none"  # windows are joined after the softmax, if there is one
    rows = []
    with torch.no_grad():
        for start in range(0, samples.n, BATCH):
            numbers = range(start, min(start + BATCH, samples.n))
            batch = {k: x.to(job.device) for k, x in samples.load(numbers, 0).items()}
            scores = network(*inputs_of(batch)).double()
            scores = scores.softmax(dim=-1) if settings.scores == "softmax" else scores
            if scores.ndim > 2:
                scores = MODELS[settings.model].join(settings, scores.flatten(1, -2))
            rows.append(scores)
    return torch.cat(rows).cpu().numpy()
