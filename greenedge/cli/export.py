"""`greenedge export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from greenedge.cli.options import Criterion, Data, Json, Policy, Threshold, policy_options
from greenedge.cli.output import say, show_result
from greenedge.errors import UsageError


def export(
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A checkpoint: best.safetensors of a run directory.")
    ] = None,
    kind: Annotated[
        Literal["onnx", "torch"] | None, typer.Option("--format", help="onnx, or torch for programs of torch.export.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write; a former export is replaced.")] = None,
    policy: Policy = None,
    threshold: Threshold = None,
    criterion: Criterion = None,
    data: Data = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FOLDER", help="Verify an export, and write nothing.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write graphs that run without greenedge.

    One folder, whole or not at all: a graph per segment, the whole network, the policy, a model card, a parity report,
    and for ONNX a runner that needs numpy and onnxruntime alone. Without --policy or --threshold, no image exits early.
    Graphs run in float32. --check FOLDER verifies such a folder.
    """
    others = {"--weights": weights, "--format": kind, "--out": out}
    choices = {"--policy": policy, "--threshold": threshold, "--criterion": criterion, "--data": data}
    if check is not None:
        given = [name for name, value in {**others, **choices}.items() if value is not None]
        if given:
            raise UsageError(f"--check only reads the folder that it names; leave out {', '.join(given)}")
        from greenedge.workflows.export import check as run_check

        show_result(run_check(check), as_json=as_json)
        return
    if weights is None or kind is None or out is None:
        missing = [name for name, value in others.items() if value is None]
        raise UsageError(
            f"{', '.join(missing)} missing; an export needs --weights, --format and --out, a check --check FOLDER alone"
        )
    if as_json:
        raise UsageError("--json goes with --check alone; an export says in its manifest.json what it holds")
    from greenedge.workflows.export import export as run_export

    for line in run_export(weights, policy_options(policy, threshold, criterion), out, kind, data):
        say(line)
