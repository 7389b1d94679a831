"""Pictures of what maps of a network respond to in a video, by projecting activations back."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from cinefeat.extractors import dense_starts
from cinefeat.extractors.deconvolution import as_pictures, project_back, strongest_activations
from cinefeat.extractors.imaging import prepare_window, resize_frame
from cinefeat.extractors.networks import load_plain
from cinefeat.extractors.spec import InputSpec
from cinefeat.pipeline.errors import ClipError, InputError
from cinefeat.pipeline.pictures import write_picture
from cinefeat.pipeline.stages.embed import Timed, select_windows
from cinefeat.pipeline.video import VideoReader

_STRIP: Final = 18  # pixels above each pair of rows, for its title
_PAPER: Final = 255


@dataclass(frozen=True)
class Shown:
    """One map in the picture: its strongest activation, and the frames of its window."""

    channel: int
    activation: float
    first: int
    last: int


def draw_activations(
    video: Path,
    network: str,
    weights: str,
    layer: str,
    maps: Sequence[int] | int,
    *,
    start: int | None = None,
    out: Path,
) -> list[Shown]:
    """Draw, for each map, the window in which it responds most and what it responds to there.

    Parameters
    ----------
    video : Path
    network : str
        Name in `cinefeat.extractors.networks.NETWORKS`, of modality "rgb".
    weights : str
        A name of known weights, or a weight file.
    layer : str
    maps : sequence of int, or int
        The maps, or how many of the strongest.
    start : int or None
        First frame of the one window that is looked at; None looks at all, at the network's stride.
    out : Path
        The PNG file, written whole or not at all.

    Returns
    -------
    list of Shown
        From top to bottom.

    Raises
    ------
    InputError
        If the weights are missing or of another network, the network takes no frames, the layer or
        a map does not exist or cannot be undone, or the video cannot be read.
    """
    try:
        body, spec, _ = load_plain(network, weights)
        if spec.modality != "rgb":
            raise ValueError(f"{network} takes {spec.modality}; activations are shown in frames")
        body = body.eval()
        windows = _Windows(video, spec, start)
        peaks = [strongest_activations(body, inputs, layer) for inputs, _ in windows]
        shown, rows = [], []
        for channel, place in _best_windows(np.stack(peaks), maps):
            inputs, held = windows[place]
            (found,) = project_back(body, inputs, layer, [channel])
            entry = Shown(channel, found.activation, held[0][1], held[-1][1])
            title = (
                f"{layer} map {channel}: {found.activation:.4g}, frames {entry.first}-{entry.last}"
            )
            rows.append(_rows(title, inputs[0].numpy(), found.pattern, spec))
            shown.append(entry)
    except ClipError as error:
        raise InputError(f"{video} {error}") from error
    except ValueError as error:
        raise InputError(str(error)) from error
    write_picture(out, np.concatenate(rows))
    return shown


class _Windows:
    """The windows of a video as a network takes them, decoded anew for every pass."""

    def __init__(self, video: Path, spec: InputSpec, start: int | None) -> None:
        self._video, self._spec = video, spec
        with VideoReader(video) as reader:
            self._n_frames = sum(1 for _ in reader)
        starts = dense_starts(self._n_frames, spec.window, spec.stride)
        if start is not None:
            if start + spec.window > self._n_frames and start:
                raise ValueError(
                    f"--start is {start}; {video} has {self._n_frames} frames, and a window {spec.window}"
                )
            starts = np.array([start])
        self._starts = starts

    def __iter__(self) -> Iterator[tuple[torch.Tensor, list[Timed]]]:
        return self._at(self._starts)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, list[Timed]]:
        return next(self._at(self._starts[place : place + 1]))

    def _at(self, starts: Iterable[int]) -> Iterator[tuple[torch.Tensor, list[Timed]]]:
        spec = self._spec
        with VideoReader(self._video) as reader:
            steps = ((resize_frame(frame, spec), index, at) for frame, index, at in reader)
            for held in select_windows(
                steps, starts, self._n_frames, spec.window, spec.short_clips
            ):
                yield torch.from_numpy(prepare_window([step[0] for step in held], spec)), held


def _best_windows(peaks: np.ndarray, maps: Sequence[int] | int) -> list[tuple[int, int]]:
    """Return channel and window of the maps to show, given the peaks (n_windows, n_maps)."""
    if isinstance(maps, int):
        maps = [int(i) for i in np.argsort(-peaks.max(axis=0), kind="stable")[:maps]]
    if wrong := [channel for channel in maps if not 0 <= channel < peaks.shape[1]]:
        raise ValueError(f"no map {wrong[0]}; the layer has maps 0 to {peaks.shape[1] - 1}")
    return [(channel, int(peaks[:, channel].argmax())) for channel in maps]


def _rows(title: str, inputs: np.ndarray, pattern: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Return the title, the frames and the projection, one above the other."""
    volumes = [_as_volume(array, spec) for array in (inputs, pattern)]
    scale = np.array(spec.std)[:, None, None, None], np.array(spec.mean)[:, None, None, None]
    grey = np.clip(np.rint(volumes[0] * scale[0] + scale[1]), 0, 255).astype(np.uint8)
    frames = (grey[::-1] if spec.channel_order == "bgr" else grey).transpose(1, 2, 3, 0)
    pictures = as_pictures(volumes[1], spec.channel_order)
    lines = [np.concatenate(list(line), axis=1) for line in (frames, pictures)]
    strip = np.full((_STRIP, lines[0].shape[1], 3), _PAPER, np.uint8)
    cv2.putText(
        strip, title, (4, _STRIP - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA
    )
    return np.concatenate([strip, *lines])


def _as_volume(array: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Return (C, T, H, W) of a network's input."""
    if spec.layout == "volume":
        return array
    return array.reshape(-1, spec.n_channels, *array.shape[1:]).transpose(1, 0, 2, 3)
