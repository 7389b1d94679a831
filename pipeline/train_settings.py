"""The kinds of the table [train]: one for each classifier."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from cinefeat.pipeline.table import Settings

_Positive = Annotated[float, Field(gt=0)]
Penalty = Annotated[
    Annotated[_Positive, Tag("number")]
    | Annotated[tuple[_Positive, ...], Field(min_length=2), Tag("list")],
    Discriminator(lambda value: "list" if isinstance(value, list | tuple) else "number"),
    Field(description="weight of the losses; of a list, the best by cross-validation over groups"),
]


class _MachineSettings(Settings):
    """What every support vector machine on a kernel may learn from its training clips' groups."""

    probabilities: bool = Field(
        default=False,
        description="scores are probabilities, by sigmoids fitted to cross-validated margins",
    )

    @property
    def reads_groups(self) -> bool:
        """Whether C or the sigmoids come from cross-validation over groups."""
        return self.probabilities or isinstance(getattr(self, "C", None), tuple)


class ChiSquareSettings(_MachineSettings):
    """Multi-channel chi-square SVM, exp(-sum_c D_c / A_c)."""

    classifier: Literal["chi-square-svm"]
    C: Penalty = 100.0


class HellingerSettings(_MachineSettings):
    """SVM on sum_d sqrt(x_d y_d): a linear one on the square roots of the histograms."""

    classifier: Literal["hellinger-svm"]
    C: Penalty = 100.0


class LinearSettings(_MachineSettings):
    """Linear SVM, one against rest, on the concatenated channels."""

    classifier: Literal["linear-svm"]
    C: Penalty = 1.0
    loss: Literal["hinge", "squared_hinge"] = Field(
        default="hinge", description="max(0, u), or its square (the default of scikit-learn)"
    )


class GradientSettings(Settings):
    """Linear SVM by stochastic gradient steps, for encodings that exceed memory."""

    classifier: Literal["sgd"]
    C: _Positive = 1.0
    n_epochs: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=20, description="passes over the training clips"
    )
    seed: Annotated[int, Field(ge=0)] = 0


class ForestSettings(Settings):
    """Random forest on the concatenated channels."""

    classifier: Literal["random-forest"]
    n_trees: Annotated[int, Field(ge=1, le=100_000)] = 500
    seed: Annotated[int, Field(ge=0)] = 0


TrainSettings = Annotated[
    ChiSquareSettings | HellingerSettings | LinearSettings | GradientSettings | ForestSettings,
    Field(discriminator="classifier"),
]
