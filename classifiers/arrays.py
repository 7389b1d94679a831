"""Fitted estimators as named arrays, and back: nothing is pickled, and nothing that is read runs.

The entry ``estimator`` holds the class name and the parameters as a JSON string. The other entries
are the learned attributes by their names; a learned estimator ``name`` contributes its own entries
as ``name/...``.
"""

import importlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from cinefeat.classifiers.types import Array

# class name -> module; from_arrays makes no other class
_CLASSES = {
    "BagOfWords": "bow",
    "DiagonalGMM": "mixture",
    "FisherVector": "fisher",
    "KMeansCodebook": "codebook",
    "KernelSVM": "svm",
    "LinearSVM": "svm",
    "PCA": "pca",
    "Pooling": "pooling",
    "RandomForest": "forest",
    "SGDSVM": "sgd",
    "SigmoidCalibration": "calibration",
    "StackedSVM": "fusion",
    "VLAD": "vlad",
}


def to_arrays(estimator: Any) -> dict[str, Array]:
    """Return everything that a fitted estimator of this package has learned, as named arrays.

    Parameters
    ----------
    estimator : fitted estimator of this package

    Returns
    -------
    dict of ndarray
        Entry "estimator" is a string array of shape () with JSON: class, parameters, and the
        learned attributes that are plain numbers. Label arrays may be strings.

    Raises
    ------
    ValueError
        If the class is not one of this package, it is not fitted, or a parameter is no JSON value
        (a random generator: give an integer seed).

    Examples
    --------
    >>> from cinefeat.classifiers import PCA
    >>> sorted(to_arrays(PCA(1).fit(np.eye(3))))
    ['components_', 'estimator', 'mean_', 'variances_']
    """
    name = type(estimator).__name__
    if _CLASSES.get(name) != type(estimator).__module__.rpartition(".")[2]:
        raise ValueError(
            f"{name} cannot be kept as arrays; the classes that can: {sorted(_CLASSES)}"
        )
    learned = {k: v for k, v in vars(estimator).items() if k.endswith("_")}
    if not learned:
        raise ValueError(f"{name} has learned nothing yet: fit it first")
    arrays: dict[str, Array] = {}
    scalars: dict[str, int | float] = {}
    for key, value in learned.items():
        if isinstance(value, np.ndarray):
            arrays[key] = _plain(key, value)
        elif isinstance(value, int | float | np.number):
            scalars[key] = value.item() if isinstance(value, np.number) else value
        else:
            arrays |= {f"{key}/{k}": v for k, v in to_arrays(value).items()}
    header = {"class": name, "params": estimator.get_params(deep=False), "learned": scalars}
    return {"estimator": np.array(_dump(name, header)), **arrays}


def from_arrays(arrays: Mapping[str, Array]) -> Any:
    """Make the fitted estimator that `to_arrays` took apart; it answers bit for bit alike.

    Parameters
    ----------
    arrays : mapping from name to ndarray
        As `to_arrays` returned it; strings may also be bytes (UTF-8) or objects, as HDF5 gives
        them.

    Raises
    ------
    ValueError
        If the entry "estimator" is missing or names a class that is not in the table of this
        module.

    Examples
    --------
    >>> from cinefeat.classifiers import PCA
    >>> pca = PCA(1).fit(np.eye(3))
    >>> bool((from_arrays(to_arrays(pca)).transform(np.eye(3)) == pca.transform(np.eye(3))).all())
    True
    """
    if "estimator" not in arrays:
        raise ValueError(
            f"no entry 'estimator' among {sorted(arrays)}: not a model of this package"
        )
    header = json.loads(_text(np.asarray(arrays["estimator"])).item())
    name = header["class"]
    if name not in _CLASSES:
        raise ValueError(
            f"class {name!r} is not one of {sorted(_CLASSES)}: newer file or not a model"
        )
    module = importlib.import_module(f"cinefeat.classifiers.{_CLASSES[name]}")
    estimator = getattr(module, name)(**header["params"])
    vars(estimator).update(header["learned"])
    for key in [k for k in arrays if "/" not in k and k != "estimator"]:
        setattr(estimator, key, _text(np.asarray(arrays[key])))
    for key in dict.fromkeys(k.partition("/")[0] for k in arrays if "/" in k):
        prefix = key + "/"
        nested = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        setattr(estimator, key, from_arrays(nested))
    return estimator


def _plain(key: str, value: Array) -> Array:
    if value.dtype.kind != "O":
        return value
    if all(isinstance(v, str) for v in value.ravel()):
        return value.astype(np.str_)
    raise ValueError(f"{key} holds Python objects: use strings or numbers as labels")


def _text(value: Array) -> Array:
    """Return strings as numpy's own, whether they came as such, as bytes or as objects."""
    if value.dtype.kind == "S":
        return np.char.decode(value, "utf-8")
    if value.dtype.kind == "O":
        decoded = [v.decode("utf-8") if isinstance(v, bytes) else str(v) for v in value.ravel()]
        return np.array(decoded, np.str_).reshape(value.shape)
    return value


def _dump(name: str, header: dict[str, Any]) -> str:
    try:
        return json.dumps(header, default=_number)
    except TypeError as error:
        raise ValueError(f"a parameter of {name} is no JSON value: {error}") from error


def _number(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.number):
        return value.tolist()
    raise TypeError(f"{value!r}; give an integer seed or a plain number")
