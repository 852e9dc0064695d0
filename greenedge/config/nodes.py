"""YAML text as a tree in which every value remembers the file and line that said it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml

from greenedge.errors import ConfigError

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Node:
    """One YAML value: a scalar, a list of nodes, or a mapping from text to nodes."""

    value: Scalar | list[Node] | dict[str, Node]
    where: str

    def plain(self) -> Any:
        """The value without its places: scalars, lists and dicts."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def origins(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Pairs (dotted key, place) of this value and all below it."""
        yield prefix, self.where
        children: Iterable[tuple[object, Node]] = ()
        if isinstance(self.value, dict):
            children = self.value.items()
        elif isinstance(self.value, list):
            children = enumerate(self.value)
        for name, child in children:
            yield from child.origins(join_key(prefix, str(name)))


class Loader(yaml.SafeLoader):
    """SafeLoader with the numbers of YAML 1.2: `1e-3` is one, `010` is ten, and `1:30` and dates are text."""


_TAG = "tag:yaml.org,2002:"
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.removeprefix(_TAG) not in ("float", "int", "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(_TAG + "int", re.compile(r"[-+]?[0-9][0-9_]*$"), list("-+0123456789"))
Loader.add_constructor(_TAG + "int", lambda _, node: int(node.value.replace("_", "")))
Loader.add_implicit_resolver(
    _TAG + "float",
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def parse_yaml(text: str, name: str) -> Node:
    """Parses one YAML document; `name` stands for the file in places.

    Raises:
        ConfigError: not YAML, a key given twice, or a key that is not text.
    """
    try:
        node = _compose(text, lambda mark: f"{name}:{mark.line + 1}", "")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        raise ConfigError(f"not valid YAML: {problem}", where=f"{name}:{line + 1}") from None
    except RecursionError:
        raise ConfigError("nested too deeply, or within itself", where=f"{name}:1") from None
    return node or Node({}, f"{name}:1")


def parse_override(text: str) -> tuple[str, Node]:
    """Splits `train.epochs=3` into its dotted key and its value, parsed as YAML.

    Raises:
        ConfigError: there is no `=`, no key, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    place = f"--set {text}"
    if not equals or not key.strip():
        raise ConfigError("expected KEY=VALUE, such as train.epochs=3", where=place)
    try:
        node = _compose(value, lambda _: place, key.strip())
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"the value {value!r} is not valid YAML", where=place) from None
    return key.strip(), node or Node(None, place)


def with_override(root: Node, key: str, value: Node) -> Node:
    """A copy of `root` in which the dotted `key` holds `value`; list items are named by their number.

    Raises:
        ConfigError: the path runs through a list item that does not exist, or through a plain value.
    """
    return _replaced(root, key.split("."), value, "")


def join_key(prefix: str, name: str) -> str:
    """`train` and `epochs` become `train.epochs`."""
    return f"{prefix}.{name}" if prefix else name


def _replaced(node: Node, path: list[str], value: Node, prefix: str) -> Node:
    if not path:
        return value
    name, rest = path[0], path[1:]
    key = join_key(prefix, name)
    if isinstance(node.value, list):
        if not (name.isascii() and name.isdigit()) or int(name) >= len(node.value):
            raise ConfigError(
                f"{prefix} is a list of {len(node.value)}; give an item's number, counted from 0",
                key=key,
                where=value.where,
            )
        items = list(node.value)
        items[int(name)] = _replaced(items[int(name)], rest, value, key)
        return replace(node, value=items)
    children: dict[str, Node]
    if isinstance(node.value, dict):
        children = dict(node.value)
    elif node.value is None:
        children = {}
    elif isinstance(node.value, str) and node.value == name:
        children = {name: Node(None, node.where)}  # the part `adam` is short for `{adam: {}}`
    else:
        raise ConfigError(
            f"{prefix} is {node.value!r}, which has no keys; set {prefix} as a whole", key=key, where=value.where
        )
    children[name] = _replaced(children.get(name, Node(None, value.where)), rest, value, key)
    return Node(children, node.where)


def _compose(text: str, place: Callable[[yaml.Mark], str], key: str) -> Node | None:
    """The document's root, which stands at `key`, or None for no document; `place` says where a mark stands."""
    loader = Loader(text)
    try:
        root = loader.get_single_node()
        return None if root is None else _convert(loader, root, place, key)
    finally:
        loader.dispose()


def _convert(loader: Loader, node: yaml.Node, place: Callable[[yaml.Mark], str], key: str) -> Node:
    where = place(node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        items = [_convert(loader, child, place, join_key(key, str(i))) for i, child in enumerate(node.value)]
        return Node(items, where)
    if not isinstance(node, yaml.MappingNode):
        return Node(_scalar(loader, node, key, where), where)
    children: dict[str, Node] = {}
    for key_node, value_node in node.value:
        where_key = place(key_node.start_mark)
        name = _scalar(loader, key_node, key, where_key) if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(name, str):
            raise ConfigError("keys must be plain text", key=key or None, where=where_key)
        child_key = join_key(key, name)
        if name in children:
            raise ConfigError(
                f"given twice (first at {children[name].where}); keep one", key=child_key, where=where_key
            )
        children[name] = replace(_convert(loader, value_node, place, child_key), where=where_key)
    return Node(children, where)


def _scalar(loader: Loader, node: yaml.Node, key: str, where: str) -> Scalar:
    try:
        value = loader.construct_object(node)
    except (ValueError, LookupError, AttributeError):  # what YAML's own constructors raise on `!!int x`
        raise ConfigError(f"{node.value!r} is not a value that can be read", key=key or None, where=where) from None
    if isinstance(value, str | int | float | bool | None):
        return value
    return str(node.value)
