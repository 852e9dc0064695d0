"""Reads configs and checks their components: the one place where both phases of `greenedge.config` meet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenedge.augment import AUGMENTATIONS
from greenedge.config import ComponentTables, RunConfig, config_from_text, load_config
from greenedge.config.json_schema import config_schema
from greenedge.config.shipped import find_config
from greenedge.exits.confidence import CRITERIA
from greenedge.files import write_text
from greenedge.models.catalog import BACKBONE_FAMILIES
from greenedge.models.exit_heads import EXIT_HEADS
from greenedge.training.loggers import LOGGERS
from greenedge.training.losses import LOSSES
from greenedge.training.objectives import OBJECTIVES
from greenedge.training.optimizers import OPTIMIZERS
from greenedge.training.schedules import SCHEDULES

# The tables that the dataclasses of `greenedge.config.schema` name.
COMPONENT_TABLES: ComponentTables = {
    "augmentations": AUGMENTATIONS,
    "backbones": BACKBONE_FAMILIES,
    "criteria": CRITERIA,
    "heads": EXIT_HEADS,
    "loggers": LOGGERS,
    "losses": LOSSES,
    "objectives": OBJECTIVES,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
}


def read_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a config and spells out the options of all its components.

    Args:
        path: a YAML file, or the name of a config that comes with greenedge.
        overrides: texts like `train.epochs=3`, applied in order.

    Raises:
        ConfigError: there is no such config, or it is not valid; all mistakes are reported together.
    """
    return load_config(find_config(path), overrides, COMPONENT_TABLES)


def parse_config(text: str, name: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Like `read_config`, from text; `name` stands for the file in messages."""
    return config_from_text(text, name, overrides, COMPONENT_TABLES)


def build_schema() -> dict[str, Any]:
    """The JSON Schema of configs."""
    return config_schema(COMPONENT_TABLES)


def write_schema(out: Path) -> None:
    """Writes the JSON Schema of configs to a file.

    Args:
        out: replaced where it exists.
    """
    write_text(out, json.dumps(build_schema(), indent=2) + "\n")
