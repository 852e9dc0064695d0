"""Parts: things chosen by name, whose options are checked against the part's own signature.

A part is a function (or class) in a literal table. What stands before `*` in its signature is given by the
program; what stands after it is the user's, with types, ranges and defaults read from the annotations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, get_type_hints

from greenedge.config.convert import convert_mapping, did_you_mean, type_mismatch
from greenedge.config.nodes import Node, join_key
from greenedge.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Component:
    """`name` or `{name: {option: value}}` in a config.

    Attributes:
        name: in the part's table.
        options: what the user set.
        key: the dotted key it stands at.
        where: file and line, or nothing for a part made in Python.
        option_places: likewise, of each option.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    key: str = field(default="", compare=False, repr=False)
    where: str = field(default="", compare=False, repr=False)
    option_places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_node(cls, node: Node, key: str) -> Component:
        """Reads a part from a config.

        Raises:
            ConfigError: neither a name nor a mapping from one name to its options.
        """
        if isinstance(node.value, str):
            return cls(node.value, {}, key, node.where)
        if isinstance(node.value, dict) and len(node.value) == 1:
            (name, options), *_ = node.value.items()
            children = {} if options.value is None else options.value
            if isinstance(children, dict):
                places = {option: child.where for option, child in children.items()}
                return cls(name, {o: child.plain() for o, child in children.items()}, key, options.where, places)
        if isinstance(node.value, dict) and len(node.value) > 1:
            *_, last = node.value.values()
            names = " and ".join(node.value)
            raise ConfigError(f"names several parts, {names}; set {key} as a whole to one", key=key, where=last.where)
        raise type_mismatch(node, key, "a name, or one name with its options: {name: {option: value}}")

    def plain(self) -> Any:
        """As it is written in a config."""
        return {self.name: dict(self.options)} if self.options else self.name


def resolve_component(part: Component, table: Mapping[str, Callable[..., T]]) -> Component:
    """The part with all its options spelled out, defaults included.

    Raises:
        ConfigError: no such name in `table`, or an option that the part's signature does not admit.
    """
    places = part.option_places
    node = Node({n: _node(value, places.get(n, part.where)) for n, value in part.options.items()}, part.where)
    if part.name not in table:
        hint = did_you_mean(part.name, table) or f"known are {', '.join(table)}"
        raise ConfigError(f"there is no {part.name!r}; {hint}", key=part.key or None, where=part.where or None)
    options = option_parameters(table[part.name])
    hints = get_type_hints(table[part.name], include_extras=True)
    required = [name for name, parameter in options.items() if parameter.default is inspect.Parameter.empty]
    given = convert_mapping(node, {name: hints[name] for name in options}, required, join_key(part.key, part.name))
    defaults = {name: parameter.default for name, parameter in options.items() if name not in given}
    return replace(part, options={name: (defaults | given)[name] for name in options})


def instantiate(part: Component, table: Mapping[str, Callable[..., T]], *context: Any) -> T:
    """Calls the part with what the program gives and the user's options.

    Raises:
        ConfigError: as `resolve_component`, or the part itself refused its options (a ValueError).
    """
    resolved = resolve_component(part, table)
    try:
        return table[part.name](*context, **resolved.options)
    except ValueError as error:
        key = join_key(part.key, part.name)
        raise ConfigError(str(error), key=key, where=part.where or None) from None


def instantiate_partial(part: Component, table: Mapping[str, Callable[..., T]]) -> Callable[..., T]:
    """The part as a function of what the program gives, with the user's options filled in.

    Raises:
        ConfigError: as `resolve_component`.
    """
    options = resolve_component(part, table).options
    return partial(table[part.name], **options)


def option_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a part: those the user sets."""
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _node(value: Any, where: str) -> Node:
    if isinstance(value, Mapping):
        return Node({str(name): _node(child, where) for name, child in value.items()}, where)
    if isinstance(value, list | tuple):
        return Node([_node(child, where) for child in value], where)
    return Node(value, where)
