"""Parses YAML text into a tree in which every value remembers the file and line that set it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import yaml

from greenedge.config.mistakes import Mistakes
from greenedge.errors import ConfigError

Scalar = str | int | float | bool | None

# A config holds what a person decided, a few hundred values. With these limits any text is read within a second.
LARGEST_TEXT = 100_000  # characters
_MOST_NODES = 20_000  # counted with every alias written out
_DEEPEST = 50


@dataclass(frozen=True)
class Node:
    """One YAML value: a scalar, a list of nodes, or a mapping from text to nodes."""

    value: Scalar | list[Node] | dict[str, Node]
    where: str

    def plain(self) -> Any:
        """Gives the value without its places, as scalars, lists and dicts."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def origins(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Yields (dotted key, place) of this value and of all below it."""
        yield prefix, self.where
        children: Iterable[tuple[object, Node]] = ()
        if isinstance(self.value, dict):
            children = self.value.items()
        elif isinstance(self.value, list):
            children = enumerate(self.value)
        for name, child in children:
            yield from child.origins(join_key(prefix, str(name)))


class Loader(yaml.SafeLoader):
    """SafeLoader with the numbers of YAML 1.2: `1e-3` is a number, `010` is ten, `1:30` and dates are text."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Composes a node as PyYAML does, to a limited depth."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise RecursionError
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


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


def parse_yaml(text: str, name: str, mistakes: Mistakes | None = None) -> Node:
    """Parses one YAML document.

    Args:
        text: the document.
        name: of the file, for places.
        mistakes: takes the mistakes after which reading can go on (a key given twice, a key that is not text). None:
            they are raised.

    Raises:
        ConfigError: not YAML, more than a config may hold, or a mistake that nobody collects.
    """
    found = Mistakes(name) if mistakes is None else mistakes
    if len(text) > LARGEST_TEXT:
        raise ConfigError(
            f"is too long for a config: {len(text):,} characters, of at most {LARGEST_TEXT:,}", where=name
        )
    try:
        node = _compose(text, lambda mark: f"{name}:{mark.line + 1}", "", found)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        raise ConfigError(f"not valid YAML: {problem}", where=f"{name}:{line + 1}") from None
    except RecursionError:
        raise ConfigError("nested too deeply, or within itself", where=f"{name}:1") from None
    if mistakes is None:
        found.raise_all()
    return node or Node({}, f"{name}:1")


def parse_override(text: str) -> tuple[str, Node]:
    """Splits `train.epochs=3` into its dotted key and its value, parsed as YAML.

    Raises:
        ConfigError: the `=` or the key is missing, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    place = f"--set {shortened(text)}"
    if not equals or not key.strip():
        raise ConfigError("expected KEY=VALUE, such as train.epochs=3", where=place)
    if len(text) > LARGEST_TEXT or key.count(".") >= _DEEPEST:
        raise ConfigError("is too long for a config", where=place)
    mistakes = Mistakes()
    try:
        node = _compose(value, lambda _: place, key.strip(), mistakes)
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(f"the value {shortened(repr(value))} is not valid YAML", where=place) from None
    mistakes.raise_all()
    return key.strip(), node or Node(None, place)


def with_override(root: Node, key: str, value: Node) -> Node:
    """Copies `root` with `value` at the dotted `key`; list items are named by their number.

    Raises:
        ConfigError: the path runs through a list item that does not exist, or through a plain value.
    """
    return _replaced(root, key.split("."), value, "")


def shortened(text: str) -> str:
    """Cuts the middle out of a text of more than 120 characters."""
    return text if len(text) <= 120 else f"{text[:80]}...{text[-37:]}"


def join_key(prefix: str, name: str) -> str:
    """Joins dotted keys: `train` and `epochs` become `train.epochs`."""
    return f"{prefix}.{name}" if prefix else name


def _replaced(node: Node, path: list[str], value: Node, prefix: str) -> Node:
    if not path:
        return value
    name, rest = path[0], path[1:]
    key = join_key(prefix, name)
    if isinstance(node.value, list):
        if not re.fullmatch("[0-9]{1,9}", name) or int(name) >= len(node.value):
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
        children = {name: Node(None, node.where)}  # `adam` is short for `{adam: {}}`
    else:
        raise ConfigError(
            f"{prefix} is {shortened(repr(node.value))}, which has no keys; set {prefix} as a whole",
            key=key,
            where=value.where,
        )
    children[name] = _replaced(children.get(name, Node(None, value.where)), rest, value, key)
    return Node(children, node.where)


def _compose(text: str, place: Callable[[yaml.Mark], str], key: str, mistakes: Mistakes) -> Node | None:
    """Reads a document; None where it is empty.

    Args:
        text: of the document.
        place: turns a mark of PyYAML's into file and line.
        key: the dotted key of the document's root.
        mistakes: takes the mistakes after which reading can go on.

    Raises:
        yaml.YAMLError: it is not YAML.
        ConfigError: it holds too much, or a value that cannot be read.
    """
    loader = Loader(text)
    try:
        root = loader.get_single_node()
        return None if root is None else _Converter(loader, place, mistakes).convert(root, key)
    finally:
        loader.dispose()


class _Converter:
    """Turns PyYAML's graph, in which aliases share their node, into a tree of limited size."""

    def __init__(self, loader: Loader, place: Callable[[yaml.Mark], str], mistakes: Mistakes) -> None:
        self._loader, self._place, self._mistakes = loader, place, mistakes
        self._nodes = count(1)

    def convert(self, node: yaml.Node, key: str, depth: int = 0) -> Node:
        """Converts a node and all below it; `key` is the node's own."""
        where = self._place(node.start_mark)
        if depth > _DEEPEST:  # only an alias within itself is that deep
            raise RecursionError
        if next(self._nodes) > _MOST_NODES:
            raise ConfigError(f"holds more than {_MOST_NODES:,} values, each alias (*name) written out", where=where)
        if isinstance(node, yaml.SequenceNode):
            items = [self.convert(child, join_key(key, str(i)), depth + 1) for i, child in enumerate(node.value)]
            return Node(items, where)
        if isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node, key, depth), where)
        return Node(_scalar(self._loader, node, key, where), where)

    def _mapping(self, node: yaml.MappingNode, key: str, depth: int) -> dict[str, Node]:
        children: dict[str, Node] = {}
        for key_node, value_node in node.value:
            where = self._place(key_node.start_mark)
            name = _scalar(self._loader, key_node, key, where) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(name, str):
                self._mistakes.add(ConfigError("keys must be plain text", key=key or None, where=where))
                continue
            child_key = join_key(key, name)
            child = replace(self.convert(value_node, child_key, depth + 1), where=where)
            if name in children:
                first = children[name].where
                self._mistakes.add(ConfigError(f"given twice (first at {first}); keep one", key=child_key, where=where))
                continue
            children[name] = child
        return children


def _scalar(loader: Loader, node: yaml.Node, key: str, where: str) -> Scalar:
    try:
        value = loader.construct_object(node)
    # These are what YAML's own constructors raise on `!!int x`.
    except (ValueError, LookupError, AttributeError, ArithmeticError):
        shown = shortened(repr(node.value))
        raise ConfigError(f"{shown} is not a value that can be read", key=key or None, where=where) from None
    if isinstance(value, str | int | float | bool | None):
        return value
    return str(node.value)


def node_of(value: Any, where: str = "") -> Node:
    """The node of plain mappings, lists, tuples and scalars, all at one place."""
    if isinstance(value, Mapping):
        return Node({str(name): node_of(child, where) for name, child in value.items()}, where)
    if isinstance(value, list | tuple):
        return Node([node_of(child, where) for child in value], where)
    return Node(value, where)
