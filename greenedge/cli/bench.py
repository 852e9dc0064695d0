"""`greenedge bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from greenedge.cli.options import (
    Criterion,
    Data,
    Json,
    Page,
    Policy,
    ResultsFolder,
    Threshold,
    WeightsOrExport,
    parse_counts,
    policy_options,
)
from greenedge.cli.output import show_result
from greenedge.cli.report import also_report, check_page

BenchPrecision = Annotated[
    Literal["auto", "float32", "bf16"] | None,
    typer.Option("--precision", help="Numeric precision: float32, bf16 or auto. Default: the policy's, else auto."),
]


def bench(
    weights: WeightsOrExport,
    data: Data = None,
    threshold: Threshold = None,
    criterion: Criterion = None,
    policy: Policy = None,
    precision: BenchPrecision = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the engine's stages; takes minutes.")] = False,
    batches: Annotated[str, typer.Option(help="Images per batch.")] = "1,8,64,256",
    only: Annotated[
        str | None,
        typer.Option(help="Time these beside the backbone, such as: engine,onnxruntime float32. Default: all here."),
    ] = None,
    export: Annotated[
        list[Path] | None, typer.Option(help="An ONNX export of these weights, timed under its own policy. Repeatable.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each contender at each batch size.")] = 5,
    out: ResultsFolder = None,
    page: Page = None,
    as_json: Json = False,
) -> None:
    """Measure latency, throughput and energy.

    The backbone and the engine over PyTorch, ONNX Runtime and OpenVINO, each with and without early exit, take turns;
    one sentence says what is fastest here. The folder of an ONNX export as --weights is timed alone. Writes bench.json,
    .csv and .png.
    """
    from greenedge.inference.benchmark import BenchOptions
    from greenedge.workflows.bench import bench as run_benchmark

    check_page(page)
    names = None if only is None else tuple(name.strip() for name in only.split(","))
    options = BenchOptions(compiled=compiled, only=names, batches=parse_counts(batches), rounds=rounds)
    result = run_benchmark(
        weights, data, policy_options(policy, threshold, criterion), precision, options, out, tuple(export or ())
    )
    show_result(result, as_json=as_json)
    also_report(page, [weights], data)
