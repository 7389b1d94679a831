"""Reading the community's checkpoints, and turning their tensors into ours.

A checkpoint may hold code. Pickles of arrays are read by an unpickler that knows numpy arrays and
nothing else, torch files by `torch.load(weights_only=True)`; both refuse everything more. What
each port calls its tensors is in `formats`.
"""

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from cinefeat.extractors.formats import FORMATS, CheckpointFormat
from cinefeat.extractors.networks import expected_shapes
from cinefeat.extractors.weights import Tensors, WeightRecord, check_tensors

_DTYPES = {"f2", "f4", "f8", "i4", "i8"}
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = re.compile(r"^((module|model|net)\.)+")
_LISTED = 5
_TORCH7_HEAD = 16
# what the readers of pickles and of torch files raise on bytes that are cut short or changed
_DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError,
    AssertionError, ArithmeticError, MemoryError, RuntimeError, zipfile.BadZipFile,
)  # fmt: skip


class _ArrayType:
    """Stands for `numpy.dtype` in a pickle: a plain number type and its byte order."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in _DTYPES:
            raise pickle.UnpicklingError(f"arrays of type {code!r} are not weights")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"no byte order {state[1]!r}")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for `numpy.ndarray` in a pickle: shape, type and bytes, checked against each other."""

    def __init__(self, *_: object) -> None:
        self.values = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, is_fortran, data = state
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array's values are not bytes")
        flat = np.frombuffer(data, kind.dtype)
        self.values = flat.reshape(shape, order="F" if is_fortran else "C")


