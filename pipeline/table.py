"""What all tables of a recipe have in common."""

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict


class WeightFile(NamedTuple):
    """Weights that a table names: for what, which, and where they come from."""

    group: str
    weights: str
    origin: str


class Settings(BaseModel):
    """A table of a recipe: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @property
    def reads_groups(self) -> bool:
        """Whether what is learned depends on the groups of the training clips."""
        return False
