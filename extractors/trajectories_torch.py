"""Dense trajectories in torch: the tracks of all levels as tensors, resident on a device.

The definition is that of `trajectories` and `histograms`. Levels lie one after another in flat
planes, so that every step is a few operations over all tracks, none of them for a track. Made on
the host: the grey pyramid, the eigenvalues that decide where tracks start, and RANSAC.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cinefeat.extractors import histograms, trajectories
from cinefeat.extractors.trajectories import Level, TrajectorySettings

TensorPlanes = tuple[Tensor, Tensor]
Chunk = dict[str, np.ndarray]
_ANGLES = histograms.ORIENTATIONS
_BINS = {"hog": _ANGLES, "hof": _ANGLES + 1, "mbhx": _ANGLES, "mbhy": _ANGLES}


@dataclass(frozen=True)
class _Layout:
    """Where each level lies in flat planes, in planes of integrals and in the sampling grid."""

    width: Tensor
    height: Tensor
    scale: Tensor
    pixels: Tensor  # first pixel of each level
    integrals: Tensor  # first value of each level's (h + 1, w + 1) integral
    cells: Tensor  # first cell of each level's sampling grid
    columns: Tensor  # cells of the grid along x
    rows: Tensor


def _layout(levels: tuple[Level, ...], stride: int, device: str) -> _Layout:
    w, h = np.array([level[1:] for level in levels], np.int64).T
    columns, rows = w // stride, h // stride

    def on_device(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, device=device)

    def starts(sizes: np.ndarray) -> Tensor:
        return on_device(np.cumsum(sizes) - sizes)

    return _Layout(
        width=on_device(w),
        height=on_device(h),
        scale=on_device(np.array([level.scale for level in levels], np.float32)),
        pixels=starts(w * h),
        integrals=starts((w + 1) * (h + 1)),
        cells=starts(columns * rows),
        columns=on_device(columns),
        rows=on_device(rows),
    )


@dataclass(frozen=True)
class _Tracks:
    """N live tracks, by level and then oldest first."""

    level: Tensor  # (N,) int64
    age: Tensor  # (N,) int64, steps made
    points: Tensor  # (N, L + 1, 2) float32, level pixels
    steps: Tensor  # (N, L, 2) float32, stabilised displacements
    hog: Tensor  # (N, temporal cells, D) float32, sums of per-frame vectors
    hof: Tensor
    mbhx: Tensor
    mbhy: Tensor

    def at(self, index: Tensor) -> "_Tracks":
        return _Tracks(*(getattr(self, f.name)[index] for f in fields(self)))

    def here(self) -> Tensor:
        """Return the last point of each track, (N, 2)."""
        return self.points[torch.arange(len(self.age), device=self.age.device), self.age]


def _started(level: Tensor, start: Tensor, settings: TrajectorySettings) -> _Tracks:
    n, length = len(level), settings.track_length
    points = start.new_zeros((n, length + 1, 2))
    points[:, 0] = start
    cells = settings.spatial_cells**2
    sums = (start.new_zeros((n, settings.temporal_cells, cells * b)) for b in _BINS.values())
    return _Tracks(level, torch.zeros_like(level), points, start.new_zeros((n, length, 2)), *sums)


def _sample(
    tracks: _Tracks, candidates: Tensor, layout: _Layout, settings: TrajectorySettings
) -> _Tracks:
    """Start tracks in the candidate cells, flat over the levels, that hold no live track."""
    stride, level = settings.stride, tracks.level
    column, row = (tracks.here().long() // stride).unbind(1)
    on_grid = (column < layout.columns[level]) & (row < layout.rows[level])
    cell = layout.cells[level] + row * layout.columns[level] + column
    free = candidates.clone()
    free[cell[on_grid]] = False
    new = free.nonzero()[:, 0]
    new_level = torch.searchsorted(layout.cells, new, right=True) - 1
    inner = new - layout.cells[new_level]
    columns = layout.columns[new_level]
    grid = torch.stack([inner % columns, inner // columns], 1)
    started = _started(new_level, (grid * stride + stride // 2).float(), settings)
    together = _Tracks(
        *(torch.cat([getattr(tracks, f.name), getattr(started, f.name)]) for f in fields(tracks))
    )
    return together.at(torch.argsort(together.level, stable=True))


def _advance(
    tracks: _Tracks, flow: Tensor, stabilised: Tensor, layout: _Layout
) -> tuple[_Tracks, Tensor]:
    """Move the tracks along the flat flows (2, P); return those left and where they were."""
    level, here = tracks.level, tracks.here()
    size = torch.stack([layout.width[level], layout.height[level]], 1)
    x, y = torch.minimum(here.round().long().clamp(min=0), size - 1).unbind(1)
    pixel = layout.pixels[level] + y * layout.width[level] + x
    there = here + flow[:, pixel].T
    stays = ((there > 0) & (there < size)).all(1)
    n = torch.arange(len(level), device=level.device)
    tracks.points[n, (tracks.age + 1).clamp(max=tracks.points.shape[1] - 1)] = there
    tracks.steps[n, tracks.age] = stabilised[:, pixel].T
    moved = replace(tracks, age=tracks.age + 1).at(stays)
    return moved, here[stays]


def _votes(x: Tensor, y: Tensor, has_slow: bool) -> Tensor:
    """Return each pixel's votes for the directions, and for no motion: (P, bins) float32."""
    ax, ay = x.abs(), y.abs()
    t = torch.minimum(ax, ay) / (torch.maximum(ax, ay) + 2.220446e-16)
    u = t * t
    p1, p3, p5, p7 = (float(c) for c in histograms.ARCTANGENT)
    angle = (((p7 * u + p5) * u + p3) * u + p1) * t * (4 / np.pi)
    angle = torch.where(ay > ax, 2 - angle, angle)
    angle = torch.where(x < 0, 4 - angle, angle)
    angle = torch.where(y < 0, _ANGLES - angle, angle)
    length = (x * x + y * y).sqrt()
    slow = length <= float(histograms.MIN_FLOW)
    if has_slow:
        length = length.masked_fill(slow, 0.0)
    distance = (angle[:, None] - torch.arange(_ANGLES, device=x.device)).abs()
    distance = torch.minimum(distance, _ANGLES - distance)
    votes = length[:, None] * (1 - distance).clamp(min=0)
    return torch.cat([votes, slow[:, None].float()], 1) if has_slow else votes


