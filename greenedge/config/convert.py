"""Turns nodes into typed values: one function for every annotation that a config or a component may use."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from greenedge.config.mistakes import Mistakes
from greenedge.config.nodes import Node, join_key, shortened
from greenedge.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """The limits of a number, for use in `Annotated`; `above` and `below` are excluded themselves."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            (self.minimum is None or number >= self.minimum)
            and (self.maximum is None or number <= self.maximum)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        named = {"at least": self.minimum, "at most": self.maximum, "above": self.above, "below": self.below}
        return " and ".join(f"{name} {limit:g}" for name, limit in named.items() if limit is not None)


@dataclass(frozen=True)
class Pattern:
    """What a text must match, for use in `Annotated`.

    Attributes:
        regex: of the whole text.
        expected: the same in words.
        known: usual texts, one of which may have been meant.
    """

    regex: str
    expected: str
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """The table whose names may stand here, for use in `Annotated`; what it holds is checked in phase 2.

    Attributes:
        name: of the table: `heads`, `losses`, ....
        prefix: names that begin with it are known to another library and are not checked.
        refused: names that mean something elsewhere, each with the sentence that says where.
    """

    name: str
    prefix: str = ""
    refused: tuple[tuple[str, str], ...] = ()


Probability = Annotated[float, Range(minimum=0, maximum=1)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(minimum=0)]
FractionAboveZero = Annotated[float, Range(above=0, maximum=1)]
AtLeastOne = Annotated[float, Range(minimum=1)]
FractionBelowOne = Annotated[float, Range(minimum=0, below=1)]
Count = Annotated[int, Range(minimum=1)]
CountOrZero = Annotated[int, Range(minimum=0)]
Seed = Annotated[int, Range(minimum=0, below=2**63)]

_LARGEST = 2**63
_EXPECTED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}


class FieldError(ValueError):
    """Says that fields of a dataclass do not fit each other; raised from its `__post_init__`.

    Args:
        key: the dotted key, below the dataclass, that the user should change.
        message: what is wrong with it.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def convert(node: Node, annotation: Any, key: str) -> Any:
    """The node's value as `annotation`: a scalar type, Annotated limit, Literal, union, tuple, dict or dataclass.

    `dict[str, X]` takes any keys, `Any` any value. Classes with a `from_node(node, key)` method convert themselves.

    Raises:
        ConfigError: the value has another type or lies out of range; names the place and the dotted key. All mistakes
            at and below the node are raised together.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _limited(convert(node, arguments[0], key), arguments[1], node, key)
    if origin is Literal:
        if node.value in arguments and type(node.value) is type(arguments[0]):
            return node.value
        raise type_mismatch(node, key, join_or(arguments), did_you_mean(node.value, arguments))
    if origin in (Union, types.UnionType):
        return _union(node, arguments, key)
    if origin is tuple:
        return _tuple(node, arguments, key)
    if origin is dict:
        return _mapping(node, arguments[1], key)
    if annotation is Any:
        return node.plain()
    if hasattr(annotation, "from_node"):
        return annotation.from_node(node, key)
    if dataclasses.is_dataclass(annotation):
        return _dataclass(node, annotation, key)
    return _scalar(node, annotation, key)


def convert_mapping(node: Node, hints: dict[str, Any], required: Collection[str], key: str) -> dict[str, Any]:
    """Converts a mapping whose keys must be among `hints`, all of `required` present.

    Raises:
        ConfigError: an unknown key (with a suggestion), a missing one, or a value that does not convert.
    """
    if node.value is None:
        node = Node({}, node.where)
    if not isinstance(node.value, dict):
        raise type_mismatch(node, key, "a mapping with " + ("the keys " + ", ".join(hints) if hints else "no keys"))
    mistakes, values = Mistakes(), {}
    meant = set()  # keys that an unknown one is probably a misspelling of
    for name, child in node.value.items():
        if name in hints:
            with mistakes.collect():
                values[name] = convert(child, hints[name], join_key(key, name))
            continue
        known = f"the keys here are {', '.join(hints)}" if hints else "there are no options here"
        near = nearest(name, hints)
        meant.add(near)
        hint = f"did you mean {near!r}?" if near else known
        mistakes.add(ConfigError(f"unknown key; {hint}", key=join_key(key, name), where=child.where))

    for name in required:
        if name not in node.value and name not in meant:
            mistakes.add(ConfigError("missing; it has no default", key=join_key(key, name), where=node.where))
    mistakes.raise_all()
    return values


