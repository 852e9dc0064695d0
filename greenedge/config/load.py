"""From a YAML file and `--set` overrides to a `RunConfig`, and back to YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from greenedge.config.components import Component
from greenedge.config.convert import convert
from greenedge.config.nodes import LARGEST_TEXT, Loader, parse_override, parse_yaml, with_override
from greenedge.config.overrides import full_key
from greenedge.config.schema import RunConfig
from greenedge.errors import ConfigError


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a config.

    Args:
        path: a YAML file.
        overrides: texts like `train.epochs=3`, applied in order.

    Raises:
        ConfigError: the file cannot be read, or says something that a config may not say.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigError("is no file; a config is a YAML file", where=str(path))
        if path.stat().st_size > 4 * LARGEST_TEXT:
            raise ConfigError(f"is too long for a config: {path.stat().st_size:,} bytes", where=str(path))
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text; a config is a YAML file", where=str(path)) from None
    return config_from_text(text, str(path), overrides)


def config_from_text(text: str, name: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Like `load_config`, from text; `name` stands for the file in messages."""
    root = parse_yaml(text, name)
    for override in overrides:
        key, value = parse_override(override)
        root = with_override(root, full_key(root, RunConfig, key, value), value)
    config: RunConfig = convert(root, RunConfig, "")
    return dataclasses.replace(config, origins=dict(root.origins()))


def config_to_text(config: RunConfig) -> str:
    """The config as YAML that `config_from_text` reads back to an equal one."""
    return yaml.dump(_plain(config), Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that the loader would otherwise read as numbers."""


_Dumper.yaml_implicit_resolvers = Loader.yaml_implicit_resolvers


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return _plain(value.plain())
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
