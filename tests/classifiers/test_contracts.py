"""What every estimator of the package promises, whichever it is."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from cinefeat import classifiers
from cinefeat.classifiers import (
    PCA,
    SGDSVM,
    VLAD,
    BagOfWords,
    FisherVector,
    KernelSVM,
    LinearSVM,
    Pooling,
    RandomForest,
)

ENCODERS = [
    BagOfWords(6, n_init=2, random_state=0),
    BagOfWords(6, assignment="soft", n_nearest=3, n_init=1, random_state=0),
    VLAD(4, random_state=0),
    VLAD(4, n_dims=0.5, whiten=True, residual_norm=True, random_state=0),
    FisherVector(3, random_state=0),
    FisherVector(3, n_dims=2, random_state=0),
    Pooling("mean"),
    Pooling("segments"),
]
CLASSIFIERS = [
    LinearSVM(),
    LinearSVM(solver="liblinear", random_state=0),
    KernelSVM(),
    KernelSVM(kernel="hellinger"),
    RandomForest(10, random_state=0),
    SGDSVM(random_state=0),
]


@pytest.fixture
def bags(rng):
    """Thirty bags of three classes of motion; two of them are empty."""
    sizes = np.concatenate([[0, 0], rng.integers(5, 30, size=28)])
    return [rng.normal(size=(n, 4)) + 3.0 * (i % 3) for i, n in enumerate(sizes)]


@pytest.fixture
def labels():
    return np.array(["run", "sit", "walk"] * 10)


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_encodings_are_finite_float32_rows(encoder, bags):
    encodings = clone(encoder).fit(bags).transform(bags)
    assert encodings.shape[0] == len(bags)
    assert encodings.dtype == np.float32
    assert np.isfinite(encodings).all()


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_empty_bags_encode_to_zeros(encoder, bags):
    encodings = clone(encoder).fit(bags).transform(bags)
    assert not encodings[:2].any()
    assert encodings[2:].any(axis=1).all()


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_a_bag_encodes_alike_alone_and_in_a_batch(encoder, bags):
    fitted = clone(encoder).fit(bags)
    alone = np.concatenate([fitted.transform([bag]) for bag in bags])
    np.testing.assert_array_equal(alone, fitted.transform(bags))


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_encoders_with_one_seed_agree(encoder, bags):
    first, second = (clone(encoder).fit(iter(bags)).transform(bags) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("encoder", ENCODERS[:7], ids=str)  # segments are stretches of time
def test_the_order_of_descriptors_does_not_matter(encoder, bags, rng):
    fitted = clone(encoder).fit(bags)
    shuffled = [rng.permutation(bag) for bag in bags]
    np.testing.assert_allclose(
        fitted.transform(shuffled), fitted.transform(bags), rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_encoders_leave_their_input_alone(encoder, bags):
    before = [bag.copy() for bag in bags]
    clone(encoder).fit(bags).transform(bags)
    assert all(np.array_equal(a, b) for a, b in zip(before, bags, strict=True))


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_nan_is_refused(encoder, bags):
    fitted = clone(encoder).fit(bags)
    with pytest.raises(ValueError, match="NaN or infinity"):
        fitted.transform([np.full((3, 4), np.nan)])


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_another_dimension_is_refused(encoder, bags):
    fitted = clone(encoder).fit(bags)
    with pytest.raises(ValueError, match="fitted on 4"):
        fitted.transform([np.ones((3, 5))])


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_no_bags_encode_to_no_rows_of_the_same_width(encoder, bags):
    fitted = clone(encoder).fit(bags)
    assert fitted.transform([]).shape == (0, fitted.transform(bags[:1]).shape[1])


@pytest.mark.parametrize("encoder", ENCODERS[:6], ids=str)
def test_only_empty_bags_teach_nothing(encoder):
    with pytest.raises(ValueError, match="all bags are empty"):
        clone(encoder).fit([np.empty((0, 4))] * 3)


@pytest.mark.parametrize("encoder", [BagOfWords(50, n_init=1), VLAD(50), FisherVector(50)], ids=str)
def test_more_words_than_descriptors_are_refused(encoder):
    with pytest.raises(ValueError, match="exceeds the 20 descriptors"):
        encoder.fit([np.arange(40.0).reshape(20, 2)])


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_constant_columns_are_no_obstacle(encoder, bags):
    constant = [np.column_stack([bag[:, :3], np.full(len(bag), 7.0)]) for bag in bags]
    assert np.isfinite(clone(encoder).fit(constant).transform(constant)).all()


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_have_a_column_for_each_class(classifier, n_classes, rng):
    x = rng.random((30, 5))
    y = np.array(["a", "b", "c"])[np.arange(30) % n_classes]
    fitted = clone(classifier).fit(x, y)
    scores = fitted.decision_function(x)
    assert scores.shape == (30, n_classes)
    np.testing.assert_array_equal(fitted.classes_[scores.argmax(axis=1)], fitted.predict(x))


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=str)
def test_a_row_scores_alike_alone_and_in_a_batch(classifier, rng):
    x, y = rng.random((30, 5)), np.arange(30) % 3
    fitted = clone(classifier).fit(x, y)
    alone = np.concatenate([fitted.decision_function(x[i : i + 1]) for i in range(30)])
    np.testing.assert_array_equal(alone, fitted.decision_function(x))


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=str)
def test_an_unfitted_classifier_says_so(classifier):
    with pytest.raises(NotFittedError):
        clone(classifier).predict(np.ones((1, 2)))


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=str)
def test_encoders_and_classifiers_chain_in_scikit_learn(classifier, bags, labels):
    chain = make_pipeline(BagOfWords(6, n_init=2, random_state=0), clone(classifier))
    assert cross_val_score(chain, bags[3:], labels[3:], cv=3).mean() > 0.9


def test_pca_chains_in_front_of_an_encoder(bags):
    encodings = make_pipeline(PCA(2), VLAD(3, random_state=0)).fit_transform(bags)
    assert encodings.shape == (30, 6)


@pytest.mark.parametrize("name", classifiers.__all__)
def test_public_names_exist_and_are_documented(name):
    assert getattr(classifiers, name).__doc__


TWO_COLUMNS = "decision_function has one column a class also for two classes"


@pytest.mark.slow
@parametrize_with_checks(
    [
        LinearSVM(solver="gram"),
        KernelSVM(),
        RandomForest(10, random_state=0),
        SGDSVM(random_state=0),
    ],
    expected_failed_checks=lambda _: {
        "check_classifiers_train": TWO_COLUMNS,
        "check_classifiers_classes": TWO_COLUMNS,
    },
    xfail_strict=False,
)
def test_classifiers_keep_scikit_learns_conventions(estimator, check):
    check(estimator)
