"""Names and shapes of the tensors in published checkpoints, written out from the ports' code."""

from collections.abc import Iterator

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

I3D_UNITS = {
    "3b": (192, 64, 96, 128, 16, 32, 32),
    "3c": (256, 128, 128, 192, 32, 96, 64),
    "4b": (480, 192, 96, 208, 16, 48, 64),
    "4c": (512, 160, 112, 224, 24, 64, 64),
    "4d": (512, 128, 128, 256, 24, 64, 64),
    "4e": (512, 112, 144, 288, 32, 64, 64),
    "4f": (528, 256, 160, 320, 32, 128, 128),
    "5b": (832, 256, 160, 320, 32, 128, 128),
    "5c": (832, 384, 192, 384, 48, 128, 128),
}


def i3d_layers(n_channels: int = 3) -> Iterator[tuple[str, str, int, int, int]]:
    """Yield (unit, branch, n_in, n_out, side) of I3D's 57 convolutions; branch "" for the stem."""
    yield "1a_7x7", "", n_channels, 64, 7
    yield "2b_1x1", "", 64, 64, 1
    yield "2c_3x3", "", 64, 192, 3
    for unit, (n_in, b0, b1a, b1b, b2a, b2b, b3b) in I3D_UNITS.items():
        yield unit, "b0", n_in, b0, 1
        yield unit, "b1a", n_in, b1a, 1
        yield unit, "b1b", b1a, b1b, 3
        yield unit, "b2a", n_in, b2a, 1
        yield unit, "b2b", b2a, b2b, 3
        yield unit, "b3b", n_in, b3b, 1


def _norm(prefix: str, size: int, names: tuple[str, ...]) -> Shapes:
    return {f"{prefix}.{name}": (size,) for name in names}


_NORM = ("weight", "bias", "running_mean", "running_var")


def i3d_piergiaj(n_channels: int = 3, n_classes: int = 400) -> Shapes:
    shapes: Shapes = {
        "logits.conv3d.weight": (n_classes, 1024, 1, 1, 1),
        "logits.conv3d.bias": (n_classes,),
    }
    for unit, branch, n_in, n_out, side in i3d_layers(n_channels):
        prefix = f"Mixed_{unit}.{branch}" if branch else f"Conv3d_{unit}"
        shapes[f"{prefix}.conv3d.weight"] = (n_out, n_in, side, side, side)
        shapes |= _norm(f"{prefix}.bn", n_out, _NORM)
    return shapes


_HASSONY2 = {"b0": "branch_0", "b1a": "branch_1.0", "b1b": "branch_1.1", "b2a": "branch_2.0",
             "b2b": "branch_2.1", "b3b": "branch_3.1"}  # fmt: skip


def i3d_hassony2(n_channels: int = 3, n_classes: int = 400) -> Shapes:
    shapes: Shapes = {}
    for unit, branch, n_in, n_out, side in i3d_layers(n_channels):
        prefix = f"mixed_{unit}.{_HASSONY2[branch]}" if branch else f"conv3d_{unit}"
        shapes[f"{prefix}.conv3d.weight"] = (n_out, n_in, side, side, side)
        shapes |= _norm(f"{prefix}.batch3d", n_out, (*_NORM, "num_batches_tracked"))
        shapes[f"{prefix}.batch3d.num_batches_tracked"] = ()
    shapes["conv3d_0c_1x1.conv3d.weight"] = (n_classes, 1024, 1, 1, 1)
    shapes["conv3d_0c_1x1.conv3d.bias"] = (n_classes,)
    return shapes


_MMACTION_STEM = {"1a_7x7": "conv1_7x7_s2", "2b_1x1": "conv2_3x3_reduce", "2c_3x3": "conv2_3x3"}
_MMACTION_UNIT = {"3b": "3a", "3c": "3b", "4b": "4a", "4c": "4b", "4d": "4c", "4e": "4d",
                  "4f": "4e", "5b": "5a", "5c": "5b"}  # fmt: skip
_MMACTION_BRANCH = {"b0": "1x1", "b1a": "branch1_3x3_reduce", "b1b": "branch1_3x3",
                    "b2a": "branch2_3x3_reduce", "b2b": "branch2_3x3",
                    "b3b": "pool_proj"}  # fmt: skip


def i3d_mmaction(n_channels: int = 3, n_classes: int = 101) -> Shapes:
    shapes: Shapes = {}
    for unit, branch, n_in, n_out, side in i3d_layers(n_channels):
        name = (
            f"inception_{_MMACTION_UNIT[unit]}_{_MMACTION_BRANCH[branch]}"
            if branch
            else _MMACTION_STEM[unit]
        )
        shapes[f"backbone.{name}.weight"] = (n_out, n_in, side, side, side)
        shapes |= _norm(f"backbone.{name}_bn", n_out, _NORM)
    shapes["cls_head.fc_cls.weight"] = (n_classes, 1024)
    shapes["cls_head.fc_cls.bias"] = (n_classes,)
    return shapes


