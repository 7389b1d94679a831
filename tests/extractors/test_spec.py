"""Input specifications: shapes, checks, and the way through a weight file's JSON."""

import json

import pytest

from cinefeat.extractors.networks import NETWORKS
from cinefeat.extractors.spec import InputSpec, change_spec

RGB = InputSpec("rgb", 16, (128, 171), 112, (1.0, 2.0, 3.0), (1.0,) * 3, "fc6", 4096)


@pytest.mark.parametrize(
    "changes, shape",
    [
        ({}, (3, 16, 112, 112)),
        ({"layout": "stack", "window": 1}, (3, 112, 112)),
        ({"layout": "stack", "window": 6, "modality": "rgb_difference"}, (15, 112, 112)),
        ({"modality": "flow", "mean": (0, 0), "std": (1, 1)}, (2, 16, 112, 112)),
        (
            {"modality": "warped_flow", "mean": (0, 0), "std": (1, 1), "layout": "stack"},
            (32, 112, 112),
        ),
    ],
)
def test_shape_follows_modality_and_layout(changes: dict, shape: tuple[int, ...]) -> None:
    assert change_spec(RGB, changes).shape == shape


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mean": (1.0,)}, "need 3 numbers each"),
        ({"std": (1.0, 0.0, 1.0)}, "must be positive"),
        ({"crop": 129}, "crop is 129 px"),
        ({"resize": 100}, "crop is 112 px of frames resized to 100"),
        ({"colour": "bgr"}, "has no \\['colour'\\]"),
    ],
)
def test_what_no_network_can_take_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change_spec(RGB, changes)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_specification_survives_json(name: str) -> None:
    spec = NETWORKS[name].spec
    assert change_spec(RGB, json.loads(json.dumps(spec.to_dict()))) == spec
