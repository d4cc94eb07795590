"""Vectors of ``LANES`` floats as values inside compiled functions.

Compiled loops over a handful of labels spend most of their time on whether arrays
overlap and on what does not fill a vector. These words leave nothing to ask: each
becomes one or two instructions, on any processor that LLVM knows. They check nothing:
indices count floats from the start of a contiguous array and must lie inside it.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir  # type: ignore[import-untyped]
import numpy as np
from numba.core import types
from numba.core.typing.templates import Signature
from numba.extending import intrinsic, models, register_model

LANES = 8
"""Values that one vector instruction works on."""
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(ir.IntType(32), LANES)
_FLOAT_BITS = 23
_FLOAT_BIAS = 127
_FAST = ("fast",)
_TERMS = [float(np.log(2) ** n / np.prod(range(1, n + 1))) for n in range(7)]
"""Taylor series of ``2**x``: off by 2e-7 at half an octave, as rounding is."""

Emit = Callable[[ir.IRBuilder, list[ir.Value]], ir.Value]
Code = tuple[Signature, Callable[..., ir.Value]]
_word: Callable[[Callable[..., Code]], Callable[..., Any]] = intrinsic
"""Compiled callers pass values where these functions take their types."""


class Lanes(types.Type):
    """The type of a vector, as numba knows it."""


VECTOR = Lanes(name="Lanes")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: object, kind: types.Type) -> None:
        super().__init__(manager, kind, _FLOATS)  # type: ignore[no-untyped-call]


def _lower(result: types.Type, arguments: tuple[types.Type, ...], emit: Emit) -> Code:
    """Pair a signature with its code; an array arrives as the pointer to its data."""
    signature = result(*arguments)

    def generate(
        context: ir.Value,
        builder: ir.IRBuilder,
        signature: Signature,
        values: list[ir.Value],
    ) -> ir.Value:
        given = [
            context.make_array(kind)(context, builder, value).data
            if isinstance(kind, types.Array)
            else value
            for kind, value in zip(signature.args, values, strict=True)
        ]
        found = emit(builder, given)
        return context.get_dummy_value() if found is None else found

    return signature, generate


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [value] * LANES)


def _place(builder: ir.IRBuilder, data: ir.Value, index: ir.Value) -> ir.Value:
    return builder.bitcast(builder.gep(data, [index]), _FLOATS.as_pointer())


def _spread(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    unset, first = ir.Constant(_FLOATS, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(unset, value, first)
    return builder.shuffle_vector(one, unset, ir.Constant(_INTS, [0] * LANES))


def _emit_store(builder: ir.IRBuilder, given: list[ir.Value]) -> None:
    builder.store(given[2], _place(builder, given[0], given[1]), align=4)


def _emit_add_scaled(builder: ir.IRBuilder, given: list[ir.Value]) -> ir.Value:
    total, vector, factor = given
    scaled = builder.fmul(vector, _spread(builder, factor), flags=_FAST)
    return builder.fadd(total, scaled, flags=_FAST)


def _larger(builder: ir.IRBuilder, given: list[ir.Value]) -> ir.Value:
    first, second = given
    is_larger = builder.fcmp_ordered(">", first, second, flags=_FAST)
    return builder.select(is_larger, first, second)


def _emit_power(builder: ir.IRBuilder, given: list[ir.Value]) -> ir.Value:
    """The whole octaves go into the exponent's bits, the rest into a series."""
    exponent, floor = given
    floor = _spread(builder, floor)
    is_more = builder.fcmp_ordered(">", exponent, floor)
    bounded = builder.select(is_more, exponent, floor)
    octaves = builder.fptosi(builder.fadd(bounded, _constant(-0.5)), _INTS)
    rest = builder.fsub(bounded, builder.sitofp(octaves, _FLOATS))
    series = _constant(_TERMS[-1])
    for term in reversed(_TERMS[:-1]):
        series = builder.fmul(series, rest, flags=_FAST)
        series = builder.fadd(series, _constant(term), flags=_FAST)
    bias = ir.Constant(_INTS, [_FLOAT_BIAS] * LANES)
    shift = ir.Constant(_INTS, [_FLOAT_BITS] * LANES)
    scale = builder.bitcast(builder.shl(builder.add(octaves, bias), shift), _FLOATS)
    power = builder.fmul(series, scale, flags=_FAST)
    return builder.select(is_more, power, _constant(0.0))


def _fold(builder: ir.IRBuilder, vector: ir.Value, join: Emit) -> ir.Value:
    """Join both halves, then their halves, until one value is left."""
    unset, half = ir.Constant(_FLOATS, ir.Undefined), LANES // 2
    while half:
        order = [(lane + half) % LANES for lane in range(LANES)]
        turned = builder.shuffle_vector(vector, unset, ir.Constant(_INTS, order))
        vector = join(builder, [vector, turned])
        half //= 2
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@_word
def load(_typing: object, array: types.Type, _index: types.Type) -> Code:
    """Return the vector that begins at ``array.flat[index]``."""
    return _lower(
        VECTOR,
        (array, types.intp),
        lambda builder, given: builder.load(_place(builder, *given), align=4),
    )


@_word
def store(
    _typing: object, array: types.Type, _index: types.Type, vector: types.Type
) -> Code:
    """Write a vector to ``array.flat[index]`` and what follows."""
    return _lower(types.void, (array, types.intp, vector), _emit_store)


@_word
def fill(_typing: object, _value: types.Type) -> Code:
    """Return a vector of one value."""
    return _lower(
        VECTOR, (types.float32,), lambda builder, given: _spread(builder, given[0])
    )


@_word
def add_scaled(
    _typing: object, total: types.Type, vector: types.Type, _factor: types.Type
) -> Code:
    """Return ``total + vector * factor``."""
    return _lower(VECTOR, (total, vector, types.float32), _emit_add_scaled)


@_word
def scaled(_typing: object, vector: types.Type, _factor: types.Type) -> Code:
    """Return ``vector * factor``."""
    return _lower(
        VECTOR,
        (vector, types.float32),
        lambda builder, given: builder.fmul(
            given[0], _spread(builder, given[1]), flags=_FAST
        ),
    )


@_word
def add(_typing: object, first: types.Type, second: types.Type) -> Code:
    """Return the sum of two vectors."""
    return _lower(
        VECTOR,
        (first, second),
        lambda builder, given: builder.fadd(*given, flags=_FAST),
    )


@_word
def larger(_typing: object, first: types.Type, second: types.Type) -> Code:
    """Return the larger of two vectors, lane by lane."""
    return _lower(VECTOR, (first, second), _larger)


@_word
def power_of_two(_typing: object, exponent: types.Type, _floor: types.Type) -> Code:
    """Return ``2**exponent`` of exponents from -126 to 0, and 0 up to ``floor``."""
    return _lower(VECTOR, (exponent, types.float32), _emit_power)


@_word
def largest(_typing: object, vector: types.Type) -> Code:
    """Return the largest value of a vector."""
    return _lower(
        types.float32,
        (vector,),
        lambda builder, given: _fold(builder, given[0], _larger),
    )


@_word
def total(_typing: object, vector: types.Type) -> Code:
    """Return the sum of a vector's values."""
    return _lower(
        types.float32,
        (vector,),
        lambda builder, given: _fold(
            builder, given[0], lambda b, pair: b.fadd(*pair, flags=_FAST)
        ),
    )
