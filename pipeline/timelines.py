"""What lies along the time of a video, as pictures: its windows, and how a feature changes."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cinefeat.extractors.timeline import (
    PAPER,
    draw_heat_map,
    draw_windows,
    mark_frame,
    rows_to_frames,
)
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.pictures import (
    Measures,
    Picture,
    View,
    fit,
    frames_of,
    measure,
    over,
    padded,
    put_text,
    text_line,
)
from cinefeat.pipeline.store import array_names, dataset, open_product, read_arrays

_LABEL = 96  # pixels left of a heat map
_MOST_ROWS = 64  # dimensions in a heat map


def show_windows(video: Path, windows: Sequence[tuple[int, int]]) -> View:
    """Show where the windows of a video lie in time, and which of them hold each frame.

    Parameters
    ----------
    video : Path
    windows : sequence of (first, last)
        Frames of each window, the last included.
    """
    length = measure(video)
    last = max((last for _, last in windows), default=0)
    if last >= length.n_frames:
        raise InputError(f"a window ends at frame {last}; {video} has {length.n_frames}")
    return View(_window_pictures(video, windows, length), length.n_frames, length.fps)


def _window_pictures(
    video: Path, windows: Sequence[tuple[int, int]], length: Measures
) -> Iterator[Picture]:
    height = min(max(8 * len(windows), 24), length.height)
    for i, frame in enumerate(frames_of(video)):
        holding = [k for k, (first, last) in enumerate(windows) if first <= i <= last]
        bars = draw_windows(windows, length.n_frames, (height, 2 * frame.shape[1]))
        shown = frame if holding else (frame // 3 + 160).astype(np.uint8)
        names = ", ".join(map(str, holding[:8])) + (" ..." if len(holding) > 8 else "")
        text = f"frame {i}: " + (f"window {names}" if holding else "in no window")
        lines = [text_line(text, bars.shape[1]), mark_frame(bars, i, length.n_frames)]
        yield over(np.concatenate([frame, shown], axis=1), *lines)


def window_sheet(video: Path, windows: Sequence[tuple[int, int]], n_thumbs: int = 8) -> Picture:
    """Return a sheet with a line per window: its frames, at most `n_thumbs` evenly spread.

    Above them the windows are drawn along time.
    """
    length = measure(video)
    wanted = [_spread(first, last, n_thumbs) for first, last in windows]
    if max((line[-1] for line in wanted), default=0) >= length.n_frames:
        raise InputError(f"a window ends beyond {video}, which has {length.n_frames} frames")
    thumbs = _thumbnails(video, {i for line in wanted for i in line})
    side = next(iter(thumbs.values())).shape
    width = max(max(map(len, wanted)) * side[1], 480)
    bars = draw_windows(windows, length.n_frames, (min(max(8 * len(windows), 24), 200), width))
    lines = [text_line(f"{len(windows)} windows of {length.n_frames} frames", width), bars]
    for (first, last), line in zip(windows, wanted, strict=True):
        lines.append(text_line(f"frames {first} to {last}: {', '.join(map(str, line))}", width))
        lines.append(padded(np.concatenate([thumbs[i] for i in line], axis=1), width))
    return np.concatenate(lines)


def _spread(first: int, last: int, n: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(first, last, min(n, last - first + 1)).round()})


def _thumbnails(video: Path, wanted: set[int], height: int = 90) -> dict[int, Picture]:
    return {i: fit(frame, height) for i, frame in enumerate(frames_of(video)) if i in wanted}


@dataclass(frozen=True)
class FeatureRows:
    """A feature of a video: rows, the frames that each covers, and names of the columns.

    Parameters
    ----------
    rows : ndarray of shape (M, D)
    first, last : ndarray of shape (M,)
    names : tuple of str
        Of the columns, or empty.
    """

    rows: np.ndarray
    first: np.ndarray
    last: np.ndarray
    names: tuple[str, ...]


def show_feature(video: Path, feature: FeatureRows, n_rows: int) -> View:
    """Show how a feature changes along a video: a line per dimension, of those that vary most."""
    length = measure(video)
    chart = feature_chart(feature, length.n_frames, n_rows, (length.height, 2 * length.width))
    return View(_feature_pictures(video, chart, length), length.n_frames, length.fps)


def _feature_pictures(video: Path, chart: Picture, length: Measures) -> Iterator[Picture]:
    for i, frame in enumerate(frames_of(video)):
        marked = chart.copy()
        marked[:, _LABEL:] = mark_frame(chart[:, _LABEL:], i, length.n_frames)
        yield over(
            np.concatenate([frame, marked], axis=1),
            text_line(f"frame {i}", frame.shape[1] + chart.shape[1]),
        )


def feature_chart(
    feature: FeatureRows, n_frames: int, n_rows: int, size: tuple[int, int]
) -> Picture:
    """Return the heat map of a feature along time, its lines labelled where there is room.

    Shown are the `n_rows` dimensions of the largest variance, the first above, and where that is
    equal, as of a single row, those of the largest mean. At frames that several rows cover their
    mean counts.
    """
    height, width = size
    rows = feature.rows.astype(np.float64)
    chosen = np.lexsort((-rows.mean(axis=0), -rows.var(axis=0)))[: min(n_rows, _MOST_ROWS)]
    try:
        along = rows_to_frames(feature.rows[:, chosen], feature.first, feature.last, n_frames)
    except ValueError as error:
        raise InputError(f"{error}: is it a feature of this video?") from error
    chart = np.full((height, _LABEL + width, 3), PAPER, np.uint8)
    chart[:, _LABEL:] = draw_heat_map(along, (height, width))
    for line, dimension in enumerate(chosen):
        bottom = (line + 1) * height // len(chosen)
        if height // len(chosen) >= 10:
            name = feature.names[dimension] if feature.names else f"dim {dimension}"
            put_text(chart, name[:15], (2, bottom - 3), 0.35)
    return chart


def feature_sheet(video: Path, feature: FeatureRows, n_rows: int, n_thumbs: int = 8) -> Picture:
    """Return a sheet: frames evenly spread over the video, and the feature's heat map below."""
    length = measure(video)
    wanted = [(2 * k + 1) * length.n_frames // (2 * n_thumbs) for k in range(n_thumbs)]
    thumbs = _thumbnails(video, set(wanted))
    strip = np.concatenate([thumbs[i] for i in wanted], axis=1)
    n_lines = min(n_rows, feature.rows.shape[1], _MOST_ROWS)
    chart = feature_chart(feature, length.n_frames, n_rows, (16 * n_lines, strip.shape[1]))
    margin = np.full((strip.shape[0], _LABEL, 3), PAPER, np.uint8)
    n_rows_told = f"{len(feature.rows)} row" + ("s" if len(feature.rows) != 1 else "")
    text = f"{n_rows_told}, {feature.rows.shape[1]} dimensions, frames 0 to "
    top = text_line(text + f"{length.n_frames - 1}", chart.shape[1])
    return np.concatenate([top, np.concatenate([margin, strip], axis=1), chart])


def read_feature(product: Path, name: str | None) -> FeatureRows:
    """Read one array of a product and the frames of its rows.

    Parameters
    ----------
    product : Path
        Of the embed or describe stage, or any with `start_frame` and `end_frame` beside the array.
    name : str or None
        The array; by default the only one named ``features`` or ending in ``/features``.

    Raises
    ------
    InputError
        If the array is not named and not the only one, is not of numbers, or has no frames.
    """
    with open_product(product) as file:
        names = array_names(file)
        if name is None:
            found = [n for n in names if n.split("/")[-1] == "features"]
            if len(found) != 1:
                raise InputError(f"{product}: name an array by --array; it has {', '.join(names)}")
            (name,) = found
        folder = name.rpartition("/")[0]
        prefix = f"{folder}/" if folder else ""
        classes = file[folder].attrs.get("classes") if folder else None
        shape = dataset(file, name).shape
    if f"{prefix}start_frame" not in names or len(shape) != 2:
        raise InputError(f"{product}: {name!r} has no row of numbers per window of frames")
    wanted = [name, f"{prefix}start_frame", f"{prefix}end_frame"]
    rows, first, last = (read_arrays(product, wanted)[n] for n in wanted)
    labels = tuple(json.loads(classes)) if name.endswith("logits") and classes else ()
    return FeatureRows(rows, first, last, labels if len(labels) == shape[1] else ())
