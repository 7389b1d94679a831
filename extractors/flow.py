"""Dense optical flow by total variation and an L1 data term (TV-L1): the public entry.

The solver is `tvl1` (numba) on the CPU and `tvl1_torch` on another device; settings and presets
are in `tvl1_settings`. Flow as eight-bit codes is in `quantise`, flow without the motion of the
camera in `flow_warped`.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cinefeat.extractors.tvl1 import MIN_SIDE, flow_of_pair, rows_in_threads
from cinefeat.extractors.tvl1_settings import FlowSettings, flow_settings

Float32 = NDArray[np.float32]


def optical_flow_tvl1(
    prev: NDArray[Any],
    next: NDArray[Any],
    *,
    device: str = "cpu",
    preset: str = "accurate",
    n_threads: int = 1,
    **settings: Any,
) -> Float32:
    """Estimate the displacement of every pixel from one grey image to the next.

    The flow f = (u, v) and an illumination w minimise, summed over the pixels x of `prev`,

        weight (|grad u| + |grad v| + |grad w|)
        + min over s, r of  lambda |next(x + s) - prev(x) + gamma r|
                            + (|f - s|^2 + (w - r)^2) / (2 theta),

    the energy of Zach, Pock and Bischof [1]_ [2]_ with its auxiliary flow s, and with the
    illumination of [5]_. Where x + f lies outside the image there is no data term. From the
    coarsest level of a pyramid to the finest: the flow is median filtered [3]_ [7]_; `next` is
    warped by Catmull-Rom interpolation and linearised about the flow, with five-tap derivatives
    of the mean of both images [3]_; the convex problem is improved by primal-dual iterations
    [4]_, which start from the last dual solution; this repeats, and a weighted median near motion
    boundaries [7]_ ends the level.

    Parameters
    ----------
    prev, next : ndarray of shape (H, W) or (N, H, W), uint8 or float32
        Grey images in 0..255, one pair or N; both sides at least 16 px. Not modified.
    device : str
        "cpu" for the numba kernels, else a torch device such as "cuda".
    preset : {"accurate", "opencv", "fast"}
        Settings to start from (`tvl1_settings.PRESETS`).
    n_threads : int
        Threads on the CPU: over pairs if there are several, else over the rows of the one.
    **settings
        Fields of `FlowSettings` that differ from the preset.

    Returns
    -------
    flow : ndarray of shape (H, W, 2) or (N, H, W, 2), float32
        Displacements (x, y) in pixels: the point at (x, y) of `prev` is at (x, y) + flow[y, x] of
        `next`. Exactly 0 where both images are the same.

    Raises
    ------
    ValueError
        If the images are not grey, not uint8 or float32, too small, of different shapes, or hold
        NaN, infinity or values outside 0..255; or a setting is unknown or out of its range.

    Notes
    -----
    The result does not depend on N or on `n_threads`, to the last bit. Another device agrees with
    the CPU to well below 0.01 px on average. Memory is about 25 float32 images a thread.

    References
    ----------
    .. [1] Zach, Pock, Bischof. A duality based approach for realtime TV-L1 optical flow. DAGM
       2007.
    .. [2] Sanchez Perez, Meinhardt-Llopis, Facciolo. TV-L1 optical flow estimation. IPOL 2013.
    .. [3] Wedel, Pock, Zach, Bischof, Cremers. An improved algorithm for TV-L1 optical flow. 2009.
    .. [4] Chambolle, Pock. A first-order primal-dual algorithm for convex problems with
       applications to imaging. JMIV 2011, algorithm 1.
    .. [5] The same, section 6.3.4.
    .. [6] Werlberger, Trobin, Pock, Wedel, Cremers, Bischof. Anisotropic Huber-L1 optical flow.
       BMVC 2009.
    .. [7] Sun, Roth, Black. Secrets of optical flow estimation and their principles. CVPR 2010.

    Examples
    --------
    A smooth pattern that moves by one pixel to the right:

    >>> y, x = np.mgrid[0:48, 0:64].astype(np.float32)
    >>> prev = 128 + 50 * np.sin(x / 4) * np.cos(y / 5)
    >>> next = 128 + 50 * np.sin((x - 1) / 4) * np.cos(y / 5)
    >>> bool(abs(optical_flow_tvl1(prev, next)[20:30, 20:40] - [1, 0]).max() < 0.1)
    True
    """
    chosen = flow_settings(preset, **settings)
    first, second = _grey_batch(prev, "prev"), _grey_batch(next, "next")
    if prev.shape != next.shape:
        raise ValueError(
            f"prev has shape {prev.shape} and next {next.shape}; crop or resize them to one"
        )
    if n_threads < 1:
        raise ValueError(f"n_threads is {n_threads}; it must be 1 or more")
    if device == "cpu":
        flow = _flow_on_cpu(first, second, chosen, n_threads)
    else:
        from cinefeat.extractors.tvl1_torch import flow_of_batch

        flow = flow_of_batch(first, second, chosen, device)
    return flow if prev.ndim == 3 else flow[0]


def flow_of_video(
    frames: Iterable[NDArray[Any]],
    *,
    device: str = "cpu",
    preset: str = "accurate",
    batch_size: int = 8,
    n_threads: int = 1,
    **settings: Any,
) -> Iterator[Float32]:
    """Estimate the flow from each grey frame of a video to the next, in order.

    Memory is that of `batch_size` pairs, whatever the length; T frames give T - 1 fields, none
    for fewer than two frames.

    Parameters
    ----------
    frames : iterable of ndarray of shape (H, W), uint8 or float32
        Grey frames in 0..255.
    device, preset, n_threads, **settings
        As in `optical_flow_tvl1`.
    batch_size : int
        Pairs worked on at once, >= 1; it changes no result.

    Yields
    ------
    flow : ndarray of shape (H, W, 2), float32
        Displacements (x, y) in pixels.

    Raises
    ------
    ValueError
        As `optical_flow_tvl1`.

    Examples
    --------
    >>> still = np.zeros((16, 16), np.uint8)
    >>> [float(abs(flow).max()) for flow in flow_of_video([still, still, still])]
    [0.0, 0.0]
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
    stream = iter(frames)
    last = list(islice(stream, 1))
    while new := list(islice(stream, batch_size)):
        _refuse_other_sizes(last + new)
        run = np.stack(last + new)
        yield from optical_flow_tvl1(
            run[:-1], run[1:], device=device, preset=preset, n_threads=n_threads, **settings
        )
        last = new[-1:]


