"""`greenedge lr-range`: which learning rates a config can be trained at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from greenedge.reporting.blocks import CommandResult, write_result
from greenedge.reporting.lr_range import present_lr_range
from greenedge.training.completion import complete_config
from greenedge.training.configs import read_config
from greenedge.training.lr_range import LrRange, RateRange, check_range_test, find_lr_range
from greenedge.training.run import build_run


def lr_range(
    config_path: Path, overrides: Sequence[str], wanted: RateRange, out: Path | None = None
) -> CommandResult[LrRange]:
    """Trains a config's network for some steps with rising rates, and writes what its loss did.

    Args:
        config_path: the config.
        overrides: texts like `train.batch_size=64`.
        wanted: the rates.
        out: folder for the results; None: `runs/NAME-lr-range`. No run is made there, and none is changed.

    Raises:
        GreenedgeError: something in the config, the data or the weights cannot be used.
    """
    folder = out or Path("runs") / f"{config_path.stem}-lr-range"
    config = read_config(config_path, overrides)
    check_range_test(config)
    run = build_run(complete_config(config), folder, pretrained=True)
    return write_result(present_lr_range(find_lr_range(run, wanted), run.config), folder, "lr-range")
