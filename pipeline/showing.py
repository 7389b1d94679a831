"""Flow and tracks of a video as pictures beside its frames.

Memory does not grow with the length of the video: frames are decoded again where they are needed
again, and flow waits on disk for its scale.
"""

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from cinefeat.extractors import flow_of_video, iter_dense_trajectories, warped_flow_of_video
from cinefeat.extractors.drawing import draw_tracks, flow_colours, flow_legend
from cinefeat.extractors.timeline import PAPER
from cinefeat.pipeline.errors import InputError
from cinefeat.pipeline.pictures import (
    STRIP,
    Measures,
    Picture,
    View,
    fit,
    frames_of,
    measure,
    over,
    text_line,
)
from cinefeat.pipeline.stages.flow import read_fields
from cinefeat.pipeline.store import dataset, iter_rows, open_product

LEGEND: Final = 48  # pixels of the colour wheel
_LEAST_MOTION = 1.0  # px; a still video should not show its noise in full colour
_PRESET = "fast"  # of TV-L1
_PEAK = 0.999  # quantile of a field's speeds that counts as its greatest motion
_SHARE = 0.9  # of the fields whose greatest motion is within the scale
_MOST_TIMES = 4  # that a frame is enlarged
Row = tuple[int, np.ndarray, bool]  # the end frame of a track, its points, whether it is removed
Tracks = tuple[list[np.ndarray], list[np.ndarray]]  # kept and removed, up to a frame


def show_flow(
    video: Path,
    *,
    warped: bool,
    product: Path | None,
    max_motion: float | None,
    frame: int | None = None,
) -> View:
    """Show the flow from each frame to the next in the colours of the Middlebury benchmark.

    Parameters
    ----------
    video : Path
    warped : bool
        Show the flow without the camera's motion.
    product : Path or None
        A product of the flow stage to read; None computes TV-L1 flow.
    max_motion : float or None
        Pixels of the fullest colour. By default the greatest motion of a field is the 99.9th
        percentile of its speeds, and the fullest colour that of the 90th percentile of the fields,
        at least 1 px: a few wild vectors or a cut should not pale the rest.
    frame : int or None
        The one frame to show, in the colours of its own greatest motion; None shows all.
    """
    length = measure(video)
    if length.n_frames < 2:
        raise InputError(f"{video} has one frame; flow needs two")
    n_pairs = length.n_frames - 1
    if frame is not None and frame >= n_pairs:
        raise InputError(f"--frame is {frame}; {video} has flow of frames 0 to {n_pairs - 1}")
    part = range(n_pairs) if frame is None else range(frame, frame + 1)
    fields = _fields(video, warped, product, part)
    return View(_flow_pictures(video, fields, max_motion, part), len(part), length.fps)


def _fields(video: Path, warped: bool, product: Path | None, part: range) -> Iterator[np.ndarray]:
    if product is not None:
        stored = read_fields(product, "warped_flow" if warped else "flow")
        return islice(stored, part.start, part.stop)
    frames = islice(frames_of(video), part.start, part.stop + 1)
    grays = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    if warped:
        return (pair.warped for pair in warped_flow_of_video(grays, preset=_PRESET))
    return flow_of_video(grays, preset=_PRESET)


def _flow_pictures(
    video: Path, fields: Iterator[np.ndarray], max_motion: float | None, part: range
) -> Iterator[Picture]:
    with tempfile.TemporaryFile() as spool:
        if max_motion is None:
            peaks = []
            for field in fields:
                peaks.append(np.quantile(np.hypot(field[..., 0], field[..., 1]), _PEAK))
                np.save(spool, field.astype(np.float16))
            spool.seek(0)
            fields = (np.load(spool, allow_pickle=False) for _ in peaks)
            max_motion = max(_LEAST_MOTION, float(np.quantile(peaks, _SHARE)))
        frames = islice(frames_of(video), part.start, part.stop)
        for i, frame, field in zip(part, frames, fields, strict=True):
            colours = fit(flow_colours(field.astype(np.float32), max_motion), frame.shape[0])
            text = f"frame {i} to {i + 1}; full colour {max_motion:.3g} px"
            yield over(np.concatenate([frame, colours], axis=1), _with_legend(text, frame, colours))


