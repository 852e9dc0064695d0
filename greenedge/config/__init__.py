"""Recipes: YAML files checked strictly and turned into frozen dataclasses."""

from greenedge.config.load import config_from_text, config_to_text, load_config
from greenedge.config.parts import Part, bind_part, build_part, resolve_part
from greenedge.config.schema import (
    DataConfig,
    ExitConfig,
    ModelConfig,
    RunConfig,
    SweepConfig,
    TrainConfig,
)

__all__ = [
    "DataConfig",
    "ExitConfig",
    "ModelConfig",
    "Part",
    "RunConfig",
    "SweepConfig",
    "TrainConfig",
    "bind_part",
    "build_part",
    "config_from_text",
    "config_to_text",
    "load_config",
    "resolve_part",
]
