"""Train on a packed file without cinefeat: python train_on_packed.py encodings.h5"""

import sys

import h5py
import numpy as np
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.svm import LinearSVC

with h5py.File(sys.argv[1]) as file:
    features = np.concatenate([array[:] for array in file["features"].values()], axis=1)
    labels, groups = file["label"].asstr()[:], file["group"].asstr()[:]
folds = LeaveOneGroupOut()
predicted = cross_val_predict(LinearSVC(C=100), features, labels, groups=groups, cv=folds)
print(f"accuracy {np.mean(predicted == labels):.3f} of {len(labels)} clips")
