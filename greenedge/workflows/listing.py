"""`greenedge list`: what a config can choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from greenedge.config.describe import ComponentInfo, describe_component
from greenedge.config.shipped import ShippedConfig, describe_configs
from greenedge.models.catalog import ANY_TIMM, BackboneInfo, describe_backbones
from greenedge.reporting.blocks import CommandResult
from greenedge.reporting.listing import (
    present_backbones,
    present_blocks,
    present_components,
    present_configs,
    present_criteria,
)

if TYPE_CHECKING:
    from greenedge.exits.confidence import Criterion
    from greenedge.models.blocks import BlockInfo

# Nothing here imports torch at once: backbones and configs are listed without it.


def list_components(table: str) -> CommandResult[tuple[ComponentInfo, ...]]:
    """The components of a table in `COMPONENT_TABLES`, such as `heads`, with their options."""
    from greenedge.training.configs import COMPONENT_TABLES

    return present_components([describe_component(name, each) for name, each in COMPONENT_TABLES[table].items()])


def list_backbones() -> CommandResult[list[BackboneInfo]]:
    """The backbones, by family."""
    return present_backbones(describe_backbones(), ANY_TIMM)


def list_blocks(backbone: str, image_size: int, stem: str) -> CommandResult[tuple[BlockInfo, ...]]:
    """The blocks of a backbone, with their output for images of `image_size` pixels per side.

    Raises:
        ConfigError: there is no such backbone, or it has no such stem.
        UsageError: the images are too small for it.
    """
    from greenedge.models.blocks import describe_blocks

    return present_blocks(describe_blocks(backbone, image_size, stem), image_size)


def list_criteria() -> CommandResult[Mapping[str, Criterion]]:
    """The criteria that thresholds are compared with."""
    from greenedge.exits.confidence import CRITERIA, GAIN
    from greenedge.exits.gain import gain_criterion

    return present_criteria({**CRITERIA, GAIN: gain_criterion(())}, learned=(GAIN,))


def list_configs() -> CommandResult[tuple[ShippedConfig, ...]]:
    """The configs that come with greenedge."""
    return present_configs(describe_configs())
