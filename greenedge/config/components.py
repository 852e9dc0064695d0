"""Components: functions chosen by name, whose options are checked against the function's own signature.

A component is a function (or class) in a literal table. The program gives the parameters before `*` in its signature,
the user those after it; their types, ranges and defaults are read from the annotations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, get_type_hints

from greenedge.config.convert import convert_mapping, did_you_mean, type_mismatch
from greenedge.config.nodes import Node, join_key, node_of, shortened
from greenedge.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Component:
    """`name` or `{name: {option: value}}` in a config.

    Attributes:
        name: in the component's table.
        options: what the user set.
        key: the dotted key that chooses it.
        where: file and line; empty for a component made in Python.
        option_places: file and line of each option.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    key: str = field(default="", compare=False, repr=False)
    where: str = field(default="", compare=False, repr=False)
    option_places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_node(cls, node: Node, key: str) -> Component:
        """Reads a component from a config.

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
            raise ConfigError(
                f"names several components, {names}; set {key} as a whole to one", key=key, where=last.where
            )
        raise type_mismatch(node, key, "a name, or one name with its options: {name: {option: value}}")

    def plain(self) -> Any:
        """The component as it is written in a config."""
        return {self.name: dict(self.options)} if self.options else self.name


def resolve_component(component: Component, table: Mapping[str, Callable[..., T]]) -> Component:
    """The component with all its options spelled out, defaults included.

    Raises:
        ConfigError: no such name in `table`, or an option that the component's signature does not admit.
    """
    check_name(component, table)
    function = table[component.name]
    places = component.option_places
    node = Node(
        {name: node_of(value, places.get(name, component.where)) for name, value in component.options.items()},
        component.where,
    )

    options = option_parameters(function)
    hints = get_type_hints(function, include_extras=True)
    required = [name for name, parameter in options.items() if parameter.default is inspect.Parameter.empty]
    key = join_key(component.key, component.name)
    given = convert_mapping(node, {name: hints[name] for name in options}, required, key)

    defaults = {name: parameter.default for name, parameter in options.items() if name not in given}
    return replace(component, options={name: (defaults | given)[name] for name in options})


def check_name(component: Component, table: Mapping[str, Any], others: str = "") -> None:
    """Looks a component's name up.

    Args:
        component: whose name is looked up.
        table: the names.
        others: what may stand in place of a name, in words, where the table does not hold everything.

    Raises:
        ConfigError: no such name in `table`.
    """
    if component.name not in table:
        known = f"known are {', '.join(table)}" + (f", and {others}" if others else "")
        hint = did_you_mean(component.name, table) or known
        message = f"there is no {shortened(component.name)!r}; {hint}"
        raise ConfigError(message, key=component.key or None, where=component.where or None)


def instantiate(component: Component, table: Mapping[str, Callable[..., T]], *context: Any) -> T:
    """Calls the component with what the program gives and the user's options.

    Raises:
        ConfigError: as `resolve_component`, or the component itself refused its options (a ValueError).
    """
    resolved = resolve_component(component, table)
    try:
        return table[component.name](*context, **resolved.options)
    except ValueError as error:
        key = join_key(component.key, component.name)
        raise ConfigError(str(error), key=key, where=component.where or None) from None


def instantiate_partial(component: Component, table: Mapping[str, Callable[..., T]]) -> Callable[..., T]:
    """The component as a function of what the program gives, with the user's options filled in.

    Raises:
        ConfigError: as `resolve_component`.
    """
    options = resolve_component(component, table).options
    return partial(table[component.name], **options)


def option_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a component: those that the user sets."""
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