class _ArrayUnpickler(pickle.Unpickler):
    """Read arrays in dicts, lists and tuples; any other name in the pickle is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name of numpy; UnpicklingError if it is no part of an array."""
        allowed = {
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _ArrayType,
            ("numpy.core.multiarray", "_reconstruct"): _Array,
            ("numpy._core.multiarray", "_reconstruct"): _Array,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")
        return allowed[module, name]


def read_array_pickle(file: BinaryIO) -> dict[str, Tensor]:
    """Read a pickle of nested dicts of numpy arrays; names are joined by "/".

    No name that occurs in the pickle is imported: arrays are rebuilt here from shape, type and
    bytes.

    Raises
    ------
    ValueError
        If the pickle holds anything but dicts of arrays, or is cut short.
    """
    try:
        tree = _ArrayUnpickler(file).load()
    except _DAMAGE as error:
        raise ValueError(f"not a whole pickle of arrays alone: {_first_line(error)}") from error
    arrays = dict(_leaves(tree, ""))
    native = {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}
    return {name: torch.from_numpy(array) for name, array in native.items()}


def _leaves(tree: Any, prefix: str) -> list[tuple[str, np.ndarray]]:
    if isinstance(tree, _Array):
        return [(prefix, tree.values)]
    if isinstance(tree, dict):
        return [
            leaf
            for name, value in tree.items()
            for leaf in _leaves(value, f"{prefix}/{name}" if prefix else str(name))
        ]
    raise ValueError(f"the pickle holds a {type(tree).__name__} at {prefix or 'its top'!r}")


def read_torch_checkpoint(file: BinaryIO) -> dict[str, Tensor]:
    """Read the tensors of a torch checkpoint, without its wrapping and common prefixes.

    A `state_dict` inside a dict of other things is found; `module.` in front of every name goes.

    Raises
    ------
    ValueError
        If the file holds code, is damaged, or holds no dict of tensors.
    """
    _refuse_torch7(file)
    try:
        with warnings.catch_warnings():
            # of pickles that torch did not write; whether they are read is what counts here
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"refused: it holds more than tensors, or is damaged: {_first_line(error)}"
        ) from error
    except _DAMAGE as error:
        raise ValueError(f"not a whole torch checkpoint: {_first_line(error)}") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    named = content if isinstance(content, Mapping) else {}
    tensors = {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
    if not tensors:
        held = list(named)[:_LISTED] or type(content).__name__
        raise ValueError(f"it holds no named tensors, but {held}")
    return {_PREFIXES.sub("", name): tensor for name, tensor in tensors.items()}


def _refuse_torch7(file: BinaryIO) -> None:
    """Refuse Torch7's files: a serialised Lua object, of which the first is a class instance."""
    start = file.read(_TORCH7_HEAD)
    file.seek(-len(start), io.SEEK_CUR)
    kind, version = start[:4], start[12:16]
    if kind == b"\x04\0\0\0" and (version == b"V 1\0" or re.match(rb"V \d", version)):
        raise ValueError(
            "refused: a Torch7 file (.t7, as LTC's published networks) holds Lua objects and may "
            "hold functions; in Torch7 write the weight and bias of every layer as arrays, save "
            "them with torch.save as a dict of tensors, and convert that"
        )


def read_checkpoint(file: BinaryIO, format_name: str) -> Tensors:
    """Read the tensors of a community checkpoint under the names it has.

    Raises
    ------
    ValueError
        If the format is not known, or the file holds code or is damaged.
    """
    reader = read_array_pickle if _format(format_name).is_array_pickle else read_torch_checkpoint
    return reader(file)


def convert_checkpoint(
    raw: Mapping[str, Tensor], format_name: str, network: str | None = None
) -> tuple[Tensors, WeightRecord]:
    """Turn the tensors of a community checkpoint into those of one of our networks.

    Parameters
    ----------
    raw : mapping of str to Tensor
        From `read_checkpoint`.
    format_name : str
        Name in `FORMATS`.
    network : str or None
        Which of the networks that share the format; None takes the format's first one whose
        input channels agree.

    Returns
    -------
    tensors : dict of str to Tensor
        Exactly the tensors of the network, float32.
    record : WeightRecord
        With the builder options and input specification that these weights need.

    Raises
    ------
    ValueError
        If a tensor is missing, too many, or has another shape; it is named.
    """
    form = _format(format_name)
    renamed = _rename(raw, form)
    name = network or _matching_network(renamed, form)
    if name not in form.networks:
        raise ValueError(f"format {format_name!r} is of {', '.join(form.networks)}, not {name!r}")
    options = {**form.options, "n_classes": _count_classes(renamed)}
    wanted = expected_shapes(name, options)
    for key in wanted:
        if form.is_scale_missing and key.endswith("norm.weight"):
            renamed.setdefault(key, torch.ones(wanted[key]))
    tensors = {key: _fitted(tensor, wanted.get(key)) for key, tensor in renamed.items()}
    check_tensors(tensors, wanted, f"a checkpoint of format {format_name!r} for {name!r}")
    spec = form.spec_by_network.get(name, form.spec)
    return tensors, WeightRecord(name, form.source, options, spec, form.classes)


def _format(name: str) -> CheckpointFormat:
    if name not in FORMATS:
        raise ValueError(f"no checkpoint format {name!r}; known are {', '.join(sorted(FORMATS))}")
    return FORMATS[name]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _rename(raw: Mapping[str, Tensor], form: CheckpointFormat) -> Tensors:
    renamed: Tensors = {}
    for name, tensor in raw.items():
        if name.endswith("num_batches_tracked") or any(re.search(p, name) for p in form.ignored):
            continue
        key = name
        for pattern, replacement in form.renames:
            key = re.sub(pattern, replacement, key)
        if key in renamed:
            raise ValueError(f"two tensors of the checkpoint stand for {key!r}; one is {name!r}")
        renamed[key] = form.adapt(tensor) if form.adapt else tensor
    return renamed


def _matching_network(renamed: Tensors, form: CheckpointFormat) -> str:
    for name in form.networks:
        shapes = expected_shapes(name, form.options)
        first = next(iter(shapes))
        if first in renamed and tuple(renamed[first].shape) == shapes[first]:
            return name
    return form.networks[0]


def _count_classes(tensors: Tensors) -> int | None:
    return len(tensors["logits.weight"]) if "logits.weight" in tensors else None


def _fitted(tensor: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """Drop or add axes of length 1 where that alone gives the shape; float32."""
    tensor = tensor.detach().to(torch.float32)
    if shape is not None and [n for n in tensor.shape if n > 1] == [n for n in shape if n > 1]:
        tensor = tensor.reshape(shape)
    return tensor
