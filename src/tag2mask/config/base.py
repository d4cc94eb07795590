"""What every table of a recipe is, and the values that several tables share."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class Schema(BaseModel):
    """A frozen table of a recipe that knows all its keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )


def kind_told_by(key: str, otherwise: str) -> Callable[[Any], str]:
    """Return what says of which kind a table is, for unions of tables.

    Its name is ``KEY_of``, by which errors find the key again.

    Args:
        key: Of the table, that names its kind.
        otherwise: The kind of a table that does not name it.
    """

    def kind_of(table: Any) -> str:  # noqa: ANN401
        if isinstance(table, dict):
            return str(table.get(key, otherwise))
        return str(getattr(table, key, otherwise))

    kind_of.__name__ = f"{key}_of"
    return kind_of


Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]


def _one_as_many(value: object) -> object:
    """Let a single number stand for a list of one, as people type it."""
    if isinstance(value, int | float):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _none_twice(values: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse values that would give two results one name."""
    names = [f"{value:g}" for value in values]
    if len(set(names)) < len(names):
        raise ValueError(f"a value is named twice: {', '.join(names)}")
    return values


Scales = Annotated[
    tuple[Annotated[float, Field(gt=0.1, le=4)], ...],
    BeforeValidator(_one_as_many),
    AfterValidator(_none_twice),
    Field(min_length=1),
]
Dropouts = Annotated[
    tuple[Annotated[float, Field(ge=0, lt=1)], ...],
    BeforeValidator(_one_as_many),
    AfterValidator(_none_twice),
    Field(min_length=1),
]
Crf = Literal["none", "seeds", "irnet", "deeplab"]
Precision = Literal["32", "bf16"]
