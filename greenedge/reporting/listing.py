"""What `greenedge list` tells: text that is not broken, as its lines are aligned, and JSON."""

# Nothing here imports torch: backbones and configs are listed without it.

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from greenedge.config.describe import ComponentInfo
from greenedge.config.shipped import ShippedConfig
from greenedge.models.catalog import FAMILIES, BackboneInfo
from greenedge.reporting.blocks import CommandResult, Lines
from greenedge.reporting.tables import format_table

if TYPE_CHECKING:
    from greenedge.exits.confidence import Criterion
    from greenedge.models.blocks import BlockInfo


def present_components(components: Sequence[ComponentInfo]) -> CommandResult[tuple[ComponentInfo, ...]]:
    """The components of a table, with their options."""
    lines = [line for each in components for line in _component_lines(each)]
    return CommandResult(tuple(components), (Lines(lines),), [dataclasses.asdict(each) for each in components])


def present_backbones(backbones: Sequence[BackboneInfo], others: BackboneInfo) -> CommandResult[list[BackboneInfo]]:
    """The backbones, by family.

    Args:
        backbones: with names of their own.
        others: stands for those that are named by a pattern.
    """
    lines = []
    for family, description in FAMILIES.items():
        names = [each.name for each in backbones if each.family == family]
        lines += [f"{family}: {description}", *(f"    {name}" for name in names)]
    lines.append(f"{others.name}: {others.description}")
    found = [*backbones, others]
    return CommandResult(found, (Lines(lines),), [dataclasses.asdict(each) for each in found])


def present_blocks(blocks: Sequence[BlockInfo], image_size: int) -> CommandResult[tuple[BlockInfo, ...]]:
    """The blocks of a backbone, with their output for images of `image_size` pixels per side."""
    headers = ["block", "channels", "pixels", "parameters"]
    cells = [[each.name, each.channels, f"{each.height} x {each.width}", f"{each.parameters:,}"] for each in blocks]
    note = (
        f"Output of each block for images of {image_size} px. An exit comes after any block but the last; the name of "
        "a stage (layer1) stands for its last block."
    )
    lines = [*format_table(headers, cells).split("\n"), note]
    return CommandResult(tuple(blocks), (Lines(lines),), [dataclasses.asdict(each) for each in blocks])


def present_criteria(
    criteria: Mapping[str, Criterion], learned: Collection[str] = ()
) -> CommandResult[Mapping[str, Criterion]]:
    """The criteria that thresholds are compared with.

    Args:
        criteria: by name.
        learned: names of those that `greenedge tune` makes, as part of a policy.
    """
    rows = []
    for name, criterion in criteria.items():
        side = "below" if criterion.exit_if_below else "above"
        description = f"An image exits where its score ({criterion.unit}) is {side} the threshold."
        if name in learned:
            description += f" Learned by `greenedge tune`, alone with --criterion {name}."
        rows.append({"name": name, "unit": criterion.unit, "exits": side, "description": description})
    return CommandResult(criteria, (_described(rows),), rows)


def present_configs(configs: Sequence[ShippedConfig]) -> CommandResult[tuple[ShippedConfig, ...]]:
    """The configs that come with greenedge."""
    rows = [{**dataclasses.asdict(each), "path": str(each.path)} for each in configs]
    return CommandResult(tuple(configs), (_described(rows),), rows)


def _component_lines(component: ComponentInfo) -> list[str]:
    lines = [f"{component.name}: {component.description}"]
    names = max((len(option.name) for option in component.options), default=0)
    for option in component.options:
        default = "required" if option.required else f"default {_yaml(option.default)}"
        description = f"; {option.description}" if option.description else ""
        lines.append(f"    {option.name:{names}}  {option.type}; {default}{description}")
    return lines


def _described(rows: Sequence[dict[str, Any]]) -> Lines:
    """Names, and beside them their descriptions."""
    width = max(len(row["name"]) for row in rows)
    return Lines([f"{row['name']:{width}}  {row['description']}" for row in rows])


def _yaml(value: Any) -> str:
    """A default as a config would spell it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
