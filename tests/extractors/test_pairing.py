"""Transfer from images to videos: which pairs are made, what learns, and that it can be learned."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cinefeat.extractors.layers import ConvUnit, Mean, chain
from cinefeat.extractors.pairing import PairNetwork, pair_loss, unpaired


def _network() -> PairNetwork:
    torch.manual_seed(0)
    images = chain(ConvUnit(3, 8, (3, 3), norm_eps=1e-5), Mean())
    videos = chain(ConvUnit(3, 8, (3, 3, 3), norm_eps=1e-5), ConvUnit(8, 6, (1, 3, 3)), Mean())
    return PairNetwork(images, videos, 8, 6, width=0.25)


def _batch(n_clips: int = 6) -> dict[str, Tensor]:
    torch.manual_seed(1)
    clip = torch.randn(n_clips, 3, 1, 1, 1) + torch.randn(n_clips, 3, 4, 8, 8)
    return {"clip": clip, "frames": clip[:, :, ::2], "video": torch.arange(n_clips)}


def test_the_head_has_the_published_sizes() -> None:
    network = PairNetwork(nn.Identity(), nn.Identity(), 1024, 1024)
    sizes = [tuple(m.weight.shape) for m in network.head.modules() if isinstance(m, nn.Linear)]
    assert sizes == [(512, 2048), (128, 512), (2, 128)]


@pytest.mark.parametrize("numbers", [[0, 1], [3, 3, 5], [1, 2, 3], [7, 4, 4, 4]])
def test_unpaired_are_all_pairs_of_different_videos(numbers: list[int]) -> None:
    n = range(len(numbers))
    expected = [[i, j] for i in n for j in n if numbers[i] != numbers[j]]
    assert unpaired(torch.tensor(numbers)).tolist() == expected


@pytest.mark.parametrize("n_clips", [1, 4])
def test_clips_of_one_video_make_no_unpaired_ones(n_clips: int) -> None:
    with pytest.raises(ValueError, match="two videos or more"):
        unpaired(torch.zeros(n_clips, dtype=torch.int64))


def test_the_loss_is_that_of_all_pairs_one_by_one() -> None:
    network, batch = _network().eval(), _batch()
    losses: dict[int, list[Tensor]] = {0: [], 1: []}
    hits: dict[int, list[float]] = {0: [], 1: []}
    for i in range(6):
        for j in range(6):
            scores = network(batch["frames"][j][None], batch["clip"][i][None])
            losses[i == j].append(F.cross_entropy(scores, torch.tensor([int(i == j)])))
            hits[i == j].append(float(scores.argmax() == int(i == j)))
    found = pair_loss(network, batch)
    mean = sum(torch.stack(values).mean() for values in losses.values()) / 2
    torch.testing.assert_close(found["loss"], mean)
    share = sum(sum(values) / len(values) for values in hits.values()) / 2
    assert float(found["accuracy"]) == pytest.approx(share)


def test_features_computed_before_give_the_same_loss() -> None:
    network, batch = _network().eval(), _batch()
    features = {**batch, "frames": network.image_features(batch["frames"])}
    assert torch.equal(pair_loss(network, features)["loss"], pair_loss(network, batch)["loss"])
    features["clip"] = network.videos(batch["clip"])
    assert torch.equal(pair_loss(network, features)["loss"], pair_loss(network, batch)["loss"])


def test_image_features_are_the_mean_over_the_frames() -> None:
    network, batch = _network(), _batch()
    with torch.no_grad():
        each = [network.images(batch["frames"][:, :, t]) for t in range(2)]
    torch.testing.assert_close(network.image_features(batch["frames"]), (each[0] + each[1]) / 2)


def test_the_image_network_stays_as_it_is_and_the_rest_learns() -> None:
    network = _network().train()
    before = {name: value.clone() for name, value in network.images.state_dict().items()}
    pair_loss(network, _batch())["loss"].backward()
    assert all(torch.equal(before[n], v) for n, v in network.images.state_dict().items())
    learned = [(n, p) for n, p in network.named_parameters() if not n.startswith("images.")]
    assert [n for n, p in learned if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert all(p.grad is None for p in network.images.parameters())


def test_ten_clips_are_told_from_one_another() -> None:
    network, batch = _network(), _batch(10)
    with torch.no_grad():
        batch["frames"] = network.image_features(batch["frames"])
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 3e-3)
    for _ in range(400):
        optimiser.zero_grad()
        found = pair_loss(network, batch)
        found["loss"].backward()
        optimiser.step()
        if found["loss"] < 0.02:
            break
    assert found["accuracy"] == 1
