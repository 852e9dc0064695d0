"""Phase 2 of reading a config: the names that it chooses are looked up in the tables of other packages.

The dataclasses of `schema.py` mark a key whose value is a name with `Table("losses")`. The tables themselves are given
by the caller, because they import torch.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from greenedge.config.components import Component, check_name, resolve_component
from greenedge.config.convert import Table
from greenedge.config.nodes import Node, join_key
from greenedge.errors import ConfigError

# The name of a table (as in `Table`) -> the names in it and what they stand for.
ComponentTables = Mapping[str, Mapping[str, Any]]
D = TypeVar("D")


@dataclasses.dataclass(frozen=True)
class Choice:
    """A name that a config chooses from a table.

    Attributes:
        component: the name, and the options where the table holds components.
        table: where the name is looked up.
        has_options: whether the table holds components; else it is a table of mere names.
    """

    component: Component
    table: Table
    has_options: bool

    def check(self, tables: ComponentTables) -> None:
        """Looks the name up and checks its options.

        Raises:
            ConfigError: there is no such name or option, or an option has an invalid value.
        """
        if self.table.prefix and self.component.name.startswith(self.table.prefix):
            return
        table = tables[self.table.name]
        for name, sentence in self.table.refused:
            if self.component.name == name and name not in table:
                raise ConfigError(sentence, key=self.component.key or None, where=self.component.where or None)
        if self.has_options:
            resolve_component(self.component, table)
        else:
            check_name(self.component, table, f"{self.table.prefix}NAME" if self.table.prefix else "")


def find_choices(node: Node, annotation: Any, key: str = "") -> Iterator[Choice]:
    """All choices in and below a node that is to become `annotation`.

    What cannot be converted is passed over: phase 1 reports it.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        tables = [each for each in arguments[1:] if isinstance(each, Table)]
        if tables:
            yield from _choice(node, arguments[0], tables[0], key)
        else:
            yield from find_choices(node, arguments[0], key)
    elif origin in (Union, types.UnionType):
        for each in arguments:
            yield from find_choices(node, each, key)
    elif origin is tuple and arguments[-1] is Ellipsis and isinstance(node.value, list):
        for index, item in enumerate(node.value):
            yield from find_choices(item, arguments[0], join_key(key, str(index)))
    elif dataclasses.is_dataclass(annotation) and isinstance(node.value, dict):
        hints = get_type_hints(annotation, include_extras=True)
        for name, child in node.value.items():
            if name in hints:
                yield from find_choices(child, hints[name], join_key(key, name))


def resolve_components(config: D, tables: ComponentTables) -> D:
    """The config with the options of all its components spelled out, defaults included.

    Args:
        config: a dataclass of `schema.py`.
        tables: by their names.

    Raises:
        ConfigError: an unknown component, or an invalid option.
    """
    hints = get_type_hints(type(config), include_extras=True)
    changed = {
        field.name: _resolved(getattr(config, field.name), hints[field.name], tables)
        for field in dataclasses.fields(config)  # type: ignore[arg-type]
        if field.compare
    }
    return dataclasses.replace(config, **changed)  # type: ignore[type-var]


def _resolved(value: Any, annotation: Any, tables: ComponentTables) -> Any:
    arguments = get_args(annotation)
    if isinstance(value, Component):
        return resolve_component(value, tables[next(each.name for each in arguments if isinstance(each, Table))])
    if isinstance(value, tuple) and get_origin(annotation) is tuple:
        return tuple(_resolved(each, arguments[0], tables) for each in value)
    if dataclasses.is_dataclass(value):
        return resolve_components(value, tables)
    return value


def _choice(node: Node, kind: Any, table: Table, key: str) -> Iterator[Choice]:
    if kind is Component:
        try:
            component = Component.from_node(node, key)
        except ConfigError:
            return
        yield Choice(component, table, has_options=True)
    elif isinstance(node.value, str):
        yield Choice(Component(node.value, {}, key, node.where), table, has_options=False)
