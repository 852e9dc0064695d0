"""`greenedge diagnose`."""

from __future__ import annotations

from greenedge.cli.options import Criterion, Data, Json, ResultsFolder, Split, Weights
from greenedge.cli.output import say, show, show_json


def diagnose(
    weights: Weights,
    data: Data = None,
    split: Split = "val",
    criterion: Criterion = None,
    out: ResultsFolder = None,
    as_json: Json = False,
) -> None:
    """Whether each exit's confidence can be believed, and which images are lost by thinking on."""
    from greenedge.workflows.diagnose import diagnose as run_diagnosis

    report = run_diagnosis(weights, data, split, criterion, out, say)
    show_json(report.json) if as_json else show(report.text)