_C3D = (("1a", 3, 64), ("2a", 64, 128), ("3a", 128, 256), ("3b", 256, 256),
        ("4a", 256, 512), ("4b", 512, 512), ("5a", 512, 512), ("5b", 512, 512))  # fmt: skip


def _weight_and_bias(prefix: str, *shape: int) -> Shapes:
    return {f"{prefix}.weight": shape, f"{prefix}.bias": (shape[0],)}


def c3d(layout: str, n_classes: int = 487) -> Shapes:
    """Return C3D's tensors as "davidea", "features" (jfzhang95 raw), "mmaction", "mmaction2"."""
    names = {
        "davidea": ["conv1", "conv2", *(f"conv{u}" for u, *_ in _C3D[2:])],
        "features": [f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)],
        "mmaction": [f"backbone.conv{u}" for u, *_ in _C3D],
        "mmaction2": [f"backbone.conv{u}.conv" for u, *_ in _C3D],
    }[layout]
    shapes: Shapes = {}
    for name, (_, n_in, n_out) in zip(names, _C3D, strict=True):
        shapes |= _weight_and_bias(name, n_out, n_in, 3, 3, 3)
    fc6, fc7, fc8 = {
        "davidea": ("fc6", "fc7", "fc8"),
        "features": ("classifier.0", "classifier.3", ""),
    }.get(layout, ("backbone.fc6", "backbone.fc7", "cls_head.fc_cls"))
    shapes |= _weight_and_bias(fc6, 4096, 8192) | _weight_and_bias(fc7, 4096, 4096)
    return shapes | (_weight_and_bias(fc8, n_classes, 4096) if fc8 else {})


_BN_INCEPTION = {
    "3a": (192, 64, (64, 64), (64, 96, 96), 32),
    "3b": (256, 64, (64, 96), (64, 96, 96), 64),
    "3c": (320, 0, (128, 160), (64, 96, 96), 0),
    "4a": (576, 224, (64, 96), (96, 128, 128), 128),
    "4b": (576, 192, (96, 128), (96, 128, 128), 128),
    "4c": (576, 160, (128, 160), (128, 160, 160), 128),
    "4d": (608, 96, (128, 192), (160, 192, 192), 128),
    "4e": (608, 0, (128, 192), (192, 256, 256), 0),
    "5a": (1056, 352, (192, 320), (160, 224, 224), 128),
    "5b": (1024, 352, (192, 320), (192, 224, 224), 128),
}


def _bn_inception_layers(n_channels: int) -> Iterator[tuple[str, int, int, int]]:
    yield "conv1_7x7_s2", n_channels, 64, 7
    yield "conv2_3x3_reduce", 64, 64, 1
    yield "conv2_3x3", 64, 192, 3
    for unit, (n_in, b1, (r3, c3), (rd, d1, d2), proj) in _BN_INCEPTION.items():
        prefix = f"inception_{unit}"
        if b1:
            yield f"{prefix}_1x1", n_in, b1, 1
        yield f"{prefix}_3x3_reduce", n_in, r3, 1
        yield f"{prefix}_3x3", r3, c3, 3
        yield f"{prefix}_double_3x3_reduce", n_in, rd, 1
        yield f"{prefix}_double_3x3_1", rd, d1, 3
        yield f"{prefix}_double_3x3_2", d1, d2, 3
        if proj:
            yield f"{prefix}_pool_proj", n_in, proj, 1


def bn_inception(
    n_channels: int = 3,
    n_classes: int = 1000,
    classifier: str = "fc",
    prefix: str = "",
    norm_rows: bool = False,
) -> Shapes:
    """Return BN-Inception's tensors; `norm_rows` gives batch norm the shape (1, C)."""
    shapes: Shapes = {}
    for name, n_in, n_out, side in _bn_inception_layers(n_channels):
        shapes |= _weight_and_bias(f"{prefix}{name}", n_out, n_in, side, side)
        shapes |= {
            key: (1, *shape) if norm_rows else shape
            for key, shape in _norm(f"{prefix}{name}_bn", n_out, _NORM).items()
        }
    return shapes | _weight_and_bias(classifier, n_classes, 1024)


_VGG16 = ((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256),
          (14, 256, 256), (17, 256, 512), (19, 512, 512), (21, 512, 512), (24, 512, 512),
          (26, 512, 512), (28, 512, 512))  # fmt: skip


def vgg16(n_channels: int = 3, n_classes: int = 101, classifier: str = "fc_action") -> Shapes:
    shapes: Shapes = {}
    for index, n_in, n_out in _VGG16:
        shapes |= _weight_and_bias(f"features.{index}", n_out, n_in if index else n_channels, 3, 3)
    shapes |= _weight_and_bias("classifier.0", 4096, 25088)
    shapes |= _weight_and_bias("classifier.3", 4096, 4096)
    return shapes | _weight_and_bias(classifier, n_classes, 4096)


