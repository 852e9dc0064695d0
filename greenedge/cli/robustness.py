"""`greenedge robustness`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import (
    Criterion,
    Data,
    Json,
    Policy,
    PolicyPrecision,
    ResultsFolder,
    Runtime,
    Threshold,
    WeightsOrExport,
    policy_options,
)
from greenedge.cli.output import show_result


def robustness(
    corrupted: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Corrupted images: FOLDER/CORRUPTION/SEVERITY/CLASS/*.JPEG.")
    ],
    weights: WeightsOrExport,
    data: Data = None,
    threshold: Threshold = None,
    criterion: Criterion = None,
    policy: Policy = None,
    hold_budget: Annotated[
        bool,
        typer.Option("--hold-budget", help="Also let limits follow running quantiles, which keep the exit rates."),
    ] = False,
    corruption: Annotated[
        list[str] | None, typer.Option("--corruption", metavar="NAME", help="Only this one. Repeatable.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")] = 250,
    precision: PolicyPrecision = None,
    runtime: Runtime = None,
    out: ResultsFolder = None,
    as_json: Json = False,
) -> None:
    """Accuracy and cost on corrupted images.

    Whether a policy holds its budget where images shift, as in Tiny-ImageNet-C: accuracy, exit rates and mean GFLOPs
    per corruption, beside the clean validation images. Images exit by the policy beside the weights where nothing else
    is said. Writes robustness.json, .csv and .png.
    """
    from greenedge.workflows.models import open_model
    from greenedge.workflows.outputs import PassOptions
    from greenedge.workflows.policies import requested_precision, with_policy_beside
    from greenedge.workflows.robustness import ShiftOptions
    from greenedge.workflows.robustness import robustness as run_robustness

    model = open_model(weights, runtime)
    policies = with_policy_beside(model, policy_options(policy, threshold, criterion))
    images = PassOptions(data, "val", requested_precision(model, policies, precision))
    shift = ShiftOptions(corrupted, tuple(corruption or ()), hold_budget, batch_size)
    show_result(run_robustness(model, images, policies, shift, out), as_json=as_json)
