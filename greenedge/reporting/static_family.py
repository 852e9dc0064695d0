"""What a curve gives over networks without early exit, as sentences and JSON."""

from __future__ import annotations

from typing import Any

from greenedge.exits.bootstrap import Estimate
from greenedge.exits.static_family import StaticVerdict
from greenedge.reporting.blocks import percent_span


def static_verdict(verdict: StaticVerdict) -> str:
    """A sentence: what early exit surely buys over every static choice, or what to deploy instead."""
    largest, interval = verdict.advantage.largest, verdict.advantage.interval
    assert interval is not None
    bounds = f"95 % interval {percent_span(interval.low, interval.high)}"
    family = "the hull of the static networks, the exits alone and the backbone"
    instead = f"deploy {verdict.instead} instead, or a mix of static networks"
    if largest.accuracy <= 0:
        return f"early exit does not pay against the static family: it is nowhere above {family}; {instead}"
    most = f"{100 * largest.accuracy:.2f} points above {family}, at {largest.gflops:.4f} GFLOPs ({bounds})"
    if not verdict.advantage.pays:
        return (
            f"early exit does not pay against the static family as far as these images tell: at most {most}; {instead}"
        )

    ranges = ", ".join(f"{low:.4f} to {high:.4f}" if low < high else f"{low:.4f}" for low, high in verdict.above)
    saving = verdict.saving
    assert saving is not None
    beaten = verdict.accuracy > max(each.accuracy for each in verdict.choices)
    than = "than the most accurate of them" if beaten else "than there"
    words = (
        f"{most}, {100 * verdict.accuracy:.2f} % for {100 * saving.value:.1f} % fewer GFLOPs {than} "
        f"({percent_span(saving.interval.low, saving.interval.high)} %); beyond doubt above it at {ranges} GFLOPs"
    )
    if not verdict.pays:
        return (
            f"early exit is above the static family, but within half a point of the backbone it saves nothing: {words}"
        )
    near = verdict.near_backbone_gflops
    assert near is not None
    share = 100 * (1 - near / verdict.backbone.gflops)
    return (
        f"early exit pays against the static family: {words}; within half a point of the backbone for {share:.1f} % "
        "fewer GFLOPs"
    )


def policy_against_static(above: Estimate) -> str:
    """`+1.12 points over the static family at its cost (95 % interval 0.66 to 1.66)`."""
    bounds = percent_span(above.interval.low, above.interval.high)
    return f"{100 * above.value:+.2f} points over the static family at its cost (95 % interval {bounds})"


def static_json(verdict: StaticVerdict) -> dict[str, Any]:
    """The verdict for programs."""
    interval = verdict.advantage.interval
    assert interval is not None
    saving = verdict.saving
    return {
        "choices": [{"name": each.name, "accuracy": each.accuracy, "gflops": each.gflops} for each in verdict.choices],
        "advantage": verdict.advantage.largest.accuracy,
        "advantage_gflops": verdict.advantage.largest.gflops,
        "advantage_interval": interval.ends,
        "saving": None if saving is None else saving.value,
        "saving_interval": None if saving is None else saving.interval.ends,
        "above": [list(each) for each in verdict.above],
        "near_backbone_gflops": verdict.near_backbone_gflops,
        "pays": verdict.pays,
        "instead": verdict.instead.name,
    }
