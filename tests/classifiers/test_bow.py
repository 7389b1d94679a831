import numpy as np
import pytest

from cinefeat.classifiers import DT_GRIDS, BagOfWords


@pytest.fixture
def bags(rng):
    return [rng.normal(size=(n, 3)) for n in (0, 1, 40, 25)]


def literal_histogram(x, position, codewords, grid):
    """One vote per descriptor, cells in the order t, y, x, then an L1 norm."""
    nx, ny, nt = grid
    counts = np.zeros((nt, ny, nx, len(codewords)))
    for descriptor, (px, py, pt) in zip(x, position, strict=True):
        word = np.argmin([np.sum((descriptor - c) ** 2) for c in codewords])
        counts[int(pt * nt), int(py * ny), int(px * nx), word] += 1
    return counts.ravel() / max(counts.sum(), 1)


def test_histograms_of_every_grid_are_those_of_the_definition(bags, rng):
    encoder = BagOfWords(5, grids=DT_GRIDS, n_init=1, random_state=0).fit(bags)
    positions = [rng.random((len(bag), 3)) for bag in bags]
    encodings = encoder.transform(bags, positions)
    channels = np.split(encodings, np.cumsum(encoder.channel_sizes_)[:-1], axis=1)
    for grid, channel in zip(DT_GRIDS, channels, strict=True):
        for bag, where, row in zip(bags, positions, channel, strict=True):
            expected = literal_histogram(bag, where, encoder.codebook_.codewords_, grid)
            np.testing.assert_allclose(row, expected, atol=1e-6)


def literal_soft_histogram(x, codewords, n_nearest, bandwidth):
    total = np.zeros(len(codewords))
    for descriptor in x:
        squares = np.array([np.sum((descriptor - c) ** 2) for c in codewords])
        near = np.argsort(squares)[:n_nearest]
        weights = np.exp(-squares[near] / (2 * bandwidth**2))
        total[near] += weights / weights.sum()
    return total / max(len(x), 1)


def test_soft_votes_are_those_of_the_definition(bags):
    encoder = BagOfWords(6, assignment="soft", n_nearest=3, n_init=1, random_state=0).fit(bags)
    words, bandwidth = encoder.codebook_.codewords_, encoder.codebook_.bandwidth_
    expected = [literal_soft_histogram(bag, words, 3, bandwidth) for bag in bags]
    np.testing.assert_allclose(encoder.transform(bags), expected, atol=1e-5)


def test_a_lone_soft_vote_is_a_hard_one(bags):
    soft = BagOfWords(6, assignment="soft", n_nearest=1, n_init=1, random_state=0)
    hard = BagOfWords(6, n_init=1, random_state=0)
    np.testing.assert_array_equal(soft.fit(bags).transform(bags), hard.fit(bags).transform(bags))


def test_descriptors_far_from_all_words_still_vote(bags):
    encoder = BagOfWords(6, assignment="soft", n_init=1, random_state=0).fit(bags)
    assert encoder.transform([np.full((1, 3), 1e4)]).sum() == pytest.approx(1.0)


def test_grids_without_positions_are_refused(bags):
    encoder = BagOfWords(3, grids=DT_GRIDS, n_init=1, random_state=0).fit(bags)
    with pytest.raises(ValueError, match="need the positions"):
        encoder.transform(bags)


@pytest.mark.parametrize("value", [-0.1, 1.0, np.nan])
def test_positions_outside_the_clip_are_refused(value, bags):
    encoder = BagOfWords(3, n_init=1, random_state=0).fit(bags)
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        encoder.transform(bags[1:2], [np.full((1, 3), value)])


def test_positions_of_another_bag_are_refused(bags):
    encoder = BagOfWords(3, n_init=1, random_state=0).fit(bags)
    with pytest.raises(ValueError, match=r"need \(40, 3\)"):
        encoder.transform([bags[2]], [np.zeros((39, 3))])


@pytest.mark.parametrize(
    "parameters, message",
    [({"grids": ((0, 1, 1),)}, "no cell"), ({"assignment": "fuzzy"}, "choose 'hard' or 'soft'")],
)
def test_unknown_settings_are_refused(parameters, message, bags):
    with pytest.raises(ValueError, match=message):
        BagOfWords(3, **parameters).fit(bags)


@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_a_codebook_learned_elsewhere_encodes_alike(assignment, bags, rng):
    fitted = BagOfWords(5, grids=DT_GRIDS, assignment=assignment, n_init=1, random_state=0).fit(
        bags
    )
    made = BagOfWords.from_codebook(fitted.codebook_, DT_GRIDS, assignment=assignment)
    positions = [rng.random((len(bag), 3)) for bag in bags]
    np.testing.assert_array_equal(
        made.transform(bags, positions), fitted.transform(bags, positions)
    )
