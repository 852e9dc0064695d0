"""`greenedge diagnose`."""

from __future__ import annotations

from greenedge.cli.options import Criterion, Data, Json, OwnPrecision, ResultsFolder, Runtime, Split, WeightsOrExport
from greenedge.cli.output import show_result


def diagnose(
    weights: WeightsOrExport,
    data: Data = None,
    split: Split = "val",
    criterion: Criterion = None,
    precision: OwnPrecision = None,
    runtime: Runtime = None,
    out: ResultsFolder = None,
    as_json: Json = False,
) -> None:
    """Calibration and overthinking per exit.

    Whether each exit's confidence can be trusted, and which images are correct at an early exit and wrong at the final
    one.
    """
    from greenedge.workflows.diagnose import diagnose as run_diagnosis
    from greenedge.workflows.outputs import PassOptions

    result = run_diagnosis(weights, PassOptions(data, split, precision), criterion, out, runtime)
    show_result(result, as_json=as_json)