def _with_legend(text: str, frame: Picture, colours: Picture) -> Picture:
    width = frame.shape[1] + colours.shape[1]
    strip = np.full((LEGEND, width, 3), PAPER, np.uint8)
    strip[:STRIP] = text_line(text, width)
    strip[:, width - LEGEND :] = flow_legend(LEGEND)
    return strip


def show_tracks(
    video: Path, *, camera_motion: bool, product: Path | None, height: int = 480
) -> View:
    """Show the trajectories that are alive at each frame, the camera's own in white.

    Parameters
    ----------
    video : Path
    camera_motion : bool
        Find the tracks that follow the camera (improved trajectories): those that `camera_motion`
        alone removes.
    product : Path or None
        A product of the describe stage with `points`; its tracks are shown, none is removed. None
        tracks anew.
    height : int
        Pixels that a smaller frame is enlarged to, about: a whole number of times, at most 4. Tracks
        start 5 px apart, and their lines need room beside each other.
    """
    length = measure(video)
    rows = _tracks_anew(video, length, camera_motion) if product is None else _stored(product)
    return View(_track_pictures(video, rows, height), length.n_frames, length.fps)


def _tracks_anew(video: Path, length: Measures, camera_motion: bool) -> Iterator[Row]:
    """Yield the end frame and the points of each track, and whether it follows the camera."""
    n_frames = length.n_frames
    every = iter_dense_trajectories(frames_of(video), camera_motion=False, n_frames=n_frames)
    if not camera_motion:
        for chunk in every:
            yield from _rows(chunk["info"][:, 0], chunk["points"], set())
        return
    kept = iter_dense_trajectories(frames_of(video), camera_motion=True, n_frames=n_frames)
    for chunk, own in zip(every, kept, strict=True):
        # tracks are the same with and without the camera's motion, which only drops some
        mine = {points.tobytes() for points in own["points"]}
        removed = {points.tobytes() for points in chunk["points"]} - mine
        yield from _rows(chunk["info"][:, 0], chunk["points"], removed)


def _stored(product: Path) -> Iterator[Row]:
    with open_product(product) as file:
        dataset(file, "points")
    for end, points in zip(
        iter_rows(product, "end_frame", 1024), iter_rows(product, "points", 1024), strict=True
    ):
        yield int(end), points, False


def _rows(ends: np.ndarray, points: np.ndarray, removed: set[bytes]) -> Iterator[Row]:
    for end, track in zip(ends, points, strict=True):
        yield int(end), track, track.tobytes() in removed


def alive_tracks(rows: Iterable[Row], n_frames: int) -> Iterator[Tracks]:
    """Yield, for each frame, the positions up to it of the tracks that are alive there.

    Parameters
    ----------
    rows : iterable of (end frame, points of shape (L + 1, 2), is removed)
        By end frame, ascending.
    n_frames : int

    Yields
    ------
    kept, removed : list of ndarray of shape (P, 2)
        Each track from where it began.

    Examples
    --------
    >>> track = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    >>> [len(kept[0]) if kept else 0 for kept, _ in alive_tracks([(2, track, False)], 4)]
    [1, 2, 3, 0]
    """
    coming = iter(rows)
    held: deque[Row] = deque()
    following = next(coming, None)
    for t in range(n_frames):
        while following is not None and following[0] - len(following[1]) + 1 <= t:
            held.append(following)
            following = next(coming, None)
        while held and held[0][0] < t:
            held.popleft()
        found: Tracks = ([], [])
        for end, points, is_removed in held:
            n_points = t - (end - len(points))
            found[is_removed].append(points[:n_points])
        yield found


def _track_pictures(video: Path, rows: Iterator[Row], height: int) -> Iterator[Picture]:
    length = measure(video)
    times = int(np.clip(round(height / length.height), 1, _MOST_TIMES))
    for i, (frame, every) in enumerate(
        zip(frames_of(video), alive_tracks(rows, length.n_frames), strict=False)
    ):
        # pixel centres stay pixel centres
        kept, removed = ([track * times + (times - 1) / 2 for track in part] for part in every)
        large = fit(frame, times * length.height)
        pair = np.concatenate([large, draw_tracks(large, kept, removed)], axis=1)
        text = f"frame {i}: {len(kept)} tracks" + (f", {len(removed)} removed" if removed else "")
        yield over(pair, text_line(text, pair.shape[1]))
