"""`greenedge list`: what a config can choose from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from greenedge.config.describe import ComponentInfo, describe_component
from greenedge.config.shipped import describe_config, shipped_configs
from greenedge.models.catalog import BACKBONE_FAMILIES, FAMILIES

# Nothing here imports torch at once: backbones and configs are listed without it.

_TIMM = ("timm/NAME", "Any network of timm's ResNet and EfficientNet families; needs the extra timm.")


@dataclass(frozen=True)
class Listing:
    """What a `list` command prints.

    Attributes:
        text: for people.
        json: the same for programs.
    """

    text: str
    json: list[dict[str, Any]]


def list_components(table: str) -> Listing:
    """The components of a table, with their options.

    Args:
        table: a name in `COMPONENT_TABLES`, such as `heads`.
    """
    from greenedge.config.json_schema import options_schema
    from greenedge.workflows.configs import COMPONENT_TABLES

    functions = COMPONENT_TABLES[table]
    components = [describe_component(name, function) for name, function in functions.items()]
    rows: list[dict[str, Any]] = []
    for component in components:
        row = dataclasses.asdict(component)
        properties = options_schema(functions[component.name])["properties"]
        for option in row["options"]:
            schema = properties[option["name"]]
            option["schema"] = {key: value for key, value in schema.items() if key not in ("default", "description")}
        rows.append(row)
    return Listing("\n".join(map(_component_text, components)), rows)


def list_backbones() -> Listing:
    """The backbones, by family."""
    rows: list[dict[str, Any]] = [
        {"name": name, "family": family, "description": FAMILIES[family]} for name, family in BACKBONE_FAMILIES.items()
    ]
    lines = []
    for family, description in FAMILIES.items():
        names = [name for name, its_family in BACKBONE_FAMILIES.items() if its_family == family]
        lines += [f"{family}: {description}", *(f"    {name}" for name in names)]
    name, description = _TIMM
    rows.append({"name": name, "family": "timm", "description": description})
    return Listing("\n".join([*lines, f"{name}: {description}"]), rows)


def list_blocks(backbone: str, image_size: int, stem: str) -> Listing:
    """The blocks of a backbone, after which exits may come, with their output at an image size.

    Args:
        backbone: a name in `BACKBONES`, or `timm/NAME`.
        image_size: pixels per side.
        stem: `imagenet` or `small`.

    Raises:
        ConfigError: there is no such backbone, or it has no small stem.
        UsageError: the images are too small for it.
    """
    import torch

    from greenedge.errors import UsageError
    from greenedge.models.backbones import build_backbone, find_family
    from greenedge.reporting.tables import format_table

    family = find_family(backbone)
    rows = []
    with torch.device("meta"), torch.no_grad():  # shapes alone: no weights and no arithmetic
        network = build_backbone(backbone, num_classes=1000, stem=stem).eval()
        features = torch.zeros(1, 3, image_size, image_size)
        for name, block in family.blocks(network):
            try:
                features = block(features)
            except RuntimeError:
                message = f"images of {image_size} px are too small for {backbone}, at block {name}; give a larger size"
                raise UsageError(message) from None
            parameters = sum(each.numel() for each in block.parameters())
            channels, height, width = features.shape[1:]
            shape = {"channels": channels, "height": height, "width": width, "parameters": parameters}
            rows.append({"name": name, **shape})

    headers = ["block", "channels", "pixels", "parameters"]
    cells = [[r["name"], r["channels"], f"{r['height']} x {r['width']}", f"{r['parameters']:,}"] for r in rows]
    note = (
        f"Output of each block for images of {image_size} px. An exit comes after any block but the last; the name of "
        "a stage (layer1) stands for its last block."
    )
    return Listing(f"{format_table(headers, cells)}\n{note}", rows)


def list_criteria() -> Listing:
    """The criteria that thresholds are compared with."""
    from greenedge.exits.confidence import CRITERIA

    rows = []
    for name, criterion in CRITERIA.items():
        side = "below" if criterion.exit_if_below else "above"
        description = f"An image exits where its score ({criterion.unit}) is {side} the threshold."
        rows.append({"name": name, "unit": criterion.unit, "exits": side, "description": description})
    return Listing(_named_lines([(row["name"], row["description"]) for row in rows]), rows)


def list_configs() -> Listing:
    """The configs that come with greenedge."""
    rows = [
        {"name": name, "description": describe_config(path.read_text(encoding="utf-8")), "path": str(path)}
        for name, path in shipped_configs().items()
    ]
    return Listing(_named_lines([(row["name"], row["description"]) for row in rows]), rows)


def _component_text(component: ComponentInfo) -> str:
    lines = [f"{component.name}: {component.description}"]
    names = max((len(option.name) for option in component.options), default=0)
    for option in component.options:
        default = "required" if option.required else f"default {_yaml(option.default)}"
        description = f"; {option.description}" if option.description else ""
        lines.append(f"    {option.name:{names}}  {option.type}; {default}{description}")
    return "\n".join(lines)


def _named_lines(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {description}" for name, description in rows)


def _yaml(value: Any) -> str:
    """A default as a config would spell it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
