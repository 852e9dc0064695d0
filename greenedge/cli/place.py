"""`greenedge place`."""

from __future__ import annotations

from typing import Annotated

import typer

from greenedge.cli.options import Data, Json, ResultsFolder, Weights
from greenedge.cli.output import show_result
from greenedge.errors import UsageError

_MOST_EXITS = 3  # where a budget is given, and no number


def place(
    weights: Weights,
    data: Data = None,
    budget: Annotated[float | None, typer.Option(help="Mean GFLOPs per image that may be spent.")] = None,
    max_exits: Annotated[
        int | None,
        typer.Option(min=1, help="Most early exits. Alone: for all costs up to the backbone's. With --budget: 3."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Training images that blocks are probed by.")] = 15_000,
    head: Annotated[str, typer.Option(help="Head of the exits, whose cost counts.")] = "pooled",
    out: ResultsFolder = None,
    as_json: Json = False,
) -> None:
    """Find the blocks that exits should follow.

    A classifier is fitted after every block of a trained backbone; sets of blocks are compared on calibration images,
    for a budget or for all costs. Writes place.json, .csv, .png, and place.yaml, which trains the heads of the chosen
    exits on kept features.
    """
    if budget is None and max_exits is None:
        raise UsageError("say what to place exits for: --budget GFLOPS, --max-exits NUMBER, or both")
    if budget is not None and not 0 < budget < float("inf"):
        raise UsageError(f"--budget must be a number of GFLOPs above 0, found {budget:g}")
    from greenedge.exits.placement_scores import PlacementGoal
    from greenedge.workflows.place import PlaceOptions
    from greenedge.workflows.place import place as run_placement

    options = PlaceOptions(PlacementGoal(budget, max_exits or _MOST_EXITS), images, head)
    show_result(run_placement(weights, data, options, out), as_json=as_json)
