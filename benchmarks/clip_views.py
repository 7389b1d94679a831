"""What clips of video are seen through, and how photographs are panned, for `bench_transfer.py`."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ZOOM, COLOUR = 0.35, 0.35  # smallest share of a frame's sides in a window; spread of colours
PAN_ZOOM = 0.6  # smallest share of a photograph's sides in the window that pans
GROUP = 8  # clips that share a view in the steps whose clips do not all


class View(NamedTuple):
    """How N clips are seen: window, mirrored or not, and colour.

    Parameters
    ----------
    places : Tensor of shape (N, 2, 3)
        Affine maps of `torch.nn.functional.affine_grid`.
    colours : Tensor of shape (N, 3, 3)
        Matrices of RGB.
    exponents : Tensor of shape (N,)
    """

    places: Tensor
    colours: Tensor
    exponents: Tensor


def draw_view(n: int, rng: np.random.Generator) -> View:
    """Draw windows and colours; half of the views are mirrored."""
    scale = rng.uniform(ZOOM, 1, (n, 1)) * rng.uniform(0.85, 1, (n, 2))
    middle = (1 - scale) * rng.uniform(-1, 1, (n, 2))
    places = np.zeros((n, 2, 3), np.float32)
    places[:, 0, 0] = scale[:, 0] * rng.choice((-1, 1), n)
    places[:, 1, 1], places[:, :, 2] = scale[:, 1], middle
    colours = np.eye(3) * np.exp(rng.normal(0, COLOUR, (n, 3, 1)))
    colours = colours + rng.normal(0, COLOUR / 2, (n, 3, 3))
    exponents = np.exp(rng.normal(0, COLOUR, n))
    return View(
        *(torch.from_numpy(np.asarray(a, np.float32)) for a in (places, colours, exponents))
    )


def plain_view(n: int) -> View:
    """Return the view of whole frames as they are."""
    return View(torch.eye(3)[:2].repeat(n, 1, 1), torch.eye(3).repeat(n, 1, 1), torch.ones(n))


def mirrored_view(signs: np.ndarray) -> View:
    """Return the view of whole frames, in the mirror where the sign (N,) is -1 and not where it is 1."""
    view = plain_view(len(signs))
    view.places[:, 0, 0] = torch.from_numpy(signs.astype(np.float32))
    return view


def whole_view(n: int, rng: np.random.Generator) -> View:
    """Return the view of whole frames as they are, half of them mirrored."""
    return mirrored_view(rng.choice((-1, 1), n))


def view_of_step(n: int, rng: np.random.Generator) -> View:
    """Return one view for all clips of a step, drawn or of whole frames; else one a group.

    A few groups have a view for each clip instead. The shares of each kind, and the spreads above,
    were settled in trials; whole frames are mirrored as often as not.
    """
    groups = -(-n // GROUP)
    if rng.random() < 0.7:
        one = draw_view(1, rng) if rng.random() < 0.5 else whole_view(1, rng)
        shared = View(*(part.repeat_interleave(n, 0) for part in one))
    else:
        shared = _either(rng.random(groups) < 0.25, whole_view(groups, rng), draw_view(groups, rng))
        shared = View(*(part.repeat_interleave(GROUP, 0)[:n] for part in shared))
    is_own = np.repeat(rng.random(groups) < 0.15, GROUP)[:n]
    return _either(is_own, draw_view(n, rng), shared)


def _either(condition: np.ndarray, one: View, other: View) -> View:
    """Return the first view's rows where the condition holds, else the second's."""
    rows = torch.from_numpy(condition)
    pairs = zip(one, other, strict=True)
    return View(*(torch.where(rows.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


def see(frames: Tensor, view: View, side: int) -> Tensor:
    """Return (N, 3, T, side, side), in 0..1, of frames (N, T, 3, H, W) uint8."""
    n, t = frames.shape[:2]
    places = view.places.to(frames.device).repeat_interleave(t, 0)
    grid = F.affine_grid(places, [n * t, 3, side, side], align_corners=False)
    seen = F.grid_sample(frames.flatten(0, 1).float() / 255, grid, align_corners=False)
    seen = torch.einsum("nij,ntjhw->nithw", view.colours.to(seen), seen.unflatten(0, (n, t)))
    return seen.clamp(1e-4, 1) ** view.exponents.to(seen).reshape(-1, 1, 1, 1, 1)


def panned(
    photo: np.ndarray, size: tuple[int, int], n_frames: int, rng: np.random.Generator
) -> np.ndarray:
    """Return frames (n_frames, *size, 3), RGB, of a photograph: a window moves and zooms evenly.

    The photograph, BGR, is first brought to one and a half times the frames' size, whatever its
    shape.
    """
    wide = (size[1] * 3 // 2, size[0] * 3 // 2)
    whole = cv2.resize(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB), wide, interpolation=cv2.INTER_AREA)
    shares = rng.uniform(PAN_ZOOM, 1, 2)  # of the photograph's sides, at both ends
    corners = rng.uniform(0, 1, (2, 2)) * (1 - shares[:, None]) * wide
    frames = []
    for t in np.linspace(0, 1, n_frames):
        zoom = wide[0] / size[1] * ((1 - t) * shares[0] + t * shares[1])
        x, y = (1 - t) * corners[0] + t * corners[1]
        place = np.array([[zoom, 0, x], [0, zoom, y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(
            whole, place, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        frames.append(seen)
    return np.array(frames)