def _gradient(plane: Tensor) -> TensorPlanes:
    """Return the differences [-1 0 1] along x and y, zero at the border."""
    dx = functional.pad(plane[:, 2:] - plane[:, :-2], (1, 1))
    dy = functional.pad(plane[2:] - plane[:-2], (0, 0, 1, 1))
    return dx, dy


def _integral(gray: Tensor, flow: TensorPlanes) -> Tensor:
    """Return the integral of all votes of a level, ((h + 1) (w + 1), bins) float64."""
    pairs = (_gradient(gray), flow, _gradient(flow[0]), _gradient(flow[1]))
    votes = [
        _votes(x.flatten(), y.flatten(), name == "hof")
        for name, (x, y) in zip(_BINS, pairs, strict=True)
    ]
    planes = torch.cat(votes, 1).double().reshape(*gray.shape, -1)
    return functional.pad(planes.cumsum(0).cumsum(1), (0, 0, 1, 0, 1, 0)).flatten(0, 1)


def _describe(
    tracks: _Tracks, here: Tensor, integral: Tensor, layout: _Layout, settings: TrajectorySettings
) -> None:
    """Add the step's descriptors at the points `here` to the sums, in place."""
    patch, cells, level = settings.patch_size, settings.spatial_cells, tracks.level
    size = torch.stack([layout.width[level], layout.height[level]], 1)
    corner = torch.minimum((here.round().long() - patch // 2).clamp(min=0), size - patch)
    offset = torch.arange(cells + 1, device=level.device) * (patch // cells)
    x, y = corner[:, :1] + offset, corner[:, 1:] + offset
    width = layout.width[level, None, None] + 1
    index = layout.integrals[level, None, None] + y[:, None, :] * width + x[:, :, None]
    sums = integral[index].diff(dim=1).diff(dim=2)  # (N, x cells, y cells, bins)
    t = (tracks.age - 1) // (settings.track_length // settings.temporal_cells)
    described = (t < settings.temporal_cells).nonzero()[:, 0]
    for name, values in zip(_BINS, sums.split(list(_BINS.values()), dim=3), strict=True):
        raised = values.flatten(1).clamp(min=0) + float(histograms.BIN_OFFSET)
        roots = (raised / raised.sum(1, keepdim=True)).sqrt().float()
        getattr(tracks, name)[described, t[described]] += roots[described]


def _finish(
    tracks: _Tracks, frame: int, stabilised: bool, layout: _Layout, settings: TrajectorySettings
) -> tuple[_Tracks, Chunk]:
    """End full-length tracks; return the others and the rows of the valid ones."""
    ends = tracks.age == settings.track_length
    ended = tracks.at(ends)
    scale = layout.scale[ended.level]
    points = ended.points * scale[:, None, None]
    mean = points.mean(1)
    std = ((points - mean[:, None]) ** 2).mean(1).sqrt()
    lengths = points.diff(dim=1).norm(dim=2)
    total, longest = lengths.sum(1), lengths.amax(1)
    still = (std < float(trajectories.MIN_STD)).all(1)
    wild = (std > float(trajectories.MAX_STD)).any(1)
    share = float(trajectories.MAX_STEP_SHARE)
    jumps = (longest > float(trajectories.MAX_STEP)) & (longest > share * total)
    steps = ended.steps * scale[:, None, None]
    step_lengths = steps.norm(dim=2)
    kept = ~(still | wild | jumps)
    if stabilised:
        kept &= step_lengths.amax(1) > float(trajectories.MIN_STABILISED_STEP)
    shape = (steps / step_lengths.sum(1).clamp(min=1e-30)[:, None, None]).flatten(1)
    half = float(frame - settings.track_length / 2)
    info = torch.cat(
        [
            torch.full_like(mean[:, :1], frame), mean, std, total[:, None], scale[:, None], mean,
            torch.full_like(mean[:, :1], half),
        ],
        1,
    )  # fmt: skip
    n_steps = settings.track_length // settings.temporal_cells
    rows = {"info": info, "trajectory": shape, "points": points}
    rows |= {name: getattr(ended, name).flatten(1) / n_steps for name in _BINS}
    return tracks.at(~ends), {name: rows[name][kept].cpu().numpy() for name in rows}


def _flat(planes: Iterable[TensorPlanes], device: str) -> Tensor:
    """Lay the flows of all levels one after another, (2, P)."""
    pairs = (torch.stack([torch.as_tensor(c, device=device) for c in pair]) for pair in planes)
    return torch.cat([pair.flatten(1) for pair in pairs], 1)


def _candidates(pyramid: list[np.ndarray], stride: int, device: str) -> Tensor:
    """Return whether each cell's middle is textured, flat over the levels."""
    levels = [trajectories.textured_cells(gray, stride).ravel() for gray in pyramid]
    return torch.as_tensor(np.concatenate(levels), device=device)


def track(
    motion: Iterable[tuple[list[np.ndarray], list[np.ndarray], list, list]],
    levels: tuple[Level, ...],
    camera_motion: bool,
    first_frame: int,
    settings: TrajectorySettings,
    device: str,
) -> Iterator[Chunk]:
    """Track through frame pairs on a device; yield the rows that end at each frame.

    Parameters
    ----------
    motion : iterable of tuple
        For each pair the grey pyramids of both frames (on the host) and, for each level, the flow
        to track on and the flow to describe: pairs of (h, w) float32, arrays or tensors.
    levels : tuple of Level
    camera_motion : bool
        Whether the second flow is free of the camera's motion.
    first_frame : int
        Index of the first frame.
    settings : TrajectorySettings
    device : str
        A torch device.
    """
    layout = _layout(levels, settings.stride, device)
    none = torch.zeros(0, dtype=torch.int64, device=device)
    tracks = _started(none, torch.zeros((0, 2), device=device), settings)
    for frame, (before, after, plain, stabilised) in enumerate(motion, first_frame):
        if frame == first_frame:
            candidates = _candidates(before, settings.stride, device)
            tracks = _sample(tracks, candidates, layout, settings)
        flat = _flat(plain, device)
        flat_stabilised = flat if stabilised is plain else _flat(stabilised, device)
        tracks, here = _advance(tracks, flat, flat_stabilised, layout)
        integrals = []
        for gray, (x, y) in zip(before, stabilised, strict=True):
            flow = (torch.as_tensor(x, device=device), torch.as_tensor(y, device=device))
            integrals.append(_integral(torch.as_tensor(gray, device=device).float(), flow))
        _describe(tracks, here, torch.cat(integrals), layout, settings)
        tracks, chunk = _finish(tracks, frame + 1, camera_motion, layout, settings)
        tracks = _sample(tracks, _candidates(after, settings.stride, device), layout, settings)
        yield chunk
