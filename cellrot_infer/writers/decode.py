"""Parsed JSON into the dataclasses it was written from, by their annotations."""

import dataclasses
import math
import types
from collections.abc import Callable
from functools import cache
from itertools import chain
from typing import (
    Any,
    Literal,
    TypeGuard,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

Decoder = Callable[[object], Any]


class MismatchError(Exception):
    """A value is not what its annotation says; `place` grows on the way out."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.place = ""

    def __str__(self) -> str:
        return f"{self.place.removeprefix('.') or 'the whole'} {self.problem}"

    def inside(self, step: str) -> "MismatchError":
        """Return this mismatch, seen from one level further out."""
        self.place = step + self.place
        return self


@cache
def decoder(kind: object) -> Decoder:
    """Return the function that checks a parsed value and makes it a `kind`.

    `kind` is a dataclass, a tuple, a Literal, an optional or a plain type. The
    function raises MismatchError and names the first place that differs.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _dataclass_decoder(kind)
    if origin is tuple:
        return _tuple_decoder(parts)
    if origin is Literal:
        return _choice_decoder(parts)
    if origin in (Union, types.UnionType):
        (inner,) = set(parts) - {types.NoneType}
        present = decoder(inner)
        return lambda value: None if value is None else present(value)
    return _PLAIN[kind]


def _dataclass_decoder(kind: type) -> Decoder:
    hints = get_type_hints(kind)
    required = {
        entry.name
        for entry in dataclasses.fields(kind)
        if entry.default is dataclasses.MISSING
    }

    def decode(value: object) -> object:
        if not isinstance(value, dict):
            raise _mismatch(value, "an object")
        if strange := min(value.keys() - hints.keys(), default=None):
            raise MismatchError(f"has an unknown entry {strange!r:.60}")
        if missing := min(required - value.keys(), default=None):
            raise MismatchError(f"lacks {missing!r}")
        return kind(**{key: _entry(hints[key], key, value[key]) for key in value})

    return decode


def _entry(kind: object, key: str, value: object) -> object:
    try:
        return decoder(kind)(value)
    except MismatchError as mismatch:
        raise mismatch.inside(f".{key}") from None


def _tuple_decoder(parts: tuple[Any, ...]) -> Decoder:
    length = None if parts[-1] is Ellipsis else len(parts)
    kinds = parts[:1] if length is None else parts
    inner = [decoder(kind) for kind in kinds]
    are_corners = parts == (tuple[int, int], ...)

    def decode(value: object) -> tuple[object, ...]:
        if are_corners and _holds_corners(value):
            return tuple(map(tuple, value))
        if not isinstance(value, list) or length not in (None, len(value)):
            raise _mismatch(value, f"a list of {length}" if length else "a list")
        decoders = inner if length else inner * len(value)
        items = []
        for index, item in enumerate(value):
            try:
                items.append(decoders[index](item))
            except MismatchError as mismatch:
                raise mismatch.inside(f"[{index}]") from None
        return tuple(items)

    return decode


def _holds_corners(value: object) -> TypeGuard[list[list[int]]]:
    """Return whether `value` is a list of pairs of whole numbers, as outlines are.

    They are nearly all of a report, and to look at each number costs a tenth of a run.
    """
    return (
        isinstance(value, list)
        and set(map(type, value)) <= {list}
        and set(map(len, value)) <= {2}
        and set(map(type, chain.from_iterable(value))) <= {int}
    )


def _choice_decoder(choices: tuple[str, ...]) -> Decoder:
    def decode(value: object) -> object:
        if value not in choices:
            raise _mismatch(value, " or ".join(map(repr, choices)))
        return value

    return decode


def _whole(value: object) -> int:
    if type(value) is int:  # a bool is no number here
        return value
    raise _mismatch(value, "a whole number")


def _real(value: object) -> float:
    if type(value) is float and abs(value) < math.inf:  # JSON's 1e999 is an infinity
        return value
    if type(value) is int and abs(value) < 2**53:
        return float(value)
    raise _mismatch(value, "a number")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _mismatch(value, "true or false")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, "text")
    return value


def _mismatch(value: object, expected: str) -> MismatchError:
    return MismatchError(f"is {value!r:.60}, expected {expected}")


_PLAIN: dict[object, Decoder] = {
    bool: _flag,
    int: _whole,
    float: _real,
    str: _text,
}
