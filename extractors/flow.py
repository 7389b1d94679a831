"""Dense optical flow by total variation and an L1 data term (TV-L1): the public entry.

Validation, presets and the settings record are here; the solver is `tvl1` (numba) on the
CPU and `tvl1_torch` on a CUDA device. Quantising flow is in `quantise`, flow without camera
motion in `warped_flow`.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinefeat.extractors.tvl1 import flow_of_pair

Float32 = NDArray[np.float32]
MIN_SIDE = 16


@dataclass(frozen=True)
class FlowSettings:
    """Settings of TV-L1 flow."""

    tau: float = 0.5
    lambda_: float = 0.4
    theta: float = 0.2
    gamma: float = 1.5
    edge_decay: float = 0.015
    n_scales: int = 12
    zoom: float = 0.5
    n_warps: int = 4
    n_coarse_warps: int = 5
    epsilon: float = 0.01
    max_iterations: int = 15
    median_filter: int = 5
    weighted_median: bool = True
    presmoothing: float = 0.5


PRESETS: dict[str, FlowSettings] = {
    "accurate": FlowSettings(),
    "opencv": FlowSettings(
        tau=0.25,
        lambda_=0.15,
        theta=0.3,
        gamma=0.0,
        edge_decay=0.0,
        n_scales=5,
        zoom=0.8,
        n_warps=5,
        n_coarse_warps=5,
        epsilon=0.01,
        max_iterations=300,
        weighted_median=False,
        presmoothing=0.0,
    ),
    "fast": FlowSettings(
        gamma=0.0, n_warps=2, n_coarse_warps=3, max_iterations=10, weighted_median=False
    ),
}


def optical_flow_tvl1(
    prev: NDArray[Any],
    next: NDArray[Any],
    *,
    device: str = "cpu",
    preset: str = "accurate",
    n_threads: int = 1,
    **settings: Any,
) -> Float32:
    """Estimate the displacement of every pixel from one grey image to the next."""
    chosen = flow_settings(preset, **settings)
    first, second = _grey_batch(prev, "prev"), _grey_batch(next, "next")
    if first.shape != second.shape:
        raise ValueError(
            f"prev has shape {first.shape} and next {second.shape}; crop or resize them to one"
        )
    if device != "cpu":
        raise ValueError(f"device is {device!r}; only 'cpu' is ready")
    with ThreadPoolExecutor(n_threads) as pool:
        flows = list(pool.map(lambda pair: flow_of_pair(*pair, chosen), zip(first, second)))
    stacked = np.stack(flows)
    return stacked if prev.ndim == 3 else stacked[0]


def flow_settings(preset: str = "accurate", **settings: Any) -> FlowSettings:
    """Return the settings of a preset with some of them replaced."""
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; choose one of {', '.join(PRESETS)}")
    return replace(PRESETS[preset], **settings)


def flow_of_video(
    frames: Iterable[NDArray[Any]],
    *,
    device: str = "cpu",
    preset: str = "accurate",
    batch_size: int = 8,
    n_threads: int = 1,
    **settings: Any,
) -> Iterator[Float32]:
    """Estimate the flow of each grey frame (H, W) of a video to the next, one at a time."""
    stream = iter(frames)
    kept = list(islice(stream, 1))
    while new := list(islice(stream, batch_size)):
        pairs = np.stack(kept + new)
        yield from optical_flow_tvl1(
            pairs[:-1],
            pairs[1:],
            device=device,
            preset=preset,
            n_threads=n_threads,
            **settings,
        )
        kept = new[-1:]


def _grey_batch(images: NDArray[Any], name: str) -> Float32:
    if images.ndim not in (2, 3) or images.shape[-1] in (3, 4):
        raise ValueError(
            f"{name} has shape {images.shape}; flow needs grey images (H, W) or (N, H, W): "
            "convert colour with cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)"
        )
    if images.dtype not in (np.uint8, np.float32):
        raise ValueError(f"{name} has dtype {images.dtype}; give uint8 or float32 in 0..255")
    if min(images.shape[-2:]) < MIN_SIDE:
        raise ValueError(f"{name} has shape {images.shape}; both sides need at least {MIN_SIDE} px")
    grey = images.astype(np.float32)
    if not np.isfinite(grey).all():
        raise ValueError(f"{name} holds NaN or infinity; replace those pixels first")
    return grey if grey.ndim == 3 else grey[None]
