"""Completes `--set` keys that leave out the name of the component whose option they set."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

from greenedge.config.components import Component
from greenedge.config.convert import without_limits
from greenedge.config.nodes import Node, join_key


def full_key(root: Node, kind: type, key: str, value: Node) -> str:
    """Adds the name of the component to the key of its option, where that was left out.

    `train.optimizer.lr` is `train.optimizer.adamw.lr` where the optimizer is adamw. A key that goes on below the
    option's name, or whose value is a mapping or null, may mean another component and is returned unchanged.

    Args:
        root: the config so far.
        kind: the dataclass that it is to become.
        key: dotted.
        value: what the key is set to.
    """
    annotation, default = kind, None
    node: Node | None = root
    names = key.split(".")
    for place, name in enumerate(names):
        annotation, default = _below(annotation, name)
        node = _child(node, name)
        if without_limits(annotation) is Component:
            chosen = _component(node, default)
            option = names[place + 1 :]
            if (
                chosen is None
                or "." in chosen
                or option in ([], [chosen])
                or len(option) > 1
                or isinstance(value.value, dict | None)
            ):
                return key
            return join_key(join_key(".".join(names[: place + 1]), chosen), option[0])
    return key


def _below(annotation: Any, name: str) -> tuple[Any, Any]:
    """Finds the annotation and default of a field, or the annotation of a list's item; (None, None) without either."""
    annotation = without_limits(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        found = [_below(each, name) for each in arguments]
        return next((each for each in found if each[0] is not None), (None, None))
    if origin is tuple:
        return arguments[0], None
    fields = (
        {each.name: each for each in dataclasses.fields(annotation)} if dataclasses.is_dataclass(annotation) else {}
    )
    if annotation is Component or name not in fields:
        return None, None
    return get_type_hints(annotation, include_extras=True)[name], fields[name].default


def _child(node: Node | None, name: str) -> Node | None:
    if node is not None and isinstance(node.value, dict):
        return node.value.get(name)
    if node is not None and isinstance(node.value, list) and name.isascii() and name.isdigit():
        return node.value[int(name)] if len(name) < 10 and int(name) < len(node.value) else None
    return None


def _component(node: Node | None, default: Any) -> str | None:
    """Finds the name of the component that a node chooses, or else the default."""
    if node is None or node.value is None:
        return default.name if isinstance(default, Component) else None
    if isinstance(node.value, dict):
        return next(iter(node.value)) if len(node.value) == 1 else None
    return node.value if isinstance(node.value, str) else None
