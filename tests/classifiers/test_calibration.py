import numpy as np
import pytest
from scipy.special import expit

from cinefeat.classifiers import SigmoidCalibration


def test_the_sigmoid_that_made_the_labels_is_found(rng):
    scores = rng.normal(size=20_000) * 2
    positive = rng.random(20_000) < expit(1.5 * scores - 0.7)
    fitted = SigmoidCalibration().fit(np.stack([-scores, scores], axis=1), positive)
    assert fitted.slope_ == pytest.approx([1.5, 1.5], abs=0.1)
    assert fitted.offset_ == pytest.approx([0.7, -0.7], abs=0.1)


def test_perfectly_separated_scores_stay_short_of_certainty():
    scores = np.repeat([[5.0, -5.0], [-5.0, 5.0]], 10, axis=0)
    fitted = SigmoidCalibration().fit(scores, np.repeat(["run", "walk"], 10))
    # Platt's targets: 11/12 for the ten clips of the class
    assert fitted.predict_proba(scores[:1])[0] == pytest.approx([11 / 12, 1 / 12], abs=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_of_the_scores_does_not_matter(scale, rng):
    scores, y = rng.normal(size=(200, 3)), rng.integers(0, 3, 200)
    expected = SigmoidCalibration().fit(scores, y).predict_proba(scores)
    actual = SigmoidCalibration().fit(scores * scale, y).predict_proba(scores * scale)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_scores_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="one column a class"):
        SigmoidCalibration().fit(np.zeros((4, 3)), ["run", "walk"] * 2)
