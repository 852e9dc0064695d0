"""Options that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from greenedge.errors import UsageError

if TYPE_CHECKING:
    from greenedge.workflows.policies import PolicyOptions

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the config, e.g. train.epochs=3. Repeatable."),
]
Weights = Annotated[Path, typer.Option("--weights", help="A checkpoint: best.safetensors of a run directory.")]
WeightsOrExport = Annotated[
    Path, typer.Option("--weights", help="A checkpoint, or the folder that greenedge export --format onnx wrote.")
]
Runtime = Annotated[
    Literal["onnxruntime", "openvino"] | None, typer.Option(help="That runs an export. Default: onnxruntime.")
]
Data = Annotated[Path | None, typer.Option("--data", help="A prepared data set. Default: the one trained on.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
LabelsMap = Annotated[
    Path | None,
    typer.Option(help="A map from class indices to the labels to predict in. Default: the data set's own labels."),
]
Criterion = Annotated[
    str | None,
    typer.Option(
        help="What thresholds are compared with: entropy, normalised_entropy, max_probability, margin or patience. "
        "Default: the config's."
    ),
]
Split = Annotated[Literal["val", "calibration", "train"], typer.Option(help="Which images.")]
ResultsFolder = Annotated[Path | None, typer.Option("--out", help="Folder for the results. Default: the checkpoint's.")]
Precision = Annotated[
    Literal["auto", "float32", "bf16"],
    typer.Option(help="Numeric precision: float32, bf16 or auto (bf16 where it is faster)."),
]
OwnPrecision = Annotated[
    Literal["auto", "float32", "bf16"] | None,
    typer.Option("--precision", help="Numeric precision: float32, bf16 or auto. Default: an export's, else float32."),
]
PolicyPrecision = Annotated[
    Literal["auto", "float32", "bf16"] | None,
    typer.Option("--precision", help="Numeric precision: float32, bf16 or auto. Default: the policy's, else float32."),
]
Policy = Annotated[Path | None, typer.Option("--policy", help="A policy that `greenedge tune` wrote.")]
Static = Annotated[
    list[Path] | None,
    typer.Option(
        "--static",
        metavar="RUN",
        help="A network to do without early exit: its backbone joins what the curve has to beat. Repeatable.",
    ),
]
Page = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE", help="Write the page of `greenedge report` too, of the run as it is then."
    ),
]
Threshold = Annotated[
    str | None,
    typer.Option(
        "--threshold",
        "--thresholds",
        help="Threshold for all early exits, or one for each: 1.2,0.9. Default: no early exit.",
    ),
]


def policy_options(policy: Path | None, threshold: str | None, criterion: str | None) -> PolicyOptions:
    """What the three options of `Policy`, `Threshold` and `Criterion` say together.

    Raises:
        UsageError: a threshold that is none.
    """
    from greenedge.workflows.policies import PolicyOptions

    thresholds = None if threshold is None else parse_thresholds(threshold)
    return PolicyOptions(policy, thresholds, criterion)


def parse_thresholds(text: str) -> tuple[float, ...]:
    """Thresholds from the command line, separated by commas.

    Raises:
        UsageError: none, or one that is not a finite number of at least 0.
    """
    if not text.strip():
        raise UsageError("no threshold was given; give numbers such as 0,0.63,1.26")
    return tuple(parse_threshold(item) for item in text.split(","))


def parse_counts(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 1 from the command line, separated by commas.

    Raises:
        UsageError: none, or something else.
    """
    items = [item.strip() for item in text.split(",")]
    if not all(item.isdecimal() and int(item) > 0 for item in items):
        raise UsageError(f"{text!r} is no list of whole numbers above 0; give some such as 1,8,64")
    return tuple(map(int, items))


def parse_threshold(text: str) -> float:
    """A threshold from the command line.

    Raises:
        UsageError: not a finite number of at least 0.
    """
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"threshold {text.strip()!r} is not a number") from None
    if not math.isfinite(number) or number < 0:
        raise UsageError(f"threshold {text.strip()} is not a finite number of at least 0")
    return number
