"""Reported runs as a page, and as what `greenedge report` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenedge.exits.network_comparison import Comparison
from greenedge.reporting.blocks import Block, CommandResult, Table
from greenedge.reporting.comparison import present_comparison
from greenedge.reporting.evaluation import present_evaluation
from greenedge.reporting.page.charts import DrawnChart, draw
from greenedge.reporting.page.content import ReportedRun
from greenedge.reporting.page.curve import curve_chart
from greenedge.reporting.page.deploy import deploy_blocks, deploy_code
from greenedge.reporting.page.parts import further_sections
from greenedge.reporting.page.sections import Page, RunPart, Section, SliderPart
from greenedge.reporting.page.slider import columns, slider_json, static_table
from greenedge.reporting.sweep import present_sweep

Runs = Sequence[ReportedRun]


def build_page(runs: Runs, comparison: Comparison | None, title: str | None) -> Page:
    """The page of some runs.

    Args:
        runs: on the same images.
        comparison: of all of them; None for one.
        title: None: the runs' names.
    """
    names = [run.facts.name for run in runs]
    parts = [_run_part(run, f"run-{number}") for number, run in enumerate(runs, start=1)]
    return Page(title or f"greenedge report: {', '.join(names)}", parts, _comparison(runs, comparison))


def present_report(runs: Runs, comparison: Comparison | None, out: Path, size: int) -> CommandResult[Runs]:
    """What is printed of a page that was written: what to deploy, and where it is.

    Args:
        runs: that the page shows.
        comparison: of all of them; None for one.
        out: the page.
        size: bytes.
    """
    blocks: list[Block] = []
    for run in runs:
        blocks += [run.summary.heading if len(runs) == 1 else f"{run.facts.name}: {run.summary.heading}"]
        blocks += [*deploy_blocks(run)]
    if comparison is not None:
        blocks += present_comparison(*_named(runs), comparison).blocks
    json = {"report": str(out), "bytes": size, "runs": [_json(run) for run in runs]}
    if comparison is not None:
        json["comparison"] = present_comparison(*_named(runs), comparison).json
    return CommandResult(runs, (*blocks, f"written: {out}, {size / 1e6:.2f} MB"), json)


def _json(run: ReportedRun) -> dict[str, Any]:
    return {
        "run": run.facts.name,
        "facts": dict(run.facts.rows),
        "evaluation": present_evaluation(run.summary, run.evaluation).json,
        "diagnosis": {
            "criterion": run.diagnosis.criterion_name,
            "exits": [dataclasses.asdict(each) for each in run.diagnosis.exits],
            "overthinking": len(run.diagnosis.overthinking.images),
        },
        "sections": {part.key: _tables(part) for part in further_sections(run)},
        "sweep": present_sweep(run.summary, run.sweep).json,
        "sliders": slider_json(run, _curve(run)) if run.summary.num_exits > 1 else None,
    }


def _tables(part: Section) -> list[dict[str, Any]]:
    """The tables of a section, as they are shown."""
    tables = [each for each in (*part.lead, *part.behind) if isinstance(each, Table)]
    return [{"headers": list(each.headers), "rows": [list(row) for row in each.rows]} for each in tables]


def _run_part(run: ReportedRun, key: str) -> RunPart:
    return RunPart(
        key=key,
        name=run.facts.name,
        heading=run.summary.heading,
        facts=run.facts.rows,
        config=run.facts.config,
        deploy=deploy_blocks(run),
        code=deploy_code(run),
        slider=_slider(run) if run.summary.num_exits > 1 else None,
        sections=further_sections(run),
    )


def _curve(run: ReportedRun) -> DrawnChart:
    return draw(curve_chart(run.sweep, run.band, None if run.policy is None else run.evaluation))


def _slider(run: ReportedRun) -> SliderPart:
    chart = _curve(run)
    slider, total = run.slider, len(run.sweep.curve)
    behind = present_sweep(run.summary, run.sweep).blocks[1:]
    return SliderPart(
        chart=chart,
        columns=[header for header, _ in columns(run)],
        exit_names=run.summary.exit_names[:-1],
        shared_places=len(slider.shared),
        grid_places=[] if slider.grid is None else [len(each) for each in slider.grid.thresholds],
        notes=_notes(run, total),
        json=slider_json(run, chart),
        static=static_table(run),
        behind=behind,
    )


def _notes(run: ReportedRun, total: int) -> list[str]:
    slider = run.slider
    shown = len(slider.shared)
    some = f"all {total}" if shown == total else f"{shown} of the {total}"
    rule = f"{run.sweep.rule.criterion} as the criterion"
    if run.policy is not None:
        rule += ", with the temperatures and the ensemble of the chosen policy, where it has them"
    notes = [
        f"All numbers are of the {run.summary.images} images of the split {run.summary.split}, with {rule}. The first "
        f"slider moves over {some} exact operating points of one shared threshold, evenly spaced in cost."
    ]
    if slider.grid is not None:
        sizes = " x ".join(str(len(each)) for each in slider.grid.thresholds)
        held = "" if slider.grid.start is None else ", and with the chosen policy's own threshold"
        notes.append(
            f"The sliders of the exits move over {sizes} combinations of thresholds, each an exact operating point: "
            f"those at which even shares of the images are confident enough at the exit, from none to all{held}."
        )
    if slider.milliseconds_per_gflop is not None:
        notes.append(
            "Expected milliseconds (and joules, where they were metered) are what greenedge bench measured for single "
            "images without early exit, in proportion to the GFLOPs; they are no measurements of these thresholds."
        )
    return notes


def _comparison(runs: Runs, comparison: Comparison | None) -> Section | None:
    if comparison is None:
        return None
    blocks = present_comparison(*_named(runs), comparison).blocks
    tables = [each for each in blocks if isinstance(each, Table)]
    lead: list[Block] = [each for each in blocks if not isinstance(each, Table)]
    return Section("comparison", "The runs side by side", lead=[*tables, *lead])


def _named(runs: Runs) -> tuple[list[str], list[Any]]:
    return [run.facts.name for run in runs], [run.summary for run in runs]
