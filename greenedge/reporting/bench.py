"""The result of `greenedge bench` as tables, JSON, CSV and a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from greenedge.cost.energy_use import EnergyResult, EnergyUse, RepeatedValue
from greenedge.inference.bench_result import BenchResult, TimedContender
from greenedge.inference.contenders import ENGINE, Contender
from greenedge.reporting.advice import advise, find_fastest
from greenedge.reporting.bench_plot import plot_times
from greenedge.reporting.blocks import CommandResult, Table, span

_TIMING_KEYS = ["median_s", "images_per_second", "over_plain", "over_backbone", "spread"]
_NOT_METERED = "not measured"


def present_bench(model: str, split: str, images: int, found: BenchResult) -> CommandResult[BenchResult]:
    """Latency, throughput and savings, measured and predicted by FLOPs.

    Args:
        model: what was timed, for the heading.
        split: the images that were run.
        images: how many the split has.
        found: what was measured.
    """
    json = _json(found, split, images)
    rows = [
        [size, name, *(each[key] for key in _TIMING_KEYS)]
        for size, batch in json["batches"].items()
        for name, each in batch.items()
    ]
    return CommandResult(
        value=found,
        blocks=tuple(_blocks(model, found)),
        json=json,
        csv=Table(["batch", "contender", *_TIMING_KEYS], rows),
        figure=plot_times(found, model),
    )


def _json(found: BenchResult, split: str, images: int) -> dict[str, Any]:
    timings = found.timings
    return {
        **asdict(found.policy),
        "precision": found.precision,
        "compiled": found.compiled,
        "device": found.device,
        "baseline": {"layout": found.baseline_layout, "precision": found.baseline_precision},
        "images": {"split": split, "count": images},
        "threads": found.threads,
        "chunks": list(found.chunks),
        "exit_shares": list(found.exit_rates),
        "gflops": found.gflops,
        "plain_gflops": found.backbone_gflops,
        "full_gflops": found.full_gflops,
        "executed": {"gflops": found.executed_gflops, "table_gflops": found.table_gflops},
        "latency": {name: asdict(each) for name, each in timings.latency.items()},
        "batches": {
            str(size): {
                name: {
                    "median_s": each.median_s,
                    "images_per_second": each.images_per_second,
                    "over_plain": timings.ratio(size, name, found.plain),
                    "over_backbone": timings.ratio(size, name, found.backbone),
                    "spread": each.spread,
                }
                for name, each in batch.items()
            }
            for size, batch in timings.batches.items()
        },
        "joules_an_image": _joules_per_image(found),
        "meter": found.meter,
        "spread": timings.spread,
        "noisy": timings.noisy,
        "lead": found.lead,
        "contenders": {key: _contender_json(each) for key, each in found.contenders.items()},
        "left_out": dict(found.left_out),
        "energy": None if found.energy is None else _energy_json(found.energy),
        "machine": asdict(found.machine),
        "fastest": {
            str(size): asdict(find_fastest(timings, size, _table(found), found.plain)) for size in timings.batches
        },
        "advice": _advice(found),
    }


def _advice(found: BenchResult) -> str:
    rates = [each.exit_rates for each in found.contenders.values() if each.exit_rates is not None]
    exits_early = any(each[-1] < 1 for each in rates)
    return advise(found.timings, _table(found), found.plain, exits_early=exits_early)


def _table(found: BenchResult) -> dict[str, Contender]:
    return {key: each.contender for key, each in found.contenders.items()}


def _joules_per_image(found: BenchResult) -> dict[str, float | None]:
    """Of all that is metered; None where nothing was."""
    uses = {} if found.energy is None else found.energy.contenders
    return {key: None if (use := uses.get(key)) is None else use.joules_per_image.mean for key in found.contenders}


def _contender_json(each: TimedContender) -> dict[str, Any]:
    return {
        "name": each.contender.name,
        "shown": each.contender.shown,
        "runs": each.contender.runs,
        "early_exit": each.contender.early_exit,
        "precision": each.precision,
        "compiled": each.compiled,
        "policy": None if each.policy is None else asdict(each.policy),
        "thresholds_chosen_in": each.chosen_in,
        "exit_shares": None if each.exit_rates is None else list(each.exit_rates),
    }


def _energy_json(energy: EnergyResult) -> dict[str, Any]:
    return {
        "kind": energy.kind,
        "domains": list(energy.domains),
        "batch": energy.batch,
        "window_s": energy.window_seconds,
        "repeats": energy.repeats,
        "idle_watts": None if energy.idle_watts is None else asdict(energy.idle_watts),
        "contenders": {key: None if use is None else _use_json(use) for key, use in energy.contenders.items()},
    }


def _use_json(use: EnergyUse) -> dict[str, Any]:
    return {
        "images_per_second": asdict(use.images_per_second),
        "joules_an_image": asdict(use.joules_per_image),
        "joules_an_image_above_idle": None if use.above_idle is None else asdict(use.above_idle),
        "wh_per_1000_images": use.watt_hours_per_1000,
        "wh_per_1000_images_above_idle": use.watt_hours_per_1000_above_idle,
    }


def _blocks(model: str, found: BenchResult) -> list[Table | str]:
    timings, compiled = found.timings, ", compiled" if found.compiled else ""
    blocks: list[Table | str] = [
        f"{model}; {found.lead} runs in {found.precision}{compiled} on {found.device}, {found.threads} threads; chunks "
        f"{', '.join(map(str, found.chunks))}",
        _machine_sentence(found),
        _baseline_sentence(found),
        *_notes(found),
        "single images:",
        _latency_table(found),
        "images per second, by batch size:",
        _batch_table(found, lambda size, name: f"{timings.batches[size][name].images_per_second:.0f}"),
        f"time over that of the {_backbone(found).shown}, by batch size:",
        _batch_table(found, lambda size, name: f"{timings.ratio(size, name, found.backbone):.3f}"),
        *_savings(found),
    ]
    if found.executed_gflops is not None:
        blocks.append(
            f"convolutions and matrix products: {found.executed_gflops:.4f} GFLOPs per image ran, "
            f"{found.table_gflops:.4f} by the table"
        )
    if found.energy is not None:
        blocks += _energy_blocks(found, found.energy)
    blocks.append(found.meter)
    if timings.noisy:
        blocks.append(
            f"timings are noisy (rounds differ by up to {100 * timings.spread:.0f} % of their median): repeat with "
            "nothing else running"
        )
    return [*blocks, _advice(found)]


def _backbone(found: BenchResult) -> Contender:
    """What the others are measured against."""
    return found.contenders[found.backbone].contender


def _baseline_sentence(found: BenchResult) -> str:
    if found.plain == found.backbone:
        return f"{_backbone(found).shown}: the whole graph without its early exits, in {found.baseline_precision}"
    plain = found.contenders[found.plain].contender
    layout = f"{found.baseline_layout} in {found.baseline_precision}"
    return f"{plain.shown}: NCHW in float32; {_backbone(found).shown}: {layout}"


def _machine_sentence(found: BenchResult) -> str:
    machine = found.machine
    clocks = [
        f"{mhz:.0f} MHz {when}"
        for mhz, when in ((machine.clock_mhz, "now"), (machine.max_clock_mhz, "at most"))
        if mhz is not None
    ]
    name = machine.processor or "a processor of unknown name"
    exact = "" if machine.exact_int8_sums else "; no exact sums of 8-bit products"
    return f"{', '.join([name, *clocks])}{exact}"


def _notes(found: BenchResult) -> list[str]:
    """What does not run here, and what runs under thresholds that were chosen for another precision."""
    notes = []
    if found.left_out:
        notes.append("left out: " + ", ".join(f"{name} ({reason})" for name, reason in found.left_out.items()))
    foreign: dict[str, list[str]] = {}
    for each in found.contenders.values():
        if each.chosen_in not in (None, each.precision):
            foreign.setdefault(str(each.chosen_in), []).append(each.contender.name)
    for chosen_in, names in foreign.items():
        notes.append(
            f"the thresholds were chosen in {chosen_in}; these run under them in another precision, where other images "
            f"may exit: {', '.join(names)}"
        )
    return notes


def _savings(found: BenchResult) -> list[str]:
    size = found.timings.largest_batch
    rates = ", ".join(f"{100 * rate:.1f}" for rate in found.exit_rates)
    without, under = found.lead_keys

    def saved(name: str, other: str) -> str:
        return _percent_saved(found.timings.ratio(size, name, other))

    layout = f"layout and precision save {saved(found.backbone, found.plain)}, "
    engine = "folding and packing" if found.lead == ENGINE else f"{found.lead} without early exit"
    if found.plain == found.backbone:
        layout, engine = "", "to run in segments saves"
    by_flops = _percent_saved(found.gflops / found.full_gflops)
    return [
        f"{found.policy}; exit rates: {rates} %",
        f"saving over the backbone: {_percent_saved(found.gflops / found.backbone_gflops)} predicted by FLOPs, "
        f"{saved(under, found.backbone)} measured at batch {size} by {found.lead} over the {_backbone(found).shown}",
        f"measured at batch {size}, one after the other: {layout}{engine} {saved(without, found.backbone)} (the heads "
        f"run besides), early exits {saved(under, without)} ({by_flops} predicted by FLOPs)",
    ]


def _energy_blocks(found: BenchResult, energy: EnergyResult) -> list[Table | str]:
    idle = "idle power could not be read" if energy.idle_watts is None else f"idle: {_interval(energy.idle_watts, 1)} W"
    rows = []
    for key, use in energy.contenders.items():
        shown = found.contenders[key].contender.shown
        if use is None:
            rows.append([shown, _NOT_METERED, "", "", ""])
            continue
        above = "" if use.above_idle is None else _interval(use.above_idle, 3)
        rows.append(
            [
                shown,
                f"{use.images_per_second.mean:.0f}",
                f"{use.joules_per_image.mean:.3f}",
                above,
                f"{use.watt_hours_per_1000:.3f}",
            ]
        )
    return [
        f"energy in batches of {energy.batch}, {energy.repeats} windows of at least {energy.window_seconds:g} s each, "
        f"in turns; {idle}; with 95 % intervals:",
        Table(["contender", "images/s", "J per image", "above idle (J per image)", "Wh per 1,000 images"], rows),
    ]


def _interval(value: RepeatedValue, digits: int) -> str:
    """A mean, and its interval where there is one."""
    mean = f"{value.mean:.{digits}f}"
    if value.low is None or value.high is None:
        return mean
    return f"{mean} ({span(value.low, value.high, digits)})"


def _percent_saved(ratio: float) -> str:
    return f"{100 * (1 - ratio):.0f} %"


def _latency_table(found: BenchResult) -> Table:
    rows = []
    for key, each in found.timings.latency.items():
        times = [f"{1000 * seconds:.2f}" for seconds in (each.p50_seconds, each.p95_seconds, each.p99_seconds)]
        rows.append([found.contenders[key].contender.shown, *times])
    return Table(["contender", "p50 (ms)", "p95 (ms)", "p99 (ms)"], rows)


def _batch_table(found: BenchResult, cell: Callable[[int, str], str]) -> Table:
    sizes = list(found.timings.batches)
    rows = [[each.contender.shown, *(cell(size, key) for size in sizes)] for key, each in found.contenders.items()]
    return Table(["contender", *map(str, sizes)], rows)
