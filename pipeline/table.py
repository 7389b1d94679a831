"""What all tables of a recipe have in common."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A table of a recipe: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @property
    def reads_groups(self) -> bool:
        """Whether what is learned depends on the groups of the training clips."""
        return False
