import numpy as np
import pytest

from cinefeat.classifiers import kmeans as km


@pytest.fixture
def clusters(rng):
    """Sixty rows about each of eight centres, far from the origin."""
    centres = rng.normal(size=(8, 5)) * 10 + 1000
    return (np.repeat(centres, 60, axis=0) + rng.normal(size=(480, 5))).astype(np.float32)


def literal_nearest(x, codewords):
    return [int(np.argmin([np.sum((a - c) ** 2) for c in codewords])) for a in x.astype(float)]


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # numpy, torch
def test_nearest_codewords_are_those_of_the_definition(device, clusters):
    codewords = clusters[::37]
    assert km.nearest(clusters, codewords, device).tolist() == literal_nearest(clusters, codewords)


def test_ties_go_to_the_lower_index():
    codewords = np.float32([[1.0], [-1.0], [1.0]])
    assert km.nearest(np.float32([[0.0], [1.0]]), codewords).tolist() == [0, 0]


def test_distances_to_all_codewords_are_those_of_the_definition(clusters):
    expected = np.square(clusters[:20, None].astype(float) - clusters[None, ::60]).sum(axis=2)
    actual = km.squared_to_all(clusters[:20], clusters[::60])
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3)


def test_seeds_are_distinct_rows_of_the_sample(clusters):
    seeds = km.seed_plus_plus(clusters, 50, np.random.default_rng(0))
    rows = {tuple(row) for row in clusters}
    assert {tuple(seed) for seed in seeds} <= rows
    assert len(np.unique(seeds, axis=0)) == 50


def test_far_clusters_get_a_seed_each(clusters):
    hits = [
        len(
            set(
                km.nearest(km.seed_plus_plus(clusters, 8, np.random.default_rng(s)), clusters[::60])
            )
        )
        for s in range(20)
    ]
    assert np.mean(hits) > 7


def test_batched_proposals_draw_as_single_ones_would():
    # Six rows on a line. The second seed is one of a batch of one, the third one of two: rejection
    # must make its distribution that of k-means++, which is summed up here over all orders.
    x = np.float32([[0.0], [1.0], [2.0], [4.0], [7.0], [11.0]])
    distance = np.square(x - x.T).astype(float)
    expected = np.zeros(6)
    for first in range(6):
        second = distance[first] / distance[first].sum()
        for s in np.flatnonzero(second):
            closest = np.minimum(distance[first], distance[s])
            expected += second[s] / 6 * closest / closest.sum()
    n = 5000
    thirds = [km.seed_plus_plus(x, 3, np.random.default_rng(s))[2, 0] for s in range(n)]
    observed = np.array([np.mean(thirds == value) for value in x[:, 0]])
    deviation = np.sqrt(expected * (1 - expected) / n)
    assert np.abs(observed - expected).max() < 5 * deviation.max()


def test_proposals_are_judged_after_those_accepted_before_them():
    twice = np.float32([[1.0], [1.0], [5.0]])
    kept = km._accepted(twice, np.array([4.0, 4.0, 9.0]), np.array([0.9, 0.1, 0.9]))
    assert kept.tolist() == [True, False, True]


def test_lloyd_lowers_the_inertia_to_a_fixed_point(clusters):
    start = clusters[:8]
    run = km.lloyd(clusters, start, max_iter=100, tol=0.0)
    labels = km.nearest(clusters, run.codewords)
    means = [clusters[labels == k].mean(axis=0) for k in range(8)]
    np.testing.assert_allclose(run.codewords, means, rtol=1e-5)
    assert run.inertia <= km.lloyd(clusters, start, max_iter=0, tol=0.0).inertia


def test_lloyd_agrees_with_scikit_learn(clusters):
    from sklearn.cluster import KMeans

    start = clusters[::60]
    theirs = KMeans(8, init=start, n_init=1, tol=0.0).fit(clusters.astype(float))
    ours = km.lloyd(clusters, start, max_iter=100, tol=0.0)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-6)


def test_passes_over_neighbours_lower_the_inertia_between_exact_ones(rng):
    x = rng.normal(size=(4000, 6)).astype(np.float32)
    seeds = km.seed_plus_plus(x, 600, rng)
    labels, distances = km._assign(x, seeds, "cpu")
    before, exact = distances.sum(), km.lloyd(x, seeds, max_iter=1, tol=0.0)
    refined = km._refine(x, km._means(x, labels, distances, 600), labels, distances, 0.0)
    assert distances.sum() < 0.9 * before
    assert exact.inertia <= km._assign(x, refined, "cpu")[1].sum() * (1 + 1e-6)


def test_a_codeword_without_rows_moves_to_the_farthest_row():
    x = np.float32([[0.0], [1.0], [2.0], [50.0]])
    labels, distances = np.array([0, 0, 0, 0]), np.array([0.0, 1.0, 4.0, 2500.0])
    assert km._means(x, labels, distances, 2).ravel().tolist() == [13.25, 50.0]


def test_fewer_distinct_rows_than_codewords_leave_no_error():
    x = np.repeat(np.float32([[0.0], [3.0]]), 5, axis=0)
    run = km.kmeans(x, 4, 1, 10, 1e-3, np.random.SeedSequence(0))
    assert run.inertia == 0.0
    assert set(run.codewords.ravel()) <= {0.0, 3.0}


def test_more_starts_are_never_worse(clusters):
    inertias = [
        km.kmeans(clusters, 12, n, 20, 1e-3, np.random.SeedSequence(4)).inertia for n in (1, 3, 6)
    ]
    assert inertias == sorted(inertias, reverse=True)
