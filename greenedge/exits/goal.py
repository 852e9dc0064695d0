"""What is asked of a policy: a budget, an accuracy, or a largest loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from greenedge.errors import UsageError


@dataclass(frozen=True)
class Goal:
    """What is asked of a policy; exactly one of the first three is given.

    Attributes:
        budget_gflops: at most this mean cost, as accurate as possible.
        min_accuracy: at least this accuracy, in (0, 1], as cheaply as possible.
        max_loss: at most this much accuracy, in (0, 1), below the final exit's, with `confidence`; cheaply.
        confidence: in (0, 1).

    Raises:
        UsageError: none or several are given, or a number out of range.
    """

    budget_gflops: float | None = None
    min_accuracy: float | None = None
    max_loss: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Checks the numbers."""
        given = [each for each in (self.budget_gflops, self.min_accuracy, self.max_loss) if each is not None]
        if len(given) != 1:
            raise UsageError("say what to aim for with one of --budget, --min-accuracy and --max-loss")
        if self.budget_gflops is not None and not 0 < self.budget_gflops < float("inf"):
            raise UsageError(f"--budget must be a number of GFLOPs above 0, found {self.budget_gflops:g}")
        if self.min_accuracy is not None and not 0 < self.min_accuracy <= 1:
            raise UsageError(f"--min-accuracy must lie above 0 and be at most 1 (0.7 is 70 %), found {given[0]:g}")
        if self.max_loss is not None and not 0 < self.max_loss < 1:
            raise UsageError(f"--max-loss must lie between 0 and 1 (0.01 is one point), found {given[0]:g}")
        if not 0 < self.confidence < 1:
            raise UsageError(f"--confidence must lie between 0 and 1, found {self.confidence:g}")

    @property
    def better_by(self) -> Literal["accuracy", "gflops"]:
        """What is to be as good as possible, where the rest of the goal is reached."""
        return "gflops" if self.budget_gflops is None else "accuracy"

    def __str__(self) -> str:
        if self.budget_gflops is not None:
            return f"the best within {self.budget_gflops:g} GFLOPs"
        if self.min_accuracy is not None:
            return f"the cheapest of at least {100 * self.min_accuracy:g} %"
        return f"the cheapest that loses at most {self.max_loss:g} with confidence {self.confidence:g}"