def resnet(
    counts: tuple[int, ...] = (3, 4, 6, 3),
    n_channels: int = 3,
    n_classes: int = 1000,
    classifier: str = "fc",
    style: str = "torchvision",
) -> Shapes:
    """Return a bottleneck network's tensors in the style of "torchvision" or "mmaction2"."""
    is_plain = style == "torchvision"
    shapes: Shapes = {}

    def add(conv: str, norm: str, n_out: int, n_in: int, side: int) -> None:
        shapes[f"{conv}.weight"] = (n_out, n_in, side, side)
        shapes.update(_norm(norm, n_out, _NORM))

    add(*(("conv1", "bn1") if is_plain else ("backbone.conv1.conv", "backbone.conv1.bn")),
        64, n_channels, 7)  # fmt: skip
    n_in = 64
    for stage, count in enumerate(counts):
        width = 64 << stage
        for unit in range(count):
            at = f"{'' if is_plain else 'backbone.'}layer{stage + 1}.{unit}"
            sizes = ((width, n_in, 1), (width, width, 3), (4 * width, width, 1))
            for k, (c_out, c_in, side) in enumerate(sizes, start=1):
                conv, norm = (
                    (f"conv{k}", f"bn{k}") if is_plain else (f"conv{k}.conv", f"conv{k}.bn")
                )
                add(f"{at}.{conv}", f"{at}.{norm}", c_out, c_in, side)
            if unit == 0:
                conv, norm = ("0", "1") if is_plain else ("conv", "bn")
                add(f"{at}.downsample.{conv}", f"{at}.downsample.{norm}", 4 * width, n_in, 1)
            n_in = 4 * width
    return shapes | _weight_and_bias(classifier, n_classes, 2048)


def densenet121(is_old: bool = False, n_classes: int = 1000) -> Shapes:
    """Return DenseNet-121's tensors; `is_old` writes "norm.1" for "norm1"."""
    shapes: Shapes = {"features.conv0.weight": (64, 3, 7, 7)}
    shapes |= _norm("features.norm0", 64, _NORM)
    dot, n_in = "." if is_old else "", 64
    for block, count in enumerate((6, 12, 24, 16), start=1):
        for layer in range(1, count + 1):
            at = f"features.denseblock{block}.denselayer{layer}"
            shapes |= _norm(f"{at}.norm{dot}1", n_in, _NORM)
            shapes[f"{at}.conv{dot}1.weight"] = (128, n_in, 1, 1)
            shapes |= _norm(f"{at}.norm{dot}2", 128, _NORM)
            shapes[f"{at}.conv{dot}2.weight"] = (32, 128, 3, 3)
            n_in += 32
        if block < 4:
            at = f"features.transition{block}"
            shapes |= _norm(f"{at}.norm", n_in, _NORM)
            shapes[f"{at}.conv.weight"] = (n_in // 2, n_in, 1, 1)
            n_in //= 2
    shapes |= _norm("features.norm5", n_in, _NORM)
    return shapes | _weight_and_bias("classifier", n_classes, n_in)


_LITE0 = ((1, 3, 1, 16), (2, 3, 6, 24), (2, 5, 6, 40), (3, 3, 6, 80), (3, 5, 6, 112),
          (4, 5, 6, 192), (1, 3, 6, 320))  # fmt: skip


def efficientnet_lite0() -> Shapes:
    shapes: Shapes = {"_conv_stem.weight": (32, 3, 3, 3)} | _norm("_bn0", 32, _NORM)
    n_in, index = 32, 0
    for count, side, expansion, n_out in _LITE0:
        for _ in range(count):
            at, width = f"_blocks.{index}", n_in * expansion
            if expansion > 1:
                shapes[f"{at}._expand_conv.weight"] = (width, n_in, 1, 1)
                shapes |= _norm(f"{at}._bn0", width, _NORM)
            shapes[f"{at}._depthwise_conv.weight"] = (width, 1, side, side)
            shapes |= _norm(f"{at}._bn1", width, _NORM)
            shapes[f"{at}._project_conv.weight"] = (n_out, width, 1, 1)
            shapes |= _norm(f"{at}._bn2", n_out, _NORM)
            n_in, index = n_out, index + 1
    shapes |= {"_conv_head.weight": (1280, 320, 1, 1)} | _norm("_bn1", 1280, _NORM)
    return shapes | _weight_and_bias("_fc", 1000, 1280)


def filled(shapes: Shapes) -> dict[str, Tensor]:
    """Fill the k-th tensor with the number k, without memory for its elements."""
    return {name: torch.tensor(float(k)).expand(s) for k, (name, s) in enumerate(shapes.items())}
