"""Weights for other inputs: what they must leave unchanged."""

import pytest
import torch
import torch.nn.functional as F

from cinefeat.extractors.inflate import cross_modality, inflate_kernel, inflate_tensors


def test_a_still_video_gives_the_response_of_its_frame() -> None:
    torch.manual_seed(0)
    weight, image = torch.randn(5, 3, 3, 3), torch.randn(1, 3, 9, 9)
    video = image.unsqueeze(2).expand(-1, -1, 7, -1, -1)
    response = F.conv3d(video, inflate_kernel(weight, 5))
    expected = F.conv2d(image, weight).unsqueeze(2).expand_as(response)
    torch.testing.assert_close(response, expected)


def test_every_new_channel_has_the_mean_kernel_of_the_colours() -> None:
    weight = torch.randn(4, 3, 7, 7)
    flow = cross_modality(weight, 20)
    assert flow.shape == (4, 20, 7, 7)
    for channel in flow.unbind(1):
        torch.testing.assert_close(channel, weight.mean(1))


def test_a_whole_network_is_inflated_by_shape() -> None:
    images = {"conv1.weight": torch.ones(2, 3, 3, 3), "conv1.bias": torch.zeros(2),
              "conv2.weight": torch.ones(4, 2, 1, 1), "fc.weight": torch.ones(9, 4)}  # fmt: skip
    wanted = {"conv1.weight": (2, 2, 5, 3, 3), "conv1.bias": (2,),
              "conv2.weight": (4, 2, 1, 1, 1), "new.weight": (3,)}  # fmt: skip
    inflated = inflate_tensors(images, wanted)
    assert {name: tuple(t.shape) for name, t in inflated.items()} == {
        name: shape for name, shape in wanted.items() if name != "new.weight"
    }
    assert inflated["conv1.weight"].unique().item() == pytest.approx(0.2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: cross_modality(torch.ones(1, 3, 1, 1), 0), "n_channels is 0"),
        (lambda: inflate_kernel(torch.ones(1, 3, 1, 1), 0), "to length 0"),
        (lambda: inflate_kernel(torch.ones(3, 3), 2), r"shape \(3, 3\) cannot be inflated"),
        (
            lambda: inflate_tensors({"a": torch.ones(2)}, {"a": (3,)}),
            r"a has shape \(2,\), and \(3,\) is needed",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
