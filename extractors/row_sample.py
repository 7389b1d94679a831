"""A bounded uniform sample of rows that come in chunks, as those of a long video do."""

from collections.abc import Iterable, Mapping

import numpy as np

Chunk = dict[str, np.ndarray]


def draw_rows(chunks: Iterable[Mapping[str, np.ndarray]], n_rows: int, *, seed: int) -> Chunk:
    """Draw at most `n_rows` rows of a sequence of chunks, each row as likely as any other.

    Every row gets a random number; those with the smallest are kept, in their order. Which rows are
    kept depends on the seed and the number of rows, not on how they are divided into chunks.

    Parameters
    ----------
    chunks : iterable of mapping of str to ndarray
        At least one; the first axis of all arrays of a chunk indexes its rows, of which there may
        be none. Not modified, read once.
    n_rows : int
        Largest number of rows to keep, at least 1. Memory is that of twice as many and a chunk.
    seed : int
        Seed of `numpy.random.default_rng`.

    Returns
    -------
    dict of ndarray
        The names of the chunks; ``min(n_rows, rows seen)`` rows.

    Raises
    ------
    ValueError
        If there is no chunk or `n_rows` is below 1.

    Examples
    --------
    >>> chunks = [{"x": np.arange(0, 50)}, {"x": np.arange(50, 100)}]
    >>> draw_rows(chunks, 5, seed=0)["x"]
    array([ 3, 11, 13, 20, 92])
    >>> draw_rows([{"x": np.arange(100)}], 5, seed=0)["x"]
    array([ 3, 11, 13, 20, 92])
    """
    if n_rows < 1:
        raise ValueError(f"n_rows is {n_rows}; keep at least one row")
    rng = np.random.default_rng(seed)
    pending: list[Chunk] = []
    n_pending = 0
    for chunk in chunks:
        length = len(next(iter(chunk.values())))
        pending.append({**chunk, _KEY: rng.random(length)})
        n_pending += length
        if n_pending > 2 * n_rows:
            pending = [_smallest(pending, n_rows)]
            n_pending = n_rows
    if not pending:
        raise ValueError("there are no chunks to draw from; give at least one, empty if need be")
    kept = _smallest(pending, n_rows)
    del kept[_KEY]
    return kept


_KEY = "random number of the row"


def _smallest(chunks: list[Chunk], n_rows: int) -> Chunk:
    """Join chunks and keep the rows with the smallest random numbers, in their order."""
    joined = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    kept = np.sort(np.argsort(joined[_KEY], kind="stable")[:n_rows])
    return {name: rows[kept] for name, rows in joined.items()}
