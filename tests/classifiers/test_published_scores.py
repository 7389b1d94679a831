"""Fusion of the scores that other authors published, against the accuracies known for them."""

import numpy as np
import pytest
from scipy.io import loadmat

from cinefeat.classifiers import accuracy, fuse_scores, normalise_scores


@pytest.fixture
def read(shared):
    return lambda name: loadmat(shared / "data" / "ucf101_scores" / f"{name}.mat")


def idt(read, split):
    """Scores, label indices and clip names of improved trajectories with Fisher vectors."""
    table = read(f"ucf_idt_split{split}")
    names = [str(np.squeeze(cell)) for cell in np.ravel(table["vn_idt"])]
    return table["scores_idt"], table["gt_idt"].ravel().astype(int) - 1, names


@pytest.fixture
def split1(read, shared):
    """Spatial, TV-L1, hidden and iDT scores of the test clips of split 1, iDT aligned by name."""
    lines = (shared / "data" / "ucf101_scores" / "ucf101_testlist01.txt").read_text().split()
    order = [line.rpartition("/")[2].removesuffix(".avi") for line in lines]
    scores, labels, names = idt(read, 1)
    at = {name: i for i, name in enumerate(names)}
    rows = [at[name] for name in order]
    nets = [
        read("spatial_quality100_split01")["spatial_prediction"],
        read("temporal_tvl1_split01")["temporal_prediction"],
        read("temporal_hidden_split01")["hidden_prediction"],
    ]
    return *nets, scores[rows], labels[rows]


def percent(scores, labels):
    return round(100 * accuracy(labels, np.argmax(scores, axis=1)), 2)


@pytest.mark.parametrize("split, expected", [(1, 83.61), (2, 85.59), (3, 84.28)])
def test_trajectories_alone(split, expected, read):
    scores, labels, _ = idt(read, split)
    assert percent(scores, labels) == expected


def test_two_streams(split1):
    spatial, temporal, _, _, labels = split1
    assert percent(fuse_scores([spatial, temporal], [1.0, 1.5], "relu_l1"), labels) == 91.30


def test_hidden_two_streams(split1):
    spatial, _, hidden, _, labels = split1
    assert percent(fuse_scores([spatial, hidden], [1.0, 1.5], "relu_l1"), labels) == 89.00


def test_two_streams_and_trajectories(split1):
    spatial, temporal, _, trajectories, labels = split1
    streams = fuse_scores([spatial, temporal], [1.0, 1.5], "relu_l1")
    fused = fuse_scores([streams, trajectories], [0.75, 0.25], "l2")
    assert percent(fused, labels) == 92.60


@pytest.mark.parametrize("rule, expected", [("raw", 91.14), ("l2", 91.30), ("softmax", 90.17)])
def test_other_rules_for_two_streams(rule, expected, split1):
    spatial, temporal, _, _, labels = split1
    assert percent(fuse_scores([spatial, temporal], [1.0, 1.5], rule), labels) == expected


def test_single_streams(split1):
    spatial, temporal, hidden, _, labels = split1
    assert [percent(normalise_scores(s, "raw"), labels) for s in (spatial, temporal, hidden)] == [
        80.97,
        85.80,
        84.06,
    ]
