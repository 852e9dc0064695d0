"""`greenedge export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from greenedge.cli.options import Criterion, Data, Json, Policy, Threshold, policy_options
from greenedge.cli.output import say, show_result
from greenedge.errors import UsageError

if TYPE_CHECKING:
    from greenedge.workflows.quantize import Int8Options


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
    precision: Annotated[
        Literal["float32", "int8"], typer.Option(help="Of the graphs; int8 needs ONNX and calibration images.")
    ] = "float32",
    max_loss: Annotated[
        float | None, typer.Option(help="Accuracy that int8 may cost at any exit; 0.01 is one point, the default.")
    ] = None,
    max_float: Annotated[
        float | None,
        typer.Option(help="Share of the multiply-adds that may stay in float32 to lose less. Default: 0.1."),
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FOLDER", help="Verify an export, and write nothing.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write graphs that run without greenedge.

    One folder, whole or not at all: a graph per segment, the whole network, the policy, a model card, a parity report,
    and for ONNX a runner that needs numpy and onnxruntime alone. Without --policy or --threshold, no image exits early.
    Graphs run in float32, or with --precision int8 in integers, for which layers and thresholds are chosen on the
    calibration images. --check FOLDER verifies such a folder.
    """
    others = {"--weights": weights, "--format": kind, "--out": out}
    choices: dict[str, Any] = {"--policy": policy, "--threshold": threshold, "--criterion": criterion, "--data": data}
    choices |= {"--max-loss": max_loss, "--max-float": max_float, "--precision": None if precision == "float32" else 8}
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
    if precision == "float32" and not (max_loss is max_float is None):
        raise UsageError("--max-loss and --max-float say what int8 may cost; give --precision int8 with them")
    if precision == "int8" and kind != "onnx":
        raise UsageError("--precision int8 goes with --format onnx")
    from greenedge.workflows.export import export as run_export

    int8 = _int8_options(max_loss, max_float) if precision == "int8" else None
    for line in run_export(weights, policy_options(policy, threshold, criterion), out, kind, data, int8):
        say(line)


def _int8_options(max_loss: float | None, max_float: float | None) -> Int8Options:
    from greenedge.workflows.quantize import Int8Options

    default = Int8Options()
    return Int8Options(
        default.max_loss if max_loss is None else max_loss,
        default.max_float_share if max_float is None else max_float,
    )