def _flow_on_cpu(
    first: Float32, second: Float32, settings: FlowSettings, n_threads: int
) -> Float32:
    flow = np.empty((*first.shape, 2), np.float32)
    if n_threads == 1:
        for n in range(len(first)):
            flow[n] = flow_of_pair(first[n], second[n], settings)
        return flow
    with ThreadPoolExecutor(n_threads) as pool:
        if len(first) == 1:
            over_rows = rows_in_threads(pool, n_threads)
            flow[0] = flow_of_pair(first[0], second[0], settings, over_rows)
        else:

            def work(n: int) -> None:
                flow[n] = flow_of_pair(first[n], second[n], settings)

            list(pool.map(work, range(len(first))))
    return flow


def _grey_batch(images: NDArray[Any], name: str) -> Float32:
    """Check images and return them as (N, H, W) float32."""
    shape = images.shape
    if images.ndim not in (2, 3) or shape[-1] in (3, 4):
        raise ValueError(
            f"{name} has shape {shape}; flow needs grey images (H, W) or (N, H, W): "
            "convert colour with cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)"
        )
    if images.dtype not in (np.uint8, np.float32):
        raise ValueError(f"{name} has dtype {images.dtype}; scale it to 0..255 as uint8 or float32")
    if min(shape[-2:]) < MIN_SIDE:
        raise ValueError(f"{name} has shape {shape}; both sides need at least {MIN_SIDE} px")
    if images.dtype == np.float32 and images.size:
        low, high = images.min(), images.max()
        if not (low >= 0 and high <= 255):  # false for NaN
            raise ValueError(f"{name} ranges over {low}..{high}; values must be finite, in 0..255")
    grey = np.ascontiguousarray(images, np.float32)
    return grey if grey.ndim == 3 else grey[None]


def _refuse_other_sizes(frames: list[NDArray[Any]]) -> None:
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1 or len(frames[0].shape) != 2:
        raise ValueError(f"frames have shapes {sorted(shapes)}; flow needs grey (H, W) of one size")
