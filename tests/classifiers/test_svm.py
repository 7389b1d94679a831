import numpy as np
import pytest
from sklearn.svm import SVC, LinearSVC

from cinefeat.classifiers import KernelSVM, LinearSVM, accumulate_gram
from cinefeat.classifiers.linear import column_blocks


@pytest.fixture
def problem(rng):
    """Eighty rows of five classes that overlap, and forty more."""
    x = rng.normal(size=(120, 60)) + np.repeat(np.eye(5, 60) * 2, 24, axis=0)
    order = rng.permutation(120)
    x, y = x[order], np.repeat(np.array(list("edcba")), 24)[order]
    return x[:80], y[:80], x[80:]


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("solver", ["gram", "liblinear"])
def test_margins_equal_those_of_linear_svc(loss, C, solver, problem):
    x, y, new = problem
    theirs = LinearSVC(C=C, loss=loss, tol=1e-9, max_iter=1_000_000, random_state=0).fit(x, y)
    tol = 1e-6 if solver == "gram" else 1e-9
    ours = LinearSVM(C=C, loss=loss, solver=solver, tol=tol, random_state=0).fit(x, y)
    expected = theirs.decision_function(new)
    np.testing.assert_allclose(ours.decision_function(new), expected, atol=2e-4)
    assert ours.predict(new).tolist() == theirs.predict(new).tolist()


def test_more_features_than_rows_go_through_the_gram_matrix(problem):
    x, y, _ = problem
    assert LinearSVM().fit(x[:50], y[:50]).n_iter_ > 50
    auto, gram = LinearSVM().fit(x[:50], y[:50]), LinearSVM(solver="gram").fit(x[:50], y[:50])
    np.testing.assert_array_equal(auto.coef_, gram.coef_)


def test_blocks_of_columns_teach_the_same_as_all_at_once(problem):
    x, y, new = problem
    x = x.astype(np.float32)
    whole = LinearSVM(solver="gram").fit(x, y)
    blocks = LinearSVM().fit_blocks(lambda: column_blocks(x, 7), y)
    assert blocks.coef_.dtype == np.float32
    np.testing.assert_allclose(
        blocks.decision_function(new), whole.decision_function(new), atol=1e-3
    )


@pytest.mark.parametrize("solver", ["gram", "liblinear"])
def test_two_classes_have_opposite_margins(solver, problem):
    x, y, new = problem
    two = np.isin(y, ["a", "b"])
    scores = LinearSVM(solver=solver, tol=1e-8, random_state=0).fit(x[two], y[two])
    margins = scores.decision_function(new)
    np.testing.assert_allclose(margins[:, 0], -margins[:, 1], atol=1e-5)


def test_a_precomputed_gram_matrix_gives_the_linear_machine(problem):
    x, y, new = problem
    linear = LinearSVM(solver="gram").fit(x, y)
    kernel = KernelSVM(1.0, kernel="precomputed").fit(accumulate_gram([x]), y)
    np.testing.assert_allclose(
        kernel.decision_function(new @ x.T), linear.decision_function(new), atol=1e-8
    )


@pytest.fixture
def histograms(rng):
    shapes = rng.gamma(0.3, size=(3, 30))
    x = np.concatenate([rng.dirichlet(shape + 0.05, size=30) for shape in shapes])
    return x.astype(np.float32), np.repeat(["jump", "run", "walk"], 30)


def test_the_chi_square_machine_separates_histograms_as_libsvm_does(histograms):
    x, y = histograms
    train = np.arange(90) % 2 == 0
    sizes = [10, 20]
    ours = KernelSVM(channel_sizes=sizes).fit(x[train], y[train])
    from cinefeat.classifiers.kernels import chi2_exponent

    exponent, means = chi2_exponent(x[train], x[train], sizes)
    theirs = SVC(C=100.0, kernel="precomputed").fit(np.exp(-exponent), y[train])
    new, _ = chi2_exponent(x[~train], x[train], sizes, means)
    assert np.mean(ours.predict(x[~train]) == theirs.predict(np.exp(-new))) > 0.95
    np.testing.assert_array_equal(ours.channel_means_, means)


def test_the_hellinger_machine_is_linear_in_square_roots(histograms):
    x, y = histograms
    kernel = KernelSVM(10.0, kernel="hellinger").fit(x[::2], y[::2])
    linear = LinearSVM(10.0, solver="gram").fit(np.sqrt(x[::2].astype(float)), y[::2])
    np.testing.assert_allclose(
        kernel.decision_function(x[1::2]), linear.decision_function(np.sqrt(x[1::2])), atol=1e-3
    )


def test_test_rows_do_not_change_the_channel_means(histograms):
    x, y = histograms
    machine = KernelSVM().fit(x[::2], y[::2])
    before = machine.channel_means_.copy()
    machine.predict(x[1::2] * 0.1)
    np.testing.assert_array_equal(machine.channel_means_, before)


def test_only_support_vectors_are_kept(histograms):
    x, y = histograms
    copies = np.repeat(x, 4, axis=0)
    machine = KernelSVM().fit(copies, np.repeat(y, 4))
    assert len(machine.support_vectors_) == machine.dual_coef_.shape[1] < len(copies)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="there is one class"):
        LinearSVM().fit(np.eye(3), ["run"] * 3)


def test_a_kernel_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match=r"square, not \(3, 4\)"):
        KernelSVM(kernel="precomputed").fit(np.ones((3, 4)), [0, 1, 1])


@pytest.mark.parametrize(
    "machine, message",
    [
        (LinearSVM(solver="smo"), "solver='smo'"),
        (LinearSVM(loss="log", solver="gram"), "loss='log'"),
        (LinearSVM(-1.0, solver="gram"), "C=-1.0"),
        (KernelSVM(kernel="rbf"), "kernel='rbf'"),
    ],
)
def test_unknown_settings_are_refused(machine, message):
    with pytest.raises(ValueError, match=message):
        machine.fit(np.eye(3), ["run", "run", "walk"])


def test_a_label_is_needed_for_each_row_of_the_blocks():
    with pytest.raises(ValueError, match="for 2 labels"):
        LinearSVM().fit_blocks(lambda: [np.eye(3)], ["run", "walk"])
