"""Reads a YAML file and `--set` overrides into a `RunConfig`, and writes it back as YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from greenedge.config.choices import ComponentTables, find_choices, resolve_components
from greenedge.config.components import Component
from greenedge.config.convert import convert
from greenedge.config.mistakes import Mistakes
from greenedge.config.nodes import LARGEST_TEXT, Loader, parse_override, parse_yaml, with_override
from greenedge.config.overrides import full_key
from greenedge.config.schema import RunConfig
from greenedge.errors import ConfigError


def load_config(path: Path, overrides: Sequence[str] = (), tables: ComponentTables | None = None) -> RunConfig:
    """Reads a config.

    Args:
        path: a YAML file.
        overrides: texts like `train.epochs=3`, applied in order.
        tables: by their names; None: phase 1 only.

    Raises:
        ConfigError: the file cannot be read or is not a valid config; all mistakes are reported together.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigError("is not a regular file; a config is a YAML file", where=str(path))
        if path.stat().st_size > 4 * LARGEST_TEXT:
            raise ConfigError(f"is too long for a config: {path.stat().st_size:,} bytes", where=str(path))
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text; a config is a YAML file", where=str(path)) from None
    return config_from_text(text, str(path), overrides, tables)


def config_from_text(
    text: str, name: str, overrides: Sequence[str] = (), tables: ComponentTables | None = None
) -> RunConfig:
    """Like `load_config`, from text; `name` stands for the file in messages."""
    mistakes = Mistakes(name)
    root = parse_yaml(text, name, mistakes)
    for override in overrides:
        with mistakes.collect():
            key, value = parse_override(override)
            root = with_override(root, full_key(root, RunConfig, key, value), value)

    # Phase 2 does not wait for phase 1: a mistake there must not hide one in the options of a component.
    config: RunConfig | None = None
    with mistakes.collect():
        config = convert(root, RunConfig, "")
    if tables is not None:
        for choice in find_choices(root, RunConfig):
            with mistakes.collect():
                choice.check(tables)
    mistakes.raise_all()

    config = cast(RunConfig, config)
    if tables is not None:
        config = resolve_components(config, tables)
    return dataclasses.replace(config, origins=dict(root.origins()))


def config_to_text(config: RunConfig) -> str:
    """Writes a config as YAML, which `config_from_text` reads back as an equal one."""
    return yaml.dump(plain_value(config), Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    """Writes YAML in which texts that the loader would read as numbers are quoted."""


_Dumper.yaml_implicit_resolvers = Loader.yaml_implicit_resolvers


def plain_value(value: Any) -> Any:
    """A config, or a value in it, as plain mappings, lists and scalars."""
    if isinstance(value, Component):
        return plain_value(value.plain())
    if dataclasses.is_dataclass(value):
        return {f.name: plain_value(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare}
    if isinstance(value, tuple | list):
        return [plain_value(item) for item in value]
    if isinstance(value, dict):
        return {name: plain_value(item) for name, item in value.items()}
    return value
