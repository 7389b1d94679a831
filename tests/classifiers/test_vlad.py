import math

import numpy as np
import pytest

from cinefeat.classifiers import VLAD, encode_vlad


def literal_vlad(x, codewords, intra_norm, power, residual_norm):
    """The definition, one loop per sum sign."""
    blocks = [[0.0] * x.shape[1] for _ in codewords]
    for row in x.tolist():
        k = min(
            range(len(codewords)),
            key=lambda k: sum((a - b) ** 2 for a, b in zip(row, codewords[k], strict=True)),
        )
        residual = [a - b for a, b in zip(row, codewords[k], strict=True)]
        length = math.sqrt(sum(r * r for r in residual)) if residual_norm else 1.0
        for d, r in enumerate(residual):
            blocks[k][d] += r / length if length else 0.0
    if intra_norm:
        for block in blocks:
            length = math.sqrt(sum(v * v for v in block)) or 1.0
            block[:] = [v / length for v in block]
    vector = [math.copysign(abs(v) ** power, v) for block in blocks for v in block]
    return np.array(vector) / (math.sqrt(sum(v * v for v in vector)) or 1.0)


@pytest.mark.parametrize("intra_norm", [True, False])
@pytest.mark.parametrize("power", [1.0, 0.5, 0.3])
@pytest.mark.parametrize("residual_norm", [True, False])
@pytest.mark.parametrize("n_rows", [0, 1, 60])
def test_encodings_equal_the_literal_definition(intra_norm, power, residual_norm, n_rows, rng):
    x, codewords = rng.normal(size=(n_rows, 4)), rng.normal(size=(5, 4))
    expected = literal_vlad(x, codewords.tolist(), intra_norm, power, residual_norm)
    actual = encode_vlad(
        x, codewords, intra_norm=intra_norm, power=power, residual_norm=residual_norm
    )
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("residual_norm", [True, False])
def test_a_descriptor_on_its_codeword_encodes_to_zero(residual_norm):
    words = np.array([[1.0, 2.0], [5.0, 5.0]])
    assert not encode_vlad(words[:1], words, residual_norm=residual_norm).any()


def test_encodings_have_unit_length(rng):
    bags = [rng.normal(size=(30, 6)) for _ in range(5)]
    encodings = VLAD(4, n_dims=3, random_state=0).fit(bags).transform(bags)
    assert encodings.shape == (5, 12)
    np.testing.assert_allclose(np.linalg.norm(encodings, axis=1), 1, rtol=1e-6)


def test_the_estimator_encodes_projected_descriptors(rng):
    bags = [rng.normal(size=(30, 6)) for _ in range(5)]
    vlad = VLAD(4, n_dims=3, power=1.0, random_state=0).fit(bags)
    projected = vlad.pca_.transform(bags[0])
    expected = encode_vlad(projected, vlad.codebook_.codewords_, power=1.0)
    np.testing.assert_array_equal(vlad.transform(bags[:1])[0], expected)
