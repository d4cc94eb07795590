"""The schema of a study: runs of one recipe that stand beside each other in a table.

What all rows share is ``set``; what a row is about is in ``rows``, ``grid`` and
``subsets``, and their product makes the rows. A study names its random seeds, and the
one score of each run that is shown.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, Field, JsonValue, model_validator

from tag2mask.config.base import Schema
from tag2mask.data.classes import nearest

RANDOM_SEED = "random_seed"
Settled = TypeVar("Settled", bound=Iterable[str])


def key_of(override: str) -> str:
    """Return the key that an override ``key=value`` changes."""
    return override.partition("=")[0].strip()


def _none_sets_the_random_seed(settings: Settled) -> Settled:
    if RANDOM_SEED in map(key_of, settings):
        raise ValueError("random_seed is told by random_seeds")
    return settings


def _none_twice(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"one is named twice: {', '.join(map(str, values))}")
    return values


Text = Annotated[str, Field(min_length=1)]
Settings = Annotated[tuple[str, ...], AfterValidator(_none_sets_the_random_seed)]
RandomSeeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**32)], ...],
    AfterValidator(_none_twice),
    Field(min_length=1),
]
Axes = Annotated[
    dict[str, Annotated[tuple[JsonValue, ...], Field(min_length=1)]],
    AfterValidator(_none_sets_the_random_seed),
]


class Score(Schema):
    """Which score of a run is shown; the run ends with its stage."""

    stage: Literal["cam", "seed", "refine", "vote", "vote_refine", "relabel", "predict"]
    """Whose score; the run ends with it."""
    subject: Text
    """Which one of that stage, as a run's table of scores names it: ``ca_cl-1``."""
    threshold: Literal["fixed", "label_free", "oracle"] | None = None
    """Activation maps have a score at each of these; nothing else has."""

    @model_validator(mode="after")
    def _only_a_cam_has_thresholds(self) -> "Score":
        if self.stage == "cam" and self.threshold is None:
            raise ValueError(
                "a cam has three scores: threshold = 'fixed', 'label_free' or 'oracle'"
            )
        if self.stage != "cam" and self.threshold is not None:
            raise ValueError(f"a threshold is of a cam, not of a {self.stage}")
        return self

    def __str__(self) -> str:
        return f"{self.stage} {self.subject}"


class Row(Schema):
    """One variant of the recipe."""

    name: Text
    """As the table calls it."""
    set: Settings = ()
    """Overrides ``key=value``, as on the command line."""
    score: Score | None = None
    """None: the one that the study shows."""
    group: str = ""
    """The best row of each group stands out."""


class Study(Schema):
    """Rows over one recipe, each with the same random seeds."""

    title: Text
    """Above the table and its figures."""
    recipe: Text
    """A path, or the name of a shipped recipe."""
    score: Score
    """What the table shows of each row."""
    random_seeds: RandomSeeds = (0, 1, 2)
    """Every row is run with each."""
    set: Settings = ()
    """Overrides of all rows."""
    rows: tuple[Row, ...] = ()
    """Variants that are written out."""
    grid: Axes = Field(default_factory=dict)
    """For each key of the recipe the values that it takes."""
    subsets: Axes = Field(default_factory=dict)
    """For each key the values of which it takes every choice, the small ones first."""
    panels: Annotated[int, Field(ge=0, le=50)] = 6
    """Images that a picture shows as every row sees them, in studies of up to eight."""
    quoted: dict[str, float] = Field(default_factory=dict)
    """Published scores by the name of a row, mIoU in percent."""
    others: dict[str, float] = Field(default_factory=dict)
    """Published scores of methods that are not run: lines below the rows."""
    quoted_from: str = ""
    """Where they were published, and for which data."""

    @property
    def variants(self) -> tuple[Row, ...]:
        """Return all rows; the last key of the last table changes fastest."""
        axes = list(self._axes())
        if not self.rows and not axes:
            return ()
        starts: Sequence[Row | None] = self.rows or (None,)
        return tuple(_join(row, each) for row in starts for each in product(*axes))

    def _axes(self) -> "Iterator[list[_Choice]]":
        labels = _labels([*self.grid, *self.subsets])
        for key, values in self.grid.items():
            yield [_choice(key, labels[key], value) for value in values]
        for key, values in self.subsets.items():
            yield [
                _choice(
                    key, labels[key], list(chosen), group=f"{size} of {len(values)}"
                )
                for size in range(1, len(values) + 1)
                for chosen in combinations(values, size)
            ]

    @model_validator(mode="after")
    def _rows_are_distinct(self) -> "Study":
        variants = self.variants
        names = [row.name for row in variants]
        if not names:
            raise ValueError("there is no row: give [[rows]], [grid] or [subsets]")
        if twice := _twice(names):
            raise ValueError(f"two rows have the name {twice[0]!r}")
        for row in variants:
            if twice := _twice([key_of(each) for each in row.set]):
                raise ValueError(f"row {row.name!r} sets {twice[0]} twice")
        return self

    @model_validator(mode="after")
    def _quoted_are_of_rows(self) -> "Study":
        names = [row.name for row in self.variants]
        for name in self.quoted:
            if name not in names:
                raise ValueError(f"quoted: no row is {name!r}{nearest(name, names)}")
        for name in self.others:
            if name in names:
                raise ValueError(f"others: {name!r} is a row; put it into quoted")
        if bool(self.quoted or self.others) != bool(self.quoted_from):
            raise ValueError("quoted and quoted_from belong together: give both")
        return self


class _Choice(NamedTuple):
    """A value of one axis: what a row is called, sets, and belongs to for it."""

    name: str
    override: str
    group: str


def _choice(key: str, label: str, value: JsonValue, *, group: str = "") -> _Choice:
    return _Choice(f"{label} = {_spell(value)}", f"{key}={_as_toml(value)}", group)


def _join(row: Row | None, choices: Sequence[_Choice]) -> Row:
    names = ([row.name] if row else []) + [each.name for each in choices]
    groups = ([row.group] if row else []) + [each.group for each in choices]
    return Row(
        name=", ".join(names),
        set=(row.set if row else ()) + tuple(each.override for each in choices),
        score=row.score if row else None,
        group=", ".join(filter(None, groups)),
    )


def _labels(keys: Sequence[str]) -> Mapping[str, str]:
    """Return the last part of each key, the whole where others end alike."""
    ends = Counter(key.rpartition(".")[2] for key in keys)
    lasts = {key: key.rpartition(".")[2] for key in keys}
    return {key: last if ends[last] == 1 else key for key, last in lasts.items()}


def _twice(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _spell(value: JsonValue) -> str:
    """Return a value as people read it."""
    match value:
        case str():
            return value
        case list():
            return " + ".join(_spell(each) for each in value) or "none"
        case _:
            return _as_toml(value)


def _as_toml(value: JsonValue) -> str:
    """Return a value as an override spells it, on one line."""
    match value:
        case dict():
            pairs = [f"{json.dumps(k)} = {_as_toml(v)}" for k, v in value.items()]
            return f"{{ {', '.join(pairs)} }}"
        case list():
            return f"[{', '.join(_as_toml(each) for each in value)}]"
        case _:
            return json.dumps(value, ensure_ascii=False)
