"""Configs: YAML files checked strictly and turned into frozen dataclasses."""

from greenedge.config.components import Component, instantiate, instantiate_partial, resolve_component
from greenedge.config.load import config_from_text, config_to_text, load_config
from greenedge.config.schema import (
    DataConfig,
    ExitConfig,
    ModelConfig,
    RunConfig,
    SweepConfig,
    TrainConfig,
)

__all__ = [
    "Component",
    "DataConfig",
    "ExitConfig",
    "ModelConfig",
    "RunConfig",
    "SweepConfig",
    "TrainConfig",
    "config_from_text",
    "config_to_text",
    "instantiate",
    "instantiate_partial",
    "load_config",
    "resolve_component",
]
