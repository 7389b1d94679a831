"""Frames or flow in, named arrays out: nothing here learns from a corpus or opens a file.

Public names are imported lazily, so that ``import cinefeat.extractors`` costs no numba or torch.
"""

import importlib
from typing import Any

if __name__ != "cinefeat.extractors":
    raise ImportError(
        f"{__name__!r} is the source folder of cinefeat.extractors: install the project and import that name"
    )

# public name -> the module that defines it
_PUBLIC: dict[str, str] = {
    "Features": "homography",
    "detect_features": "homography",
    "estimate_homography": "homography",
    "feature_matches": "homography",
    "flow_matches": "homography",
    "people_mask": "homography",
    "spread_matches": "homography",
    "warp_back": "homography",
    "WarpedFlow": "flow_warped",
    "warped_flow": "flow_warped",
    "warped_flow_of_video": "flow_warped",
    "draw_rows": "row_sample",
    "dense_trajectories": "idt",
    "iter_dense_trajectories": "idt",
    "TrajectorySettings": "trajectories",
    "StipSettings": "harris3d",
    "iter_space_time_interest_points": "stip",
    "space_time_interest_points": "stip",
    "CuboidSettings": "gabor_cuboids",
    "cuboids": "gabor_cuboids",
    "iter_cuboids": "gabor_cuboids",
    "decode_tsn": "quantise",
    "dequantise_flow": "quantise",
    "encode_tsn": "quantise",
    "flow_bounds": "quantise",
    "flow_of_video": "flow",
    "mirror_descriptors": "mirror",
    "load_network": "networks",
    "MotionFlow": "motion_flow",
    "change_spec": "spec",
    "dense_starts": "sampling",
    "find_weights": "weights",
    "segment_starts": "sampling",
    "window_indices": "sampling",
    "FlowSettings": "tvl1_settings",
    "flow_settings": "tvl1_settings",
    "optical_flow_tvl1": "flow",
    "quantise_flow": "quantise",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
