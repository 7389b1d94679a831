"""From decoded frames, or flow in pixels, to the normalised windows of a network.

Resizing is bilinear with pixel centres at half-integers and no smoothing, as in the tools that
prepared the data of the published networks.
"""

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cinefeat.extractors.quantise import encode_tsn
from cinefeat.extractors.sampling import crop_offsets
from cinefeat.extractors.spec import InputSpec

Float32 = NDArray[np.float32]


def resized_shape(height: int, width: int, resize: int | tuple[int, int]) -> tuple[int, int]:
    """Return height and width after resizing: the short side given, or both.

    The long side is rounded to the nearest integer, ties to even.

    Examples
    --------
    >>> resized_shape(240, 320, 256), resized_shape(240, 320, (128, 171))
    ((256, 341), (128, 171))
    """
    if not isinstance(resize, int):
        return resize
    scale = resize / min(height, width)
    return (resize, round(width * scale)) if height <= width else (round(height * scale), resize)


def resize_frame(frame: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    """Resize one frame (H, W, 3) or flow field (H, W, 2) as a network's input needs.

    The components of flow are scaled with the picture, so that they stay displacements in pixels.

    Examples
    --------
    >>> spec = InputSpec("flow", 1, (4, 6), 4, (0.0, 0.0), (1.0, 1.0), "fc7", 8)
    >>> resize_frame(np.ones((2, 2, 2), np.float32), spec)[0, 0].tolist()
    [3.0, 2.0]
    """
    _check_frame(frame, spec)
    height, width = frame.shape[:2]
    new_height, new_width = resized_shape(height, width, spec.resize)
    if (new_height, new_width) == (height, width):
        return frame
    resized = cv2.resize(frame, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    if spec.is_flow:
        resized *= np.array([new_width / width, new_height / height], np.float32)
    return resized


def prepare_window(
    resized: Sequence[NDArray[Any]] | NDArray[Any], spec: InputSpec, n_crops: Literal[1, 10] = 1
) -> Float32:
    """Crop, code and normalise one window of frames that `resize_frame` returned.

    Parameters
    ----------
    resized : sequence of T ndarrays (H, W, 3) uint8 or (H, W, 2) float32
    spec : InputSpec
    n_crops : 1 or 10
        The centre, or corners and centre and their mirrors (`crop_offsets`). A mirrored flow
        field points the other way: its x component is negated, a code q becomes 255 - q.

    Returns
    -------
    ndarray of shape (n_crops, *spec.shape), float32
        T is that of `resized`.

    Raises
    ------
    ValueError
        If the window has fewer frames than the network can take.

    Examples
    --------
    Two RGB frames as one stack of BGR channels:

    >>> spec = InputSpec("rgb", 2, 2, 2, (1, 2, 3), (1, 1, 1), "fc7", 8, layout="stack",
    ...                  channel_order="bgr")
    >>> frames = np.tile(np.array([10, 20, 30], np.uint8), (2, 2, 2, 1))
    >>> prepare_window(frames, spec)[0, :, 0, 0].tolist()
    [29.0, 18.0, 7.0, 29.0, 18.0, 7.0]
    """
    if len(resized) < spec.shortest:
        raise ValueError(
            f"the window has {len(resized)} frames and the network needs {spec.shortest}; "
            f"lengthen it by a short-clip policy"
        )
    frames = np.stack([np.asarray(frame) for frame in resized])
    if spec.is_flow:
        frames = _bounded_flow(frames, spec)
    crops = crop_offsets(frames.shape[1], frames.shape[2], spec.crop, n_crops)
    return np.stack([_normalised(_crop(frames, crop, spec), spec) for crop in crops])


def preprocess(frames: NDArray[Any], spec: InputSpec, n_crops: Literal[1, 10] = 1) -> Float32:
    """Resize, crop and normalise one window of frames or flow.

    Parameters
    ----------
    frames : ndarray of shape (T, H, W, 3) uint8 RGB, or (T, H, W, 2) float32 flow in pixels
    spec : InputSpec
    n_crops : 1 or 10

    Returns
    -------
    ndarray of shape (n_crops, *spec.shape), float32
    """
    return prepare_window([resize_frame(frame, spec) for frame in frames], spec, n_crops)


def _check_frame(frame: NDArray[Any], spec: InputSpec) -> None:
    wanted = np.float32 if spec.is_flow else np.uint8
    if frame.ndim != 3 or frame.shape[2] != spec.n_channels or frame.dtype != wanted:
        raise ValueError(
            f"a frame of shape {frame.shape} and dtype {frame.dtype}; modality {spec.modality!r} "
            f"takes (H, W, {spec.n_channels}) {np.dtype(wanted)}"
        )


def _bounded_flow(flow: Float32, spec: InputSpec) -> NDArray[Any]:
    if spec.flow_bound:
        flow = np.clip(flow, -spec.flow_bound, spec.flow_bound)
    if spec.is_flow_centred:
        flow = flow - flow.mean(axis=(1, 2), keepdims=True)
    return encode_tsn(flow, spec.flow_bound) if spec.is_flow_coded else flow


def _crop(frames: NDArray[Any], crop: tuple[int, int, bool], spec: InputSpec) -> Float32:
    top, left, is_mirrored = crop
    part = frames[:, top : top + spec.crop, left : left + spec.crop].astype(np.float32)
    if not is_mirrored:
        return part
    part = part[:, :, ::-1]
    if spec.is_flow:
        part[..., 0] = 255 - part[..., 0] if spec.is_flow_coded else -part[..., 0]
    return part


def _normalised(values: Float32, spec: InputSpec) -> Float32:
    if spec.channel_order == "bgr":
        values = values[..., ::-1]
    mean: Float32 = np.array(spec.mean, np.float32)
    std: Float32 = np.array(spec.std, np.float32)
    values = (values - mean) / std
    if spec.modality == "rgb_difference":
        values = values[1:] - values[:-1]
    if spec.layout == "volume":
        return np.ascontiguousarray(values.transpose(3, 0, 1, 2))
    stack = values.transpose(0, 3, 1, 2)  # (T, C, H, W): x1, y1, x2, y2, ...
    return stack.reshape(-1, *stack.shape[2:])
