"""Models: what one fold has learned, in one file that labels new videos.

A model file is HDF5. Its attributes are the recipe as TOML, the fold that it was learned on and the
classes; its groups ``<stage>/<product>`` are exact copies, arrays and attributes, of what the stages
per corpus made (codebooks and classifier). Nothing is fitted again: the copies go back into a store,
under the digests that they had, and the other stages find them there. Network weights stay where they
are; the digest of an embed stage makes sure that they are the same.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.plan import Node, folder_of, stages_of, versions
from cinefeat.pipeline.recipe import parse_recipe, to_toml
from cinefeat.pipeline.settings import Recipe
from cinefeat.pipeline.stages import Stage, product_path
from cinefeat.pipeline.store import (
    ProductWriter,
    array_names,
    open_product,
    read_arrays,
    read_attrs,
    write_product,
)

KIND = "model"


@dataclass(frozen=True)
class Model:
    """A model file.

    Parameters
    ----------
    path : Path
    recipe : Recipe
    learned : mapping of str to str
        Identity of each stage that has learned, by its name: `cinefeat.pipeline.plan.plan` takes it.
    classes : tuple of str
    """

    path: Path
    recipe: Recipe
    learned: Mapping[str, str]
    classes: tuple[str, ...]


def write_model(
    path: Path, recipe: Recipe, nodes: Mapping[str, Node], protocol: str, fold: str
) -> None:
    """Pack what one fold has learned into one file, atomically.

    Parameters
    ----------
    path : Path
    recipe : Recipe
    nodes : mapping of str to Node
        The plan of the fold; the products of its stages that learn must be there.
    protocol, fold : str
        Where the training clips come from; kept for the reader.
    """
    learned = [stage for stage in stages_of(recipe) if stage.reads == "train"]
    judge = nodes["train" if recipe.train is not None else "network"]
    classes = read_arrays(judge.product(judge.parts()[0]), ["classes_"])["classes_"]
    attrs = {
        "kind": KIND,
        "recipe": to_toml(recipe),
        "protocol": protocol,
        "fold": fold,
        "classes": classes.tolist(),
        "learned": {stage.name: nodes[stage.name].identity for stage in learned},
        "n_clips": len(judge.clips),
        "versions": versions(),
    }
    with ProductWriter(path, attrs) as model:
        for stage in learned:
            for part in nodes[stage.name].parts():
                source = nodes[stage.name].product(part)
                for name, array in read_arrays(source).items():
                    model.write(f"{stage.name}/{part}/{name}", _plain(array))
                model.set_attrs(read_attrs(source), f"{stage.name}/{part}")


def read_model(path: Path) -> Model:
    """Read what a model file says of itself.

    Raises
    ------
    InputError
        If it is not a model file, or its recipe is not one of this version.
    """
    attrs = read_attrs(path)
    if attrs.get("kind") != KIND:
        what = "a product of one stage" if "stage" in attrs else "another file"
        raise InputError(f"{path} is {what}, not a model: make one with cinefeat export-model")
    recipe = parse_recipe(str(attrs["recipe"]), str(path))
    return Model(path, recipe, json.loads(attrs["learned"]), tuple(json.loads(attrs["classes"])))


def unpack_model(model: Model, store: Path) -> None:
    """Copy the products of a model into a store, where they are not there already.

    Raises
    ------
    InputError
        If the file lacks a product that its recipe speaks of.
    """
    for stage, part in _products(model.recipe):
        target = product_path(folder_of(store, stage, model.learned[stage.name]), part)
        if not target.exists():
            arrays, attrs = _read_group(model.path, f"{stage.name}/{part}")
            write_product(target, arrays, attrs)


def _read_group(path: Path, group: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the attributes of one group of a model file."""
    with open_product(path) as file:
        names = [name for name in array_names(file) if name.startswith(f"{group}/")]
        if not names:
            raise InputError(f"{path} has no {group}: it is damaged, make it again")
        attrs = dict(file[group].attrs)
    arrays = read_arrays(path, names)
    return {name.removeprefix(f"{group}/"): _plain(a) for name, a in arrays.items()}, attrs


def _products(recipe: Recipe) -> Iterator[tuple[Stage, str]]:
    for stage in stages_of(recipe):
        if stage.reads == "train":
            settings = getattr(recipe, stage.name)
            parts = getattr(settings, stage.parts) if stage.parts else (stage.product,)
            yield from ((stage, part) for part in parts)


def _plain(array: np.ndarray) -> np.ndarray:
    """Return texts, which HDF5 gives as objects, as an array of strings."""
    array = np.asarray(array)
    return array.astype(np.str_) if array.dtype.kind == "O" else array