def without_limits(annotation: Any) -> Any:
    """The type that an `Annotated` is about; any other annotation as it is."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def type_mismatch(node: Node, key: str, expected: str, hint: str = "") -> ConfigError:
    """Makes the error "expected X, found Y"."""
    shown = node.value
    kinds: dict[type, str] = {dict: "a mapping", list: "a list", type(None): "null"}
    found = kinds.get(type(shown)) or shortened(repr(shown))
    return ConfigError(
        f"expected {expected}, found {found}" + (f"; {hint}" if hint else ""),
        key=key or None,
        where=node.where,
    )


def did_you_mean(word: object, known: Collection[Any]) -> str:
    """`did you mean 'x'?` for the nearest of `known`, or an empty text."""
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else ""


def nearest(word: object, known: Collection[Any]) -> str | None:
    """The one of `known` that `word` is probably a misspelling of, whatever its capitals."""
    names = {str(name).casefold(): str(name) for name in known}
    near = difflib.get_close_matches(shortened(str(word)).casefold(), list(names), n=1, cutoff=0.6)
    return names[near[0]] if near else None


def join_or(values: Collection[Any]) -> str:
    """`a, b or c`."""
    *most, last = [str(value) for value in values]
    return f"{', '.join(most)} or {last}" if most else last


def _scalar(node: Node, kind: type, key: str) -> Any:
    value = node.value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise type_mismatch(node, key, "a finite number")
    if type(value) is not kind:
        raise type_mismatch(node, key, _EXPECTED[kind])
    if kind is int and isinstance(value, int) and abs(value) >= _LARGEST:
        raise type_mismatch(node, key, "a whole number of 64 bits")
    return value


def _limited(value: Any, limit: object, node: Node, key: str) -> Any:
    if isinstance(limit, Range) and value not in limit:
        raise type_mismatch(node, key, f"a number {limit}")
    if isinstance(limit, Pattern) and not re.fullmatch(limit.regex, value):
        raise type_mismatch(node, key, limit.expected, did_you_mean(value, limit.known))
    return value


def _tuple(node: Node, arguments: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    if not isinstance(node.value, list):
        raise type_mismatch(node, key, "a list")
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(node.value)
    if len(arguments) != len(node.value):
        raise ConfigError(f"expected a list of {len(arguments)}, found {len(node.value)}", key=key, where=node.where)
    mistakes, values = Mistakes(), []
    for index, (item, kind) in enumerate(zip(node.value, arguments, strict=True)):
        with mistakes.collect():
            values.append(convert(item, kind, join_key(key, str(index))))
    mistakes.raise_all()
    return tuple(values)


def _mapping(node: Node, kind: Any, key: str) -> dict[str, Any]:
    if not isinstance(node.value, dict):
        raise type_mismatch(node, key, "a mapping")
    mistakes, values = Mistakes(), {}
    for name, child in node.value.items():
        with mistakes.collect():
            values[name] = convert(child, kind, join_key(key, name))
    mistakes.raise_all()
    return values


def _union(node: Node, arguments: tuple[Any, ...], key: str) -> Any:
    if node.value is None and type(None) in arguments:
        return None
    choices = [argument for argument in arguments if argument is not type(None)]
    if isinstance(node.value, list):
        # Only the list among the choices can be meant, so its own error says more than that of the union.
        choices = [choice for choice in choices if get_origin(choice) is tuple] or choices
    if len(choices) == 1:
        return convert(node, choices[0], key)
    for choice in choices:
        if get_origin(choice) is Literal and node.value in get_args(choice):
            return node.value
    words = [f"{a!r}" for choice in choices if get_origin(choice) is Literal for a in get_args(choice)]
    others = ["a list" for choice in choices if get_origin(choice) is tuple]
    raise type_mismatch(node, key, join_or(others + words))


def _dataclass(node: Node, kind: Any, key: str) -> Any:
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init and field.compare}
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    values = convert_mapping(node, {name: hints[name] for name in fields}, required, key)
    try:
        return kind(**values)
    except ValueError as error:
        culprit, below = node, error.key if isinstance(error, FieldError) else ""
        for name in below.split("."):
            if isinstance(culprit.value, dict) and name in culprit.value:
                culprit = culprit.value[name]
        key = join_key(key, below) if below else key
        raise ConfigError(str(error), key=key or None, where=culprit.where) from None
