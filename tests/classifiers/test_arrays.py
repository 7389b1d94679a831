import json

import numpy as np
import pytest

from cinefeat.classifiers import (
    PCA,
    SGDSVM,
    VLAD,
    BagOfWords,
    DiagonalGMM,
    FisherVector,
    KernelSVM,
    KMeansCodebook,
    LinearSVM,
    Pooling,
    RandomForest,
    SigmoidCalibration,
    StackedSVM,
    from_arrays,
    to_arrays,
)
from cinefeat.classifiers.arrays import _CLASSES

BAGS = [np.random.default_rng(s).normal(size=(20, 4)) + s % 3 for s in range(12)]
ROWS = np.abs(np.stack([bag.mean(axis=0) for bag in BAGS])).astype(np.float32)
LABELS = np.array(["run", "sit", "walk"] * 4)
SCORES = np.eye(3)[np.arange(12) % 3] + 0.1

# fitted estimator, the method that must answer alike, its argument
FITTED = [
    (KMeansCodebook(5, n_init=1, random_state=0).fit(BAGS), "transform", BAGS),
    (DiagonalGMM(3, random_state=0).fit(BAGS), "posteriors", BAGS),
    (PCA(2, whiten=True).fit(BAGS), "transform", BAGS),
    (BagOfWords(5, n_init=1, random_state=0).fit(BAGS), "transform", BAGS),
    (VLAD(5, n_dims=2, random_state=0).fit(BAGS), "transform", BAGS),
    (FisherVector(3, n_dims=0.5, random_state=0).fit(BAGS), "transform", BAGS),
    (Pooling("max").fit(BAGS), "transform", BAGS),
    (LinearSVM().fit(ROWS, LABELS), "decision_function", ROWS),
    (KernelSVM(channel_sizes=[1, 3]).fit(ROWS, LABELS), "decision_function", ROWS),
    (RandomForest(10, random_state=0).fit(ROWS, LABELS), "decision_function", ROWS),
    (SGDSVM(random_state=0).fit(ROWS, LABELS), "decision_function", ROWS),
    (SigmoidCalibration().fit(SCORES, LABELS), "predict_proba", SCORES),
    (StackedSVM().fit([SCORES, SCORES], LABELS), "decision_function", [SCORES, SCORES]),
]
NAMES = [type(estimator).__name__ for estimator, _, _ in FITTED]


def as_hdf5_gives_them(arrays):
    """Strings as bytes objects, numbers as they are."""
    return {
        k: np.array([s.encode() for s in v.ravel()], object).reshape(v.shape)
        if v.dtype.kind == "U"
        else v
        for k, v in arrays.items()
    }


@pytest.mark.parametrize("estimator, method, argument", FITTED, ids=NAMES)
@pytest.mark.parametrize("stored", [dict, as_hdf5_gives_them])
def test_a_restored_estimator_answers_bit_for_bit_alike(estimator, method, argument, stored):
    restored = from_arrays(stored(to_arrays(estimator)))
    assert type(restored) is type(estimator)
    for a, b in zip(
        getattr(estimator, method)(argument), getattr(restored, method)(argument), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("estimator, method, argument", FITTED, ids=NAMES)
def test_arrays_hold_no_python_objects(estimator, method, argument):
    assert {v.dtype.kind for v in to_arrays(estimator).values()} <= set("biufU")


def test_every_class_of_the_table_is_tested_here():
    assert set(NAMES) == set(_CLASSES)


def test_a_restored_classifier_has_the_labels_and_parameters():
    restored = from_arrays(to_arrays(LinearSVM(C=7.0).fit(ROWS, LABELS)))
    assert restored.classes_.tolist() == ["run", "sit", "walk"]
    assert restored.get_params()["C"] == 7.0


def test_a_foreign_class_is_not_made():
    header = json.dumps({"class": "os.system", "params": {}, "learned": {}})
    with pytest.raises(ValueError, match=r"'os.system' is not one of"):
        from_arrays({"estimator": np.array(header)})


def test_a_foreign_class_is_not_taken_apart():
    from sklearn.decomposition import PCA as TheirPCA

    with pytest.raises(ValueError, match="cannot be kept"):
        to_arrays(TheirPCA().fit(ROWS))


def test_arrays_without_a_header_are_refused():
    with pytest.raises(ValueError, match="no entry 'estimator'"):
        from_arrays({"coef_": np.zeros(3)})


def test_an_unfitted_estimator_has_nothing_to_keep():
    with pytest.raises(ValueError, match="fit it first"):
        to_arrays(LinearSVM())


def test_a_generator_as_seed_is_refused(rng):
    with pytest.raises(ValueError, match="integer seed"):
        to_arrays(KMeansCodebook(2, random_state=rng).fit(BAGS))
