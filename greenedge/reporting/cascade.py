"""The result of `greenedge cascade` as a table and JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from greenedge.reporting.blocks import CommandResult, Table
from greenedge.reporting.names import exit_name
from greenedge.training.trained import TrainedModel


def present_cascade(model: TrainedModel, joined: Sequence[str]) -> CommandResult[TrainedModel]:
    """Every exit of a cascade with its cost, and which members' outputs could be taken over.

    Args:
        model: the cascade.
        joined: names of splits.
    """
    exits = model.cost.exits
    rows = [
        [exit_name(index, len(exits)), each.after, f"{each.gflops:.4f}", f"{each.alone_gflops:.4f}"]
        for index, each in enumerate(exits)
    ]
    lines = [f"outputs on the {name} images: those kept by the members" for name in joined]
    return CommandResult(
        value=model,
        blocks=(
            model.summary,
            Table(["exit", "after", "GFLOPs", "standalone GFLOPs"], rows),
            "GFLOPs add up over the members; an exit alone is that of its member without the others",
            *lines,
            f"written: {model.path}",
        ),
        json={
            "members": [
                {
                    "backbone": each.model.backbone,
                    "image_size": each.data.input_size,
                    "exits": len(each.model.exits) + 1,
                }
                for each in model.members
            ],
            "exits": [dataclasses.asdict(each) for each in exits],
            "joined_outputs": list(joined),
            "weights": str(model.path),
        },
    )
