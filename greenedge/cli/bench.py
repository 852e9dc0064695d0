"""`greenedge bench`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from greenedge.cli.options import (
    Criterion,
    Data,
    Json,
    Policy,
    ResultsFolder,
    Threshold,
    Weights,
    parse_counts,
    policy_options,
)
from greenedge.cli.output import say, show, show_json

BenchPrecision = Annotated[
    Literal["auto", "float32", "bf16"] | None,
    typer.Option("--precision", help="Of the engine and its baseline; default: the policy's, else auto."),
]


def bench(
    weights: Weights,
    data: Data = None,
    threshold: Threshold = None,
    criterion: Criterion = None,
    policy: Policy = None,
    precision: BenchPrecision = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the engine's stages; takes minutes.")] = False,
    batches: Annotated[str, typer.Option(help="Images a batch.")] = "1,8,64,256",
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each contender at each batch size.")] = 5,
    out: ResultsFolder = None,
    as_json: Json = False,
) -> None:
    """Measured latency, throughput and energy, with and without leaving early, against the backbone."""
    from greenedge.workflows.bench import BenchOptions
    from greenedge.workflows.bench import bench as run_benchmark

    options = BenchOptions(
        policy_options(policy, threshold, criterion), precision, compiled, parse_counts(batches), rounds
    )
    report = run_benchmark(weights, data, options, out, say)
    show_json(report.json) if as_json else show(report.text)
