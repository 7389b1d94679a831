"""Mean pooling and a linear SVM on real VGG-16 features, against the accuracy known for them."""

import numpy as np
import pytest

from cinefeat.classifiers import LinearSVM, Pooling, l2_norm


@pytest.fixture
def read(shared):
    return lambda name: np.load(
        shared / "data" / "ucf101_vgg16" / f"ucf101_15class_vgg16relu6_{name}_f16.npz"
    )


def percent(encodings, arrays):
    train, test = arrays["subset"] == 1, arrays["subset"] == 2
    svm = LinearSVM(1.0, loss="squared_hinge", random_state=0)
    svm.fit(encodings[train], arrays["label"][train])
    return round(100 * svm.score(encodings[test], arrays["label"][test]), 1)


def test_the_means_of_all_dimensions(read):
    arrays = read("mean4096")
    assert percent(l2_norm(arrays["features"].astype(np.float32)), arrays) == 92.1


def test_pooled_means_of_the_principal_components(read):
    arrays = read("pca128")
    assert percent(Pooling("mean").fit_transform(list(arrays["features"])), arrays) == 91.5
