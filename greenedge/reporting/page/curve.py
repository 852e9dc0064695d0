"""The accuracy/cost curve of the page, with everything that it has to beat."""

from __future__ import annotations

import numpy as np

from greenedge.exits.baselines import static_mixture
from greenedge.exits.evaluation import PolicyEvaluation
from greenedge.exits.network_comparison import Band
from greenedge.exits.sweep_result import SweepResult
from greenedge.reporting.names import exit_name
from greenedge.reporting.page.charts import Chart, Mark, Shape

_LINE_POINTS, _HULL_POINTS = 400, 60
_SHAPES: tuple[Shape, ...] = ("square", "circle", "diamond")


def curve_chart(found: SweepResult, band: Band, policy: PolicyEvaluation | None) -> Chart:
    """Accuracy over mean GFLOPs: all operating points with their band, fixed exits and their hull, the oracle.

    Args:
        found: of a shared threshold.
        band: of the same curve, 95 % of the resamples.
        policy: that was chosen; None: none was.
    """
    curve = found.curve
    order = np.argsort(curve.gflops, kind="stable")
    line = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), _LINE_POINTS)).round().astype(np.int64))]
    edge = [*band.band_gflops, *band.band_gflops[::-1]]
    marks = [
        Mark("area", "c0", edge, [100 * each for each in [*band.low, *band.high[::-1]]], "95 % band over images"),
        *_fixed(found),
        Mark("line", "c0", curve.gflops[line], 100 * curve.accuracy[line], "early exit, any shared threshold"),
        Mark("diamond", "c7", [found.oracle.gflops], [100 * found.oracle.accuracy], "oracle: first correct exit"),
    ]
    if policy is not None:
        marks.append(Mark("circle", "c0 ring", [policy.gflops], [100 * policy.accuracy], "the chosen policy"))
    return Chart(
        "Accuracy over GFLOPs per image",
        "mean GFLOPs per image",
        "accuracy (%)",
        marks,
        has_marker=len(found.standalone_gflops) > 1,
    )


def _fixed(found: SweepResult) -> list[Mark]:
    """Each exit alone, the backbone, other networks, and the hull that random mixes of them reach."""
    costs, accuracies = np.array(found.standalone_gflops), np.array(found.exit_accuracies)
    highest = max(float(found.curve.gflops.max()), float(costs.max()))
    label = "hull: random mix of fixed exits"
    if found.static is not None:
        choices = found.static.choices
        costs = np.array([each.gflops for each in choices])
        accuracies = np.array([each.accuracy for each in choices])
        highest = max(highest, float(costs.max()))
        label = "hull of all static choices"
    mix = np.unique([*np.linspace(costs.min(), highest, _HULL_POINTS), *costs])
    marks = [Mark("line", "grey dash", mix, 100 * static_mixture(mix, costs, accuracies), label)]

    exits = len(found.standalone_gflops)
    for index, (gflops, accuracy) in enumerate(zip(found.standalone_gflops, found.exit_accuracies, strict=True)):
        last = index == exits - 1
        name = "backbone without exits" if last else f"{exit_name(index, exits)} alone"
        style = "c5" if last else f"c{1 + index % 4}"
        marks.append(Mark("star" if last else _SHAPES[index % 3], style, [gflops], [100 * accuracy], name))
    if found.static is not None:
        named = found.static.named
        marks.append(
            Mark(
                "square",
                "grey",
                [each.gflops for each in named],
                [100 * each.accuracy for each in named],
                f"other networks: {', '.join(each.name for each in named)}",
            )
        )
    return marks
