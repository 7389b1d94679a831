"""Networks that were trained here as weight files, like those that are fetched or converted."""

from dataclasses import replace
from pathlib import Path

from cinefeat.extractors.weights import weight_bytes
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.network_models import MODELS
from cinefeat.pipeline.stages.network import read_network, stream_named
from cinefeat.pipeline.store import read_attrs, write_bytes


def export_weights(product: Path, out: Path) -> Path:
    """Write the network of a product of the stage network as a weight file.

    Parameters
    ----------
    product : Path
        An HDF5 file that ``cinefeat fit-network`` made.
    out : Path
        Written whole or not at all.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If `product` is none of the stage network, its model is none that weight files hold, or
        `out` cannot be written.
    """
    attrs = read_attrs(product)
    model = attrs.get("model")
    entry = MODELS.get(str(model))
    if "stream" not in attrs or entry is None:
        raise InputError(f"{product} holds no network of cinefeat fit-network")
    if entry.weights is None:
        known = ", ".join(name for name, other in MODELS.items() if other.weights is not None)
        raise InputError(f"{product} holds a {model!r}; weight files hold trained {known}")
    settings, network, classes = read_network(product)
    stream = stream_named(settings, attrs["stream"])
    tensors, record = entry.weights(settings, stream, network, [str(name) for name in classes])
    record = replace(record, source=f"trained by cinefeat fit-network, model {model}")
    try:
        write_bytes(out, weight_bytes(tensors, record))
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from error
    return out
