"""When images exit and what exits go by: a criterion, thresholds, temperatures, an ensemble; kept as a JSON file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from greenedge.config.records import RecordError, read_record
from greenedge.device.precision import RunPrecision
from greenedge.errors import ConfigError, UsageError
from greenedge.exits.confidence import GAIN, Criterion, find_criterion
from greenedge.exits.ensemble import join_logits, join_outputs
from greenedge.exits.gain import check_gain, gain_criterion, gate_operations
from greenedge.exits.outputs import ExitOutputs
from greenedge.files import write_json

FORMAT = "greenedge-policy/1"


@dataclass(frozen=True)
class ExitPolicy:
    """Where an image exits: at the first exit that is confident enough of what it goes by (`exits/ensemble.py`).

    Examples:
        >>> policy = ExitPolicy("max_probability", (0.75, 0.6))
        >>> str(policy)
        'max_probability thresholds 0.75, 0.6 (probability)'
        >>> policy.uncertainty_limits
        (-0.75, -0.6)

    Attributes:
        criterion: a name in `CRITERIA`, or `gain`, which is learned.
        thresholds: of each early exit, in the criterion's unit.
        temperatures: of each exit, the final one included; they divide the logits (Guo et al. 2017). None: all 1.
        precision: `float32`, `bf16` or `int8`: in which the network ran when this was chosen, and has to run under it,
            since rounding moves images across a threshold; None: any.
        ensemble: of each exit but the first, the final one included, the weight in [0, 1) of what the exits before it
            went by; its own logits have the rest. None: each exit goes by its own logits alone.
        gain: of each early exit, the coefficients of the criterion `gain` (`exits/gain.py`); None: of any other.

    Raises:
        ConfigError: there is no such criterion.
        UsageError: a threshold or coefficient that is not finite, a temperature that is not above 0, a weight out of
            range, or numbers that do not fit.
    """

    criterion: str
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...] | None = None
    precision: RunPrecision | None = None
    ensemble: tuple[float, ...] | None = None
    gain: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        """Checks the numbers."""
        self._check_criterion()
        if not all(map(math.isfinite, self.thresholds)):
            raise UsageError("thresholds must be finite numbers")
        if self.ensemble is not None and len(self.ensemble) != len(self.thresholds):
            raise UsageError(
                f"{len(self.ensemble)} ensemble weights do not fit {len(self.thresholds)} thresholds; each exit but "
                "the first, the final one included, needs one"
            )
        if self.ensemble is not None and not all(0 <= each < 1 for each in self.ensemble):
            raise UsageError("ensemble weights must be numbers of at least 0 and below 1")
        if self.temperatures is None:
            return
        if len(self.temperatures) != len(self.thresholds) + 1:
            raise UsageError(
                f"{len(self.temperatures)} temperatures do not fit {len(self.thresholds)} thresholds; "
                "each exit, the final one included, needs one"
            )
        if not all(math.isfinite(each) and each > 0 for each in self.temperatures):
            raise UsageError("temperatures must be finite numbers above 0")

    def _check_criterion(self) -> None:
        if self.criterion != GAIN:
            find_criterion(self.criterion)
            if self.gain is not None:
                raise UsageError(f"coefficients of gain were given, but the criterion is {self.criterion}")
        elif self.gain is None:
            raise UsageError("gain needs its coefficients, which `greenedge tune --criterion gain` fits")
        else:
            check_gain(self.gain, len(self.thresholds))

    def get_criterion(self) -> Criterion:
        """The criterion of that name, with its coefficients where it is learned."""
        return find_criterion(self.criterion) if self.gain is None else gain_criterion(self.gain)

    @property
    def uncertainty_limits(self) -> tuple[float, ...]:
        """Of each early exit: an image exits where its uncertainty is strictly below this."""
        criterion = self.get_criterion()
        return tuple(criterion.uncertainty_limit(threshold) for threshold in self.thresholds)

    def temperature(self, exit_index: int) -> float:
        """The temperature of one exit."""
        return 1.0 if self.temperatures is None else self.temperatures[exit_index]

    def join(self, exit_index: int, logits: Tensor, before: Tensor | None) -> Tensor:
        """What an exit goes by, (N, C), from its logits and from what the exit before went by (None: the first)."""
        weight = 0.0 if self.ensemble is None or before is None else self.ensemble[exit_index - 1]
        return join_logits(logits, before, self.temperature(exit_index), weight)

    def join_outputs(self, outputs: ExitOutputs) -> ExitOutputs:
        """The outputs with what each exit goes by in place of its logits, at the cost that includes `own_gflops`."""
        joined = join_outputs(outputs, self.temperatures, self.ensemble)
        if self.ensemble is None and self.gain is None:
            return joined
        return dataclasses.replace(joined, gflops=outputs.gflops + self.own_gflops(outputs.logits.shape[2]))

    def own_gflops(self, num_classes: int) -> np.ndarray:
        """float64 (E,): what an ensemble and a learned gain cost themselves, up to and including each exit.

        One multiply-add is 1, as in all costs. An exit divides its C logits by a temperature, if it has one (C), and
        joins them with those before (2 C; not at the first); an early exit then predicts the gain (`gate_operations`).
        Policies without both cost nothing here: softmax and comparisons are not in fvcore's counts.

        Args:
            num_classes: C.
        """
        exits = len(self.thresholds) + 1
        operations = np.zeros(exits)
        if self.temperatures is not None and (self.ensemble is not None or self.gain is not None):
            operations += num_classes
        if self.ensemble is not None:
            operations[1:] += 2 * num_classes
        if self.gain is not None:
            operations[:-1] += [gate_operations(index, num_classes) for index in range(exits - 1)]
        found: np.ndarray = operations.cumsum() / 1e9
        return found

    def without_early_exit(self) -> ExitPolicy:
        """The same policy with thresholds at which no image exits early."""
        never = self.get_criterion().never_exit_threshold
        return dataclasses.replace(self, thresholds=(never,) * len(self.thresholds))

    def __str__(self) -> str:
        """`entropy threshold 1.26 (nats)`, `entropy thresholds 1.2, 0.9 (nats)`, or `no image exits early`."""
        criterion = self.get_criterion()
        never = criterion.never_exit_threshold
        if all(threshold == never for threshold in self.thresholds):
            return "no image exits early"

        shown = self.thresholds[:1] if len(set(self.thresholds)) == 1 else self.thresholds
        plural = "s" if len(shown) > 1 else ""
        numbers = ", ".join("never" if threshold == never else f"{threshold:.4g}" for threshold in shown)
        text = f"{self.criterion} threshold{plural} {numbers} ({criterion.unit})"
        if self.temperatures is not None:
            text += ", temperatures " + ", ".join(f"{each:.3g}" for each in self.temperatures)
        if self.ensemble is not None:
            text += ", earlier exits weigh " + ", ".join(f"{each:.2g}" for each in self.ensemble)
        return text


def shared_policy(
    criterion_name: str, threshold: float | None, early_exits: int, temperatures: tuple[float, ...] | None = None
) -> ExitPolicy:
    """One threshold for all early exits; None: no image exits early."""
    chosen = find_criterion(criterion_name).never_exit_threshold if threshold is None else threshold
    return ExitPolicy(criterion_name, (chosen,) * early_exits, temperatures)


@dataclass(frozen=True)
class SavedPolicy:
    """A policy and the network it was made for.

    Attributes:
        policy: when images exit.
        exits: the block that each exit comes after, the final one included.
        weights: SHA-256 of the checkpoint; empty: of any with these exits.
        chosen: how it was chosen, for people to read.
    """

    policy: ExitPolicy
    exits: tuple[str, ...]
    weights: str = ""
    chosen: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def write_policy(path: Path, saved: SavedPolicy) -> None:
    """Writes a policy as JSON, atomically."""
    content = {"exits": list(saved.exits), "weights": saved.weights, "chosen": dict(saved.chosen)}
    write_json(path, {"format": FORMAT, **dataclasses.asdict(saved.policy), **content}, sealed=True)


@dataclass(frozen=True)
class _PolicyFile:
    """What the JSON file holds."""

    format: Literal["greenedge-policy/1"]
    criterion: str
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...] | None
    exits: tuple[str, ...]
    weights: str
    chosen: dict[str, Any]
    precision: RunPrecision | None = None
    ensemble: tuple[float, ...] | None = None
    gain: tuple[tuple[float, ...], ...] | None = None


def read_policy(path: Path, exits: Sequence[str], weights: str) -> SavedPolicy:
    """Reads a policy that must be for this network.

    Args:
        path: the JSON file.
        exits: the block that each exit of the network comes after, the final one included.
        weights: SHA-256 of its checkpoint.

    Raises:
        UsageError: the file is missing, is not a policy, or is one for another network.
    """
    content = _read(path)
    try:
        policy = ExitPolicy(
            content.criterion,
            content.thresholds,
            content.temperatures,
            content.precision,
            content.ensemble,
            content.gain,
        )
    except (ConfigError, UsageError) as error:
        raise UsageError(f"{path}: {error}") from None

    thresholds, theirs = content.thresholds, content.exits
    if len(thresholds) != len(exits) - 1:
        raise UsageError(
            f"{path}: has {len(thresholds)} thresholds, the network has {len(exits) - 1} early exits; tune again"
        )
    if theirs != tuple(exits):
        raise UsageError(
            f"{path}: is for a network with exits after {', '.join(theirs)}, not {', '.join(exits)}; tune again"
        )
    if content.weights and content.weights != weights:
        raise UsageError(f"{path}: was chosen for other weights of this network; tune again")
    return SavedPolicy(policy, theirs, content.weights, content.chosen)


def read_precision(path: Path) -> RunPrecision | None:
    """The precision that a policy was chosen in, whatever its network; None where it does not say.

    Raises:
        UsageError: the file is missing, or is not a policy.
    """
    return _read(path).precision


def _read(path: Path) -> _PolicyFile:
    try:
        return read_record(path, _PolicyFile)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such policy; `greenedge tune` writes one") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    except RecordError as error:
        raise UsageError(f"{path}: is no policy, or {error}; tune again") from None
