"""How do the encoders compare with mean pooling on real network features?

Reads `data/ucf101_vgg16` of the folder that CINEFEAT_TEST_DATA names: VGG-16 features of 25 frames
of 2,010 videos, 15 classes, split 1 of UCF101. Every system is a linear SVM on encodings of unit
length. Which of BoW, VLAD and Fisher vectors is fused with mean pooling, and by what weights, is
decided on five folds of the training videos, with encoders fitted anew in each fold: a codebook
that has seen the held-out videos keeps words for them alone, and folds then look far worse than the
test.

    CINEFEAT_TEST_DATA=... python benchmarks/ucf101_features.py
"""

import os
import warnings
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from cinefeat.classifiers import (
    VLAD,
    BagOfWords,
    FisherVector,
    LinearSVM,
    Pooling,
    accuracy,
    fuse_scores,
    grouped_folds,
    l2_norm,
    learn_weights,
)

SVM = LinearSVM(1.0, loss="squared_hinge", random_state=0)
ENCODERS = {
    "mean": Pooling("mean"),
    "max": Pooling("max"),
    **{f"bow {k}": BagOfWords(k, n_init=2, random_state=0) for k in (64, 256, 1024)},
    **{
        f"soft bow {k}": BagOfWords(k, assignment="soft", n_init=2, random_state=0)
        for k in (64, 256, 1024)
    },
    **{f"vlad {k}": VLAD(k, random_state=0) for k in (2, 4, 8, 16, 32)},
    **{
        f"vlad {k}, no intra-norm": VLAD(k, intra_norm=False, random_state=0)
        for k in (2, 4, 8, 16, 32)
    },
    **{f"fisher {k}": FisherVector(k, random_state=0) for k in (1, 2, 4, 8, 16)},
}


def main() -> None:
    folder = Path(os.environ["CINEFEAT_TEST_DATA"]) / "data" / "ucf101_vgg16"
    whole = np.load(folder / "ucf101_15class_vgg16relu6_mean4096_f16.npz")
    frames = np.load(folder / "ucf101_15class_vgg16relu6_pca128_f16.npz")
    bags, y = list(frames["features"].astype(np.float32)), frames["label"]
    train, test = (np.flatnonzero(frames["subset"] == part) for part in (1, 2))

    means = l2_norm(whole["features"].astype(np.float32))
    svm = clone(SVM).fit(means[train], y[train])
    print(f"mean of 4096: {100 * svm.score(means[test], y[test]):.1f}")
    print(f"{'encoder':24} {'folds':>6} {'test':>6}")
    inner, outer = {}, {}
    for name, encoder in ENCODERS.items():
        inner[name] = np.empty((len(train), 15))
        for fit, held_out in grouped_folds(y[train]):
            inner[name][held_out] = scores(encoder, bags, y, train[fit], train[held_out])
        outer[name] = scores(encoder, bags, y, train, test)
        print(f"{name:24} {percent(y[train], inner[name]):6.1f} "
              f"{percent(y[test], outer[name]):6.1f}", flush=True)  # fmt: skip

    candidates = [name for name in ENCODERS if name not in ("mean", "max")]
    best = max(candidates, key=lambda name: percent(y[train], inner[name]))
    pair = ["mean", best]
    weights = learn_weights([inner[n] for n in pair], y[train], np.unique(y)).tolist()
    for label, chosen in (("learned", weights), ("equal", [0.5, 0.5])):
        fused = fuse_scores([outer[n] for n in pair], chosen)
        print(f"mean + {best}, {label} weights {chosen}: {percent(y[test], fused):.1f} on test")


def scores(encoder, bags, y, train, test) -> np.ndarray:  # type: ignore[no-untyped-def]
    encoder = clone(encoder).fit([bags[i] for i in train])
    x, new = (l2_norm(encoder.transform([bags[i] for i in part])) for part in (train, test))
    return clone(SVM).fit(x, y[train]).decision_function(new)


def percent(y: np.ndarray, scores: np.ndarray) -> float:
    return 100 * accuracy(y, np.unique(y)[scores.argmax(axis=1)])


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    main()
