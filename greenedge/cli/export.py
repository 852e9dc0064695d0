"""`greenedge export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from greenedge.cli.options import Criterion, Policy, Threshold, Weights, policy_options
from greenedge.cli.output import say


def export(
    weights: Weights,
    kind: Annotated[
        Literal["onnx", "torch"], typer.Option("--format", help="onnx, or torch for programs of torch.export.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write; a former export is replaced.")],
    policy: Policy = None,
    threshold: Threshold = None,
    criterion: Criterion = None,
) -> None:
    """Write graphs that run without greenedge.

    One graph per segment, the whole network, the policy, and for ONNX a runner that needs numpy and onnxruntime alone.
    Without --policy or --threshold, no image exits early. Graphs run in float32.
    """
    from greenedge.workflows.export import export as run_export

    for line in run_export(weights, policy_options(policy, threshold, criterion), out, kind):
        say(line)
