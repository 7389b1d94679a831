"""Train on a packed file without cinefeat, fold by fold: python train_on_packed.py features.h5"""

import sys

import h5py
import numpy as np
from sklearn.svm import LinearSVC

with h5py.File(sys.argv[1]) as file:
    features = np.concatenate([array[:] for array in file["features"].values()], axis=1)
    labels, sides = file["label"].asstr()[:], file["side"].asstr()[:]
is_right: list[bool] = []
for side in sides:  # of each clip in one fold: train, test or nothing
    model = LinearSVC(C=10).fit(features[side == "train"], labels[side == "train"])
    is_right.extend(model.predict(features[side == "test"]) == labels[side == "test"])
print(f"accuracy {np.mean(is_right):.3f} of {len(is_right)} clips in {len(sides)} folds")
