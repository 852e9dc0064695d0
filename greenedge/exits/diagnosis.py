"""Whether each exit's confidence can be trusted, and which images are lost between an early and the final exit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greenedge.exits.calibration import expected_calibration_error, failure_auroc, top_confidence
from greenedge.exits.confidence import find_criterion
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.overthinking import Overthinking, find_overthinking


@dataclass(frozen=True)
class ExitCalibration:
    """How far the confidence of one exit can be trusted.

    Attributes:
        accuracy: in [0, 1].
        ece: expected calibration error, in [0, 1].
        temperature: fitted on calibration images; None without any.
        ece_with_temperature: likewise.
        auroc: the chance that a wrong prediction is less confident than a correct one; None where all are the same.
    """

    accuracy: float
    ece: float
    temperature: float | None
    ece_with_temperature: float | None
    auroc: float | None


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    """A network with E exits on N images.

    Attributes:
        criterion_name: whose scores `auroc` is about.
        exits: (E,), first to last.
        overthinking: images that an early exit gets right and the final one wrong.
    """

    criterion_name: str
    exits: tuple[ExitCalibration, ...]
    overthinking: Overthinking

    def __repr__(self) -> str:
        errors = ", ".join(f"{100 * each.ece:.2f}" for each in self.exits)
        return f"Diagnosis(ECE {errors} %; {len(self.overthinking.images)} images right early and wrong late)"


def diagnose_outputs(
    outputs: ExitOutputs, criterion: str = "entropy", temperatures: Sequence[float] | None = None
) -> Diagnosis:
    """Calibration and failure prediction of each exit, and overthinking.

    Args:
        outputs: of E exits on N images.
        criterion: a name in `CRITERIA`.
        temperatures: (E,), fitted on other images; None: none.
    """
    correct = outputs.correct()
    uncertainty = find_criterion(criterion).uncertainty(outputs.logits)
    exits = []
    for index, logits in enumerate(outputs.logits):
        temperature = None if temperatures is None else temperatures[index]
        scaled = None if temperature is None else top_confidence(logits, temperature)
        exits.append(
            ExitCalibration(
                accuracy=float(correct[index].mean()),
                ece=expected_calibration_error(top_confidence(logits), correct[index]),
                temperature=temperature,
                ece_with_temperature=None if scaled is None else expected_calibration_error(scaled, correct[index]),
                auroc=failure_auroc(uncertainty[index], correct[index]),
            )
        )
    return Diagnosis(criterion, tuple(exits), find_overthinking(outputs))
