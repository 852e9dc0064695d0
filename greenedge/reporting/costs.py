"""The result of `greenedge flops` as a table, JSON and CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from greenedge.cost.table import NetworkCost
from greenedge.reporting.blocks import CommandResult, Table
from greenedge.reporting.names import exit_name


def present_costs(
    model: str, heads: Sequence[str], cost: NetworkCost, *, image_size: int, classes: int
) -> CommandResult[NetworkCost]:
    """GFLOPs and parameters of every exit.

    Args:
        model: such as `resnet18 with exits after layer1 (light)`.
        heads: (E,), names of the heads.
        cost: of every exit.
        image_size: pixels per side.
        classes: outputs.
    """
    exits = [
        {"after": each.after, "head": head, **dataclasses.asdict(each)}
        for each, head in zip(cost.exits, heads, strict=True)
    ]
    json = {
        "exits": exits,
        "plain_gflops": cost.plain_gflops,
        "plain_parameters": cost.plain_parameters,
        "uncounted": cost.uncounted,
        "image_size": image_size,
        "classes": classes,
    }
    blocks: list[Table | str] = [
        f"{model}; {image_size} px, {classes} classes",
        _table(cost, heads),
        "GFLOPs per image (fvcore; one multiply-add is 1). backbone: blocks since the exit before; GFLOPs and "
        "parameters: cumulative, all heads so far included; standalone: without the earlier heads that "
        "it does not need.",
    ]
    if cost.uncounted:
        names = ", ".join(f"{name.removeprefix('aten::')} ({count})" for name, count in cost.uncounted.items())
        blocks.append(f"fvcore has no count for: {names}; they are not in the numbers.")
    csv = Table(list(exits[0]), [list(each.values()) for each in exits])
    return CommandResult(cost, tuple(blocks), json, csv)


def _table(cost: NetworkCost, heads: Sequence[str]) -> Table:
    rows: list[list[object]] = [
        [
            exit_name(index, len(heads)),
            each.after,
            head,
            f"{each.trunk_gflops:.4f}",
            f"{each.head_gflops:.4f}",
            f"{each.gflops:.4f}",
            f"{each.alone_gflops:.4f}",
            f"{each.parameters:,}",
        ]
        for index, (each, head) in enumerate(zip(cost.exits, heads, strict=True))
    ]
    alone = f"{cost.plain_gflops:.4f}"
    parameters = f"{cost.plain_parameters:,}"
    rows.append(["backbone without exits", cost.exits[-1].after, "final", "", "", alone, alone, parameters])
    return Table(["exit", "after", "head", "backbone", "own head", "GFLOPs", "standalone", "parameters"], rows)
