"""The result of `greenedge compare` as tables, JSON, CSV and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenedge.exits.baselines import FoundAdvantage
from greenedge.exits.comparison import Difference, Pair
from greenedge.exits.network_comparison import ComparedNetwork, Comparison
from greenedge.reporting.blocks import CommandResult, Table, percent_span, span
from greenedge.reporting.compare_plot import plot_comparison
from greenedge.reporting.static_family import static_json, static_verdict
from greenedge.reporting.summary import RunSummary


def present_comparison(
    names: Sequence[str], summaries: Sequence[RunSummary], found: Comparison
) -> CommandResult[Comparison]:
    """Every network's estimates, each pair's difference, and one figure with bands."""
    split, images = summaries[0].split, summaries[0].images
    costs = [summary.cost.plain_gflops for summary in summaries]
    records = [
        _network_json(name, network, cost) for name, network, cost in zip(names, found.networks, costs, strict=True)
    ]
    json = {
        "split": split,
        "images": images,
        "reference_gflops": found.reference_gflops,
        "runs": records,
        "pairs": [_pair_json(pair, names) for pair in found.pairs],
    }
    flat = [{key: value for key, value in record.items() if type(value) in (str, float)} for record in records]
    return CommandResult(
        value=found,
        blocks=tuple(_blocks(names, summaries, found)),
        json=json,
        csv=Table(list(flat[0]), [list(record.values()) for record in flat]),
        figure=plot_comparison(found, names, costs, f"{split}, {images} images"),
    )


def _network_json(name: str, network: ComparedNetwork, backbone_gflops: float) -> dict[str, Any]:
    advantage = network.advantage
    return {
        "run": name,
        "accuracy": network.accuracy.value,
        "accuracy_interval": network.accuracy.interval.ends,
        "gflops": network.gflops,
        "plain_gflops": backbone_gflops,
        "area": network.area.value,
        "area_interval": network.area.interval.ends,
        "dominated_area": network.dominated_area.value,
        "dominated_area_interval": network.dominated_area.interval.ends,
        "advantage": advantage.largest.accuracy,
        "advantage_gflops": advantage.largest.gflops,
        "advantage_interval": None if advantage.interval is None else advantage.interval.ends,
        "pays": advantage.pays,
        **({} if network.static is None else {"static": static_json(network.static)}),
    }


def _pair_json(pair: Pair, names: Sequence[str]) -> dict[str, Any]:
    """First minus second; `joint_interval` and `differs` take account of all pairs, the others of this one alone."""
    record: dict[str, Any] = {"first": names[pair.first], "second": names[pair.second]}
    for key, difference in (("accuracy", pair.accuracy), ("dominated_area", pair.dominated_area)):
        record[key] = difference.value
        record[f"{key}_interval"] = difference.interval.ends
        record[f"{key}_joint_interval"] = difference.joint_interval.ends
        record[f"{key}_first_is_better"] = difference.first_is_better
        record[f"{key}_differs"] = difference.real
    return record


def _blocks(names: Sequence[str], summaries: Sequence[RunSummary], found: Comparison) -> list[Table | str]:
    blocks: list[Table | str] = [
        f"{summaries[0].split}: {summaries[0].images} images",
        _accuracy_table(names, summaries, found),
        "over fixed exits: the largest gain over a random mix of fixed exits, at that cost, with an interval that "
        "holds for all runs at once",
        _area_table(names, found),
        f"areas in % x GFLOPs, dominated up to {found.reference_gflops:.4f} GFLOPs",
    ]
    blocks += [
        f"{name}: {static_verdict(network.static)}"
        for name, network in zip(names, found.networks, strict=True)
        if network.static is not None
    ]
    count = len(found.pairs)
    if count > 1:
        blocks.append(
            f"the intervals below hold for the {2 * count} differences of {count} pairs at once, with 95 % confidence; "
            "only what is beyond them is called real"
        )
    for pair in found.pairs:
        pair_names = f"{names[pair.first]} minus {names[pair.second]}"
        blocks.append(f"{pair_names}, final accuracy: {_difference(pair.accuracy, 100, 'points')}")
        blocks.append(f"{pair_names}, dominated area: {_difference(pair.dominated_area, 1, '% x GFLOPs')}")
    return blocks


def _accuracy_table(names: Sequence[str], summaries: Sequence[RunSummary], found: Comparison) -> Table:
    rows = [
        [
            name,
            f"{100 * each.accuracy.value:.2f}",
            percent_span(each.accuracy.interval.low, each.accuracy.interval.high),
            f"{each.gflops:.4f}",
            f"{summary.cost.plain_gflops:.4f}",
            _advantage(each.advantage),
        ]
        for name, each, summary in zip(names, found.networks, summaries, strict=True)
    ]
    headers = ["run", "final exit (%)", "95 % interval", "GFLOPs", "backbone GFLOPs", "over fixed exits (points)"]
    return Table(headers, rows)


def _area_table(names: Sequence[str], found: Comparison) -> Table:
    rows = [
        [
            name,
            f"{each.area.value:.4f}",
            span(each.area.interval.low, each.area.interval.high, 4),
            f"{each.dominated_area.value:.4f}",
            span(each.dominated_area.interval.low, each.dominated_area.interval.high, 4),
        ]
        for name, each in zip(names, found.networks, strict=True)
    ]
    return Table(["run", "area", "95 % interval", "dominated area", "95 % interval"], rows)


def _difference(found: Difference, factor: float, unit: str) -> str:
    verdict = "a real difference" if found.real else "no difference that these images show"
    joint = span(factor * found.joint_interval.low, factor * found.joint_interval.high, 3)
    better = f"better in {100 * found.first_is_better:.1f} % of resamples"
    return f"{factor * found.value:+.3f} {unit} ({joint}; {better}): {verdict}"


def _advantage(found: FoundAdvantage) -> str:
    if found.interval is None:
        return "no early exit"
    largest = found.largest
    verdict = "" if found.pays else ", within noise" if largest.accuracy > 0 else ", does not pay"
    interval = percent_span(found.interval.low, found.interval.high)
    return f"{100 * largest.accuracy:+.2f} at {largest.gflops:.4f} ({interval}{verdict})"
