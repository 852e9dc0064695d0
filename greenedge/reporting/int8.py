"""What int8 costs, as a table and JSON."""

from __future__ import annotations

from typing import Any

from greenedge.exits.bootstrap import Estimate
from greenedge.exits.precision_comparison import ComparedPredictions, PrecisionComparison
from greenedge.reporting.blocks import Block, Table, span
from greenedge.reporting.names import exit_name


def int8_blocks(found: PrecisionComparison, split: str) -> list[Block]:
    """A row an exit, one of the policy, and how images exit."""
    rows = [_row(name, each) for name, each in named_predictions(found)]
    headers = ["int8 beside float32", "float32 (%)", "int8 (%)", "difference (points)", "same predictions (%)"]
    rates = [", ".join(f"{100 * rate:.1f}" for rate in each) for each in (found.exact_rates, found.rates)]
    return [
        Table(headers, rows),
        f"{found.images} {split} images, 95 % intervals; exit rates {rates[0]} % in float32 ({found.exact_gflops:.4f} "
        f"GFLOPs), {rates[1]} % in int8 ({found.gflops:.4f}, counted alike); {_percent(found.same_exits)} % exit at "
        "the same place",
    ]


def int8_record(found: PrecisionComparison, split: str) -> dict[str, Any]:
    """For the manifest of an export."""
    return {
        "split": split,
        "images": found.images,
        "exits": [_record(each) for each in found.exits],
        "policy": _record(found.policy),
        "same_exits": _estimate(found.same_exits),
        "exit_rates": {"float32": list(found.exact_rates), "int8": list(found.rates)},
        "gflops": {"float32": found.exact_gflops, "int8": found.gflops},
    }


def named_predictions(found: PrecisionComparison) -> list[tuple[str, ComparedPredictions]]:
    """Each exit by its name, and last the policy."""
    names = [exit_name(index, len(found.exits)) for index in range(len(found.exits))]
    return [*zip(names, found.exits, strict=True), ("policy", found.policy)]


def points(difference: Estimate) -> str:
    """`-0.32 (-0.72 to +0.05)`: of accuracies, in points."""
    low, high = difference.interval.ends
    return f"{100 * difference.value:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def _row(name: str, each: ComparedPredictions) -> list[str]:
    exact = f"{100 * each.exact_accuracy:.2f}"
    return [name, exact, _percent(each.accuracy), points(each.difference), _percent(each.same_predictions)]


def _percent(estimate: Estimate) -> str:
    low, high = estimate.interval.ends
    return f"{100 * estimate.value:.2f} ({span(100 * low, 100 * high, 1)})"


def _record(each: ComparedPredictions) -> dict[str, Any]:
    return {
        "float32": each.exact_accuracy,
        "int8": _estimate(each.accuracy),
        "difference": _estimate(each.difference),
        "same_predictions": _estimate(each.same_predictions),
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "interval": estimate.interval.ends}
