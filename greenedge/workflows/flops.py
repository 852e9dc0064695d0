"""`greenedge flops`: what every exit of a config costs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from greenedge.config.describe import model_summary
from greenedge.cost.flops import count_costs
from greenedge.cost.table import NetworkCost
from greenedge.data.manifest import MANIFEST
from greenedge.data.prepared import open_prepared
from greenedge.models.build import build_model
from greenedge.reporting.blocks import CommandResult, write_result
from greenedge.reporting.costs import present_costs
from greenedge.training.completion import complete_config
from greenedge.training.configs import read_config

_DEFAULT_CLASSES = 200  # TinyImageNet's

_log = logging.getLogger("greenedge")


def count_config(
    config_path: Path, overrides: Sequence[str], num_classes: int | None, out: Path | None
) -> CommandResult[NetworkCost]:
    """Counts the network of a config; no data and no weights are needed.

    Args:
        config_path: the config.
        overrides: texts like `data.image_size=128`.
        num_classes: outputs; None: those of the config's data set where it exists, else 200.
        out: a folder for flops.json and flops.csv; None: write nothing.

    Raises:
        GreenedgeError: the config cannot be used.
    """
    config = read_config(config_path, overrides)
    path = Path(config.data.path)
    if (path / MANIFEST).is_file():
        config = complete_config(config)
        num_classes = num_classes or len(open_prepared(path).classes)
    elif num_classes is None:
        num_classes = _DEFAULT_CLASSES
        _log.warning(
            "note: %s holds no prepared data set, so %d classes are assumed; --classes says otherwise",
            path,
            num_classes,
        )
    cost = count_costs(build_model(config, num_classes))
    heads = [*(exit.head.name for exit in config.model.exits), "final"]
    model, size = model_summary(config.model), config.data.input_size
    result = present_costs(model, heads, cost, image_size=size, classes=num_classes)
    return result if out is None else write_result(result, out, "flops")
