"""Encodings and scores as tables of Apache Arrow: Parquet files, or Arrow's own.

A row per clip: ``clip``, ``label``, ``group`` and ``split``, strings; ``side/FOLD``, "train", "test" or
""; ``features/NAME`` and ``mirrored/NAME``, lists of D numbers; ``scores/CLASS``, float64, null where
there is none. Stage, digest and identity are metadata of the schema. Needs the optional pyarrow.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cinefeat.pipeline.disk import explained
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.score_files import read_table
from cinefeat.pipeline.store import array_names, dataset, open_product, temporary_name

KINDS = (".parquet", ".arrow")
_TEXTS = ("clip", "label", "group", "split")
_ABOUT = ("stage", "digest", "identity")
_BLOCK = 256  # rows written at a time: encodings of a corpus need not fit in memory


def export_table(source: Path, output: Path) -> int:
    """Write a packed file of vectors, or the scores of a run, as a table; return its rows.

    Parameters
    ----------
    source : Path
        Of `cinefeat pack` of a stage with one vector per clip; or a report folder, or another file
        of scores with names of clips and classes.
    output : Path
        Ends in ``.parquet`` or ``.arrow`` (the file format of Arrow IPC). It appears when it is whole.

    Raises
    ------
    InputError
        If pyarrow is not installed, the source holds neither, or the disk refuses.
    """
    arrow = _pyarrow()
    if output.suffix not in KINDS:
        raise InputError(f"{output}: give a name that ends in {' or '.join(KINDS)}")
    if source.is_dir() or not h5py.is_hdf5(source):
        return _write(arrow, output, *_of_scores(arrow, source))
    with open_product(source) as file:
        if "features" not in file:
            raise InputError(
                f"{source} holds no vectors: give a file of `cinefeat pack encode` or `pack pool`, or "
                "a report folder for its scores"
            )
        return _write(arrow, output, *_of_packed(arrow, file))


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise InputError(
            "Arrow and Parquet need pyarrow, which is not installed: pip install 'cinefeat[arrow]'"
        ) from error
    return pyarrow


def _of_scores(arrow: Any, source: Path) -> tuple[Any, Iterator[list[Any]]]:
    """Return the schema of the table of a file of scores, and its columns in one block."""
    table = read_table(str(source))
    if table.clips is None or table.classes is None:
        raise InputError(f"{source} does not tell the clips and classes of its scores")
    texts = {"clip": table.clips, "label": table.labels}
    columns = {k: arrow.array(v.tolist()) for k, v in texts.items() if v is not None}
    columns |= _score_columns(arrow, table.classes, table.scores)
    schema = arrow.schema([(name, column.type) for name, column in columns.items()])
    return schema, iter([list(columns.values())])


def _score_columns(arrow: Any, classes: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Return a column per class; what is no finite number there is null."""
    return {
        f"scores/{name}": arrow.array(column, mask=~np.isfinite(column))
        for name, column in zip(classes.astype(np.str_), np.asarray(scores).T, strict=True)
    }


def _of_packed(arrow: Any, file: h5py.File) -> tuple[Any, Iterator[list[Any]]]:
    """Return the schema of the table of a packed file, and its columns block by block."""
    sides = [f"side/{fold}" for fold in dataset(file, "fold").asstr()[...]]
    vectors = [
        f"{group}/{name}"
        for group in ("features", "mirrored")
        if group in file
        for name in array_names(file[group])
    ]
    classes = dataset(file, "classes").asstr()[...] if "scores" in file else []
    fields = [(name, arrow.string()) for name in (*_TEXTS, *sides)]
    for name in vectors:
        kind = arrow.from_numpy_dtype(dataset(file, name).dtype)
        fields.append((name, arrow.list_(kind, dataset(file, name).shape[1])))
    fields += [(f"scores/{name}", arrow.float64()) for name in classes]
    about = {key: str(file.attrs[key]) for key in _ABOUT if key in file.attrs}
    return arrow.schema(fields, metadata=about), _blocks(arrow, file, vectors)


def _blocks(arrow: Any, file: h5py.File, vectors: list[str]) -> Iterator[list[Any]]:
    for start in range(0, len(dataset(file, "clip")), _BLOCK):
        rows = slice(start, start + _BLOCK)
        columns = [arrow.array(dataset(file, name).asstr()[rows].tolist()) for name in _TEXTS]
        for fold in range(len(dataset(file, "fold"))):
            columns.append(arrow.array(dataset(file, "side").asstr()[fold, rows].tolist()))
        for name in vectors:
            block = dataset(file, name)[rows]
            flat = arrow.array(block.reshape(-1))
            columns.append(arrow.FixedSizeListArray.from_arrays(flat, block.shape[1]))
        if "scores" in file:
            classes = dataset(file, "classes").asstr()[...]
            columns += _score_columns(arrow, classes, dataset(file, "scores")[rows]).values()
        yield columns


def _write(arrow: Any, output: Path, schema: Any, blocks: Iterator[list[Any]]) -> int:
    n_rows = 0
    temporary = temporary_name(output)
    try:
        with explained(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            with _writer(temporary, output.suffix, schema) as writer:
                for columns in blocks:
                    batch = arrow.record_batch(columns, schema=schema)
                    writer.write_batch(batch)
                    n_rows += batch.num_rows
            temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return n_rows


def _writer(path: Path, suffix: str, schema: Any) -> Any:
    if suffix == ".parquet":
        from pyarrow import parquet

        return parquet.ParquetWriter(path, schema)
    from pyarrow import ipc

    return ipc.new_file(str(path), schema)
