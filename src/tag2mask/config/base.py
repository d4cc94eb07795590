"""What every table of a recipe is."""

from pydantic import BaseModel, ConfigDict


class Schema(BaseModel):
    """A frozen table of a recipe that knows all its keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )
