"""Components and their options in words, read from signatures and docstrings; a network in words."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from greenedge.config.components import option_parameters
from greenedge.config.convert import Pattern, Range, join_or
from greenedge.config.docstrings import entries, summary
from greenedge.config.json_schema import Schema, annotation_schema
from greenedge.config.load import plain_value
from greenedge.config.schema import ModelConfig

_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}


@dataclass(frozen=True)
class OptionInfo:
    """An option of a component.

    Attributes:
        name: its key in a config.
        type: type and range in words: `number above 0`.
        default: its value where a config does not set it; None where it is required.
        required: whether a config must set it.
        description: from the docstring; may be empty.
        schema: the JSON Schema of its values.
    """

    name: str
    type: str
    default: Any
    required: bool
    description: str
    schema: Schema


@dataclass(frozen=True)
class ComponentInfo:
    """A component of a table.

    Attributes:
        name: as a config names it.
        description: one sentence.
        options: in the order of its signature.
    """

    name: str
    description: str
    options: tuple[OptionInfo, ...] = ()


def describe_component(name: str, function: Callable[..., Any]) -> ComponentInfo:
    """What a component is and which options it takes.

    Args:
        name: in its table.
        function: what the table holds.
    """
    hints = get_type_hints(function, include_extras=True)
    descriptions = entries(function)
    options = []
    for option, parameter in option_parameters(function).items():
        required = parameter.default is inspect.Parameter.empty
        default = None if required else plain_value(parameter.default)
        words, schema = type_words(hints[option]), annotation_schema(hints[option])
        options.append(OptionInfo(option, words, default, required, descriptions.get(option, ""), schema))
    return ComponentInfo(name, summary(function), tuple(options))


def type_words(annotation: Any) -> str:
    """An annotation in words.

    Example:
        >>> type_words(Annotated[float, Range(above=0)] | None)
        'number above 0, or null'
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limit = arguments[1]
        if isinstance(limit, Pattern):
            return limit.expected
        return f"{type_words(arguments[0])} {limit}" if isinstance(limit, Range) else type_words(arguments[0])
    if origin is Literal:
        return join_or(arguments)
    if origin in (Union, types.UnionType):
        return ", or ".join(type_words(each) for each in arguments)
    if origin is tuple:
        return _list_words(arguments)
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _list_words(arguments: tuple[Any, ...]) -> str:
    if arguments[-1] is Ellipsis:
        return f"list, each {type_words(arguments[0])}"
    items = list(dict.fromkeys(type_words(each) for each in arguments))
    return f"list of {len(arguments)}, each {items[0]}" if len(items) == 1 else f"list of: {'; '.join(items)}"


def model_summary(config: ModelConfig) -> str:
    """`resnet18 with exits after layer1 (light), layer2 (light)`."""
    exits = ", ".join(f"{exit.after} ({exit.head.name})" for exit in config.exits)
    return f"{config.backbone} with exits after {exits}" if exits else f"{config.backbone} without early exits"
