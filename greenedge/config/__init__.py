"""Configs: YAML files, read in two phases.

Phase 1 turns YAML and `--set` overrides into a typed `RunConfig`. It needs nothing but the dataclasses of `schema.py`:
names, types and ranges of all keys are checked, and every value remembers the file and line that set it (`nodes.py`,
`convert.py`, `overrides.py`). It imports no torch.

Phase 2 looks up what a config names (heads, losses, optimizers, augmentations, ...) in the tables of the packages that
hold them, and checks each component's options against its signature (`choices.py`, `components.py`). The tables are
handed in, because they import torch; `greenedge.training.configs` has them all.

`load_config` runs phase 1, and phase 2 as well where it is given tables. Mistakes of both phases are reported together.

    config = load_config(Path("configs/quickstart.yaml"), ["train.epochs=2"])
    config.train.epochs  # 2
"""

from greenedge.config.choices import ComponentTables
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
    "ComponentTables",
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
