"""Settings of TV-L1 flow, each with the source of its default, and the presets."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class FlowSettings:
    """Settings of TV-L1 flow; the defaults are those of the preset ``accurate``.

    They were chosen on the Middlebury pairs RubberWhale, Grove2, Urban2 and Venus together with
    synthetic pairs (occlusion, large motion, low texture, changed brightness) and a stereo pair;
    the error is flat around them. Names follow the literature; the references are those of
    `optical_flow_tvl1`, and "IPOL" is [2]_.

    Attributes
    ----------
    tau : float
        Primal step of the iterations [4]_, > 0; the dual step is ``1 / (6 tau)``, 4/3 of the
        classical bound of 1/8 on their product (Banert, Upadhyaya and Giselsson 2023 prove that they
        converge below that). It sets the speed, not the solution. IPOL and OpenCV: 0.25, of
        another iteration.
    lambda_ : float
        Weight of the data term, > 0, for images in 0..255: larger follows the images, smaller is
        smoother. IPOL and OpenCV: 0.15.
    theta : float
        Tightness of the coupling, >= 0: the data term is quadratic where a displacement of
        ``lambda theta |gradient|`` brings its residual to 0, linear beyond. IPOL and OpenCV: 0.3.
    gamma : float
        Weight of the illumination, >= 0: brightness may change by ``gamma w`` with w a field of
        small total variation ([5]_, section 6.3.4); 0 turns it off. OpenCV has the same
        parameter, 0 by default. 1.5 lowers the error on RubberWhale, which has
        shadows, by a fifth and changes the other pairs little.
    edge_decay : float
        The total variation at a pixel is weighted by ``max((1 + edge_decay |gradient| / 4) ** -4,
        0.05)``, close to ``exp(-edge_decay |gradient|)``, so that motion boundaries fall on image edges [6]_; 0 turns it off.
    n_scales : int
        Most levels of the pyramid, >= 1; it ends at sides of 16 px. IPOL and OpenCV: 5.
    zoom : float
        Size of a level by that of the next finer one, in [0.3, 0.95]. IPOL: 0.5, OpenCV: 0.8.
    n_warps : int
        Linearisations at the finest level, >= 1. IPOL and OpenCV: 5 at every level.
    n_coarse_warps : int
        Linearisations at each coarser level, >= 1.
    epsilon : float
        Iterations end when the flow's root mean square change in one of them is below, in pixels;
        tested after every 5th; 0 never ends them early. IPOL and OpenCV: 0.01.
    max_iterations : int
        Most iterations after a linearisation, >= 1. IPOL and OpenCV: 300.
    median_filter : int
        Side of the median filter before each linearisation [3]_, 3 or 5 px, or 0 for none.
        OpenCV: 5; IPOL: none.
    weighted_median : bool
        Whether a level ends with the edge-aware median over 9 x 9 px near motion boundaries [7]_
        (`weighted_median`).
    presmoothing : float
        Standard deviation of the Gaussian blur of both images, in pixels; 0 for none. IPOL: 0.8.
    """

    tau: float = 0.6
    lambda_: float = 0.4
    theta: float = 0.2
    gamma: float = 1.5
    edge_decay: float = 0.015
    n_scales: int = 12
    zoom: float = 0.5
    n_warps: int = 4
    n_coarse_warps: int = 5
    epsilon: float = 0.01
    max_iterations: int = 10
    median_filter: int = 5
    weighted_median: bool = True
    presmoothing: float = 0.5

    def __post_init__(self) -> None:
        for name in ("tau", "lambda_"):
            self._require(name, "above 0", 0 < getattr(self, name) < np.inf)
        for name in ("theta", "gamma", "edge_decay", "epsilon", "presmoothing"):
            self._require(name, "0 or more", 0 <= getattr(self, name) < np.inf)
        for name in ("n_scales", "n_warps", "n_coarse_warps", "max_iterations"):
            value = getattr(self, name)
            self._require(name, "a whole number, 1 or more", isinstance(value, int) and value >= 1)
        self._require("zoom", "in [0.3, 0.95]", 0.3 <= self.zoom <= 0.95)
        self._require("median_filter", "0, 3 or 5", self.median_filter in (0, 3, 5))

    def _require(self, name: str, rule: str, holds: bool) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {rule}")


PRESETS: dict[str, FlowSettings] = {
    "accurate": FlowSettings(),
    # the parameters of OpenCV's DualTVL1 by default; the iterations differ
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
        median_filter=5,
        weighted_median=False,
        presmoothing=0.0,
    ),
    "fast": FlowSettings(n_warps=2, n_coarse_warps=3, median_filter=3, weighted_median=False),
}


def flow_settings(preset: str = "accurate", **settings: Any) -> FlowSettings:
    """Return the settings of a preset with some of them replaced.

    Raises
    ------
    ValueError
        If the preset or a setting is unknown, or a value out of its range.

    Examples
    --------
    >>> flow_settings("fast", lambda_=0.3).lambda_
    0.3
    """
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; choose one of {', '.join(PRESETS)}")
    unknown = sorted(set(settings) - set(FlowSettings.__dataclass_fields__))
    if unknown:
        raise ValueError(
            f"unknown settings {', '.join(unknown)}; "
            f"there are {', '.join(FlowSettings.__dataclass_fields__)}"
        )
    return replace(PRESETS[preset], **settings)
