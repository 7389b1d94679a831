"""Optical flow of a video by a trained MotionNet, in place of TV-L1.

A frame is resized as the input specification of the weights says, and its border is repeated until
both sides are multiples of 32. The flow is cut and resized back, and its components with it. The
network sees 11 frames at once, so stacks follow each other by 10 frames; the last one is completed
by the last frame of the video, whose flow to itself is dropped.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cinefeat.extractors.imaging import resize_frame
from cinefeat.extractors.motionnet import SIZE_STEP
from cinefeat.extractors.networks import load_plain
from cinefeat.extractors.spec import InputSpec

Float32 = NDArray[np.float32]


class MotionFlow:
    """A trained MotionNet, ready to give the flow of videos of any size.

    Parameters
    ----------
    weights : str or Path
        A weight file of the network "motionnet".
    device : str
        "cpu", "cuda", "cuda:1".

    Raises
    ------
    ValueError
        If the weights are missing, damaged, or of another network.
    """

    def __init__(self, weights: str | Path | None, device: str = "cpu") -> None:
        body, spec, _ = load_plain("motionnet", weights)
        self._body: nn.Sequential = body.eval().requires_grad_(False).to(device)
        self._spec: InputSpec = spec
        self._device = torch.device(device)

    def of_video(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[Float32]:
        """Estimate the flow from each frame of a video to the next, in order.

        Memory is that of one stack of frames, whatever the length.

        Parameters
        ----------
        frames : iterable of ndarray of shape (H, W, 3), uint8
            RGB frames, all of one size.

        Yields
        ------
        flow : ndarray of shape (H, W, 2), float32
            Displacements (x, y) in pixels; T frames give T - 1 fields.
        """
        stream = iter(frames)
        last = list(islice(stream, 1))
        while new := list(islice(stream, self._spec.window - 1)):
            stack = last + new
            yield from self._of_stack(stack)[: len(new)]
            last = new[-1:]

    def _of_stack(self, stack: list[NDArray[np.uint8]]) -> Float32:
        """Return the flow (n_frames - 1, H, W, 2) of at most n_frames frames."""
        height, width = stack[0].shape[:2]
        resized = [_normalised(resize_frame(frame, self._spec), self._spec) for frame in stack]
        resized += resized[-1:] * (self._spec.window - len(stack))
        small = resized[0].shape[1:]
        frames = torch.from_numpy(np.concatenate(resized))[None]
        with torch.inference_mode():
            flow = self._body(_padded(frames).to(self._device))[0, :, : small[0], : small[1]]
        fields = flow.reshape(-1, 2, *small).permute(0, 2, 3, 1).float().cpu().numpy()
        scale: Any = np.array([width / small[1], height / small[0]], np.float32)
        whole = [cv2.resize(field, (width, height)) * scale for field in fields]
        return np.stack(whole)


def _normalised(frame: NDArray[np.uint8], spec: InputSpec) -> Float32:
    """Return a frame as channels (3, H, W), as the network was trained on them."""
    channels = frame[..., ::-1] if spec.channel_order == "bgr" else frame
    mean: Float32 = np.array(spec.mean, np.float32)
    std: Float32 = np.array(spec.std, np.float32)
    return ((channels - mean) / std).transpose(2, 0, 1)


def _padded(frames: Tensor) -> Tensor:
    """Repeat the lower and the right border until both sides are multiples of 32."""
    height, width = frames.shape[-2:]
    return F.pad(frames, (0, -width % SIZE_STEP, 0, -height % SIZE_STEP), mode="replicate")
