"""The config as a JSON Schema, from which editors complete, explain and check keys.

The schema is made from what the loader reads as well: the annotations of the dataclasses and of the components. It
refuses nothing that the loader accepts. Rules between keys are the loader's alone.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from greenedge.config.choices import ComponentTables
from greenedge.config.components import Component, option_parameters
from greenedge.config.convert import Pattern, Range, Table
from greenedge.config.docstrings import entries, summary
from greenedge.config.load import plain_value
from greenedge.config.schema import RunConfig

Schema = dict[str, Any]

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}


def config_schema(tables: ComponentTables) -> Schema:
    """The JSON Schema (draft 2020-12) of a config.

    Args:
        tables: of the components, by their names.
    """
    choices = {name: _choices(name, table) for name, table in tables.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "greenedge config",
        **annotation_schema(RunConfig),
        "$defs": choices,
    }


def annotation_schema(annotation: Any) -> Schema:
    """The schema of the values that `convert` takes for an annotation; tables are referred to below `$defs`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _limited(*arguments)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [annotation_schema(each) for each in arguments]}
    if origin is tuple:
        return _list(arguments)
    if origin is dict:
        return {"type": "object", "additionalProperties": annotation_schema(arguments[1])}
    if dataclasses.is_dataclass(annotation):
        return _dataclass(annotation)
    return {} if annotation is Any else {"type": _TYPES[annotation]}


def options_schema(function: Callable[..., Any]) -> Schema:
    """The schema of a component's options."""
    hints = get_type_hints(function, include_extras=True)
    parameters = option_parameters(function)
    defaults = {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty}
    return _object({name: hints[name] for name in parameters}, defaults, function)


def _limited(kind: Any, limit: Any) -> Schema:
    if isinstance(limit, Table):
        return {"$ref": f"#/$defs/{limit.name}"}
    schema = annotation_schema(kind)
    if isinstance(limit, Pattern):
        return schema | {"pattern": f"^({limit.regex})$"}
    if isinstance(limit, Range):
        named = {
            "minimum": limit.minimum,
            "maximum": limit.maximum,
            "exclusiveMinimum": limit.above,
            "exclusiveMaximum": limit.below,
        }
        return schema | {name: number for name, number in named.items() if number is not None}
    return schema


def _list(arguments: tuple[Any, ...]) -> Schema:
    if arguments[-1] is Ellipsis:
        return {"type": "array", "items": annotation_schema(arguments[0])}
    items = [annotation_schema(each) for each in arguments]
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}


def _dataclass(kind: Any) -> Schema:
    fields = [field for field in dataclasses.fields(kind) if field.init and field.compare]
    hints = get_type_hints(kind, include_extras=True)
    defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    return _object({field.name: hints[field.name] for field in fields}, defaults, kind)


def _object(hints: Mapping[str, Any], defaults: Mapping[str, Any], documented: Any) -> Schema:
    """A mapping with the given keys and no others; those without a default are required."""
    descriptions = entries(documented)
    properties = {name: annotation_schema(hint) for name, hint in hints.items()}
    for name, schema in properties.items():
        if name in descriptions:
            schema["description"] = descriptions[name]
        if name in defaults:
            schema["default"] = plain_value(defaults[name])

    required = [name for name in hints if name not in defaults]
    # The loader reads a key with nothing after it (null) as an empty mapping.
    kind: Schema = {"type": "object", "required": required} if required else {"type": ["object", "null"]}
    return kind | {"description": summary(documented), "properties": properties, "additionalProperties": False}


def _choices(name: str, table: Mapping[str, Any]) -> Schema:
    """The schema of `name`, or of `{name: {option: value}}`, for the names of a table."""
    marks = {mark.name: (kind, mark) for kind, mark in _marks(RunConfig)}
    kind, mark = marks[name]
    if kind is not Component:
        others = [{"type": "string", "pattern": f"^{mark.prefix}"}] if mark.prefix else []
        return {"anyOf": [{"enum": list(table)}, *others]}

    options = {each: options_schema(function) for each, function in table.items()}
    bare = [
        {"const": each, "description": schema["description"]}
        for each, schema in options.items()
        if "required" not in schema
    ]
    one = {"type": "object", "properties": options, "additionalProperties": False}
    return {"anyOf": [*bare, one | {"minProperties": 1, "maxProperties": 1}]}


def _marks(annotation: Any) -> Collection[tuple[Any, Table]]:
    """The tables that an annotation refers to, each with the type of the value that names one of its entries."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        found = [(arguments[0], each) for each in arguments[1:] if isinstance(each, Table)]
        return found or _marks(arguments[0])
    if dataclasses.is_dataclass(annotation) and annotation is not Component:
        arguments = tuple(get_type_hints(annotation, include_extras=True).values())
    return [mark for each in arguments for mark in _marks(each)]
