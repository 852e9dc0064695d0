"""When images leave: a criterion, a threshold for each early exit, and temperatures; kept as a small JSON file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenedge.errors import ConfigError, UsageError
from greenedge.exits.confidence import Criterion, find_criterion
from greenedge.files import write_json

FORMAT = "greenedge-policy/1"


def _is_list_of(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(type(each) in kinds for each in value)


# What the JSON file holds, and whether a value can be that.
_CONTENT: dict[str, Callable[[Any], bool]] = {
    "criterion": lambda value: isinstance(value, str),
    "thresholds": _is_list_of(int, float),
    "temperatures": lambda value: value is None or _is_list_of(int, float)(value),
    "exits": _is_list_of(str),
    "weights": lambda value: isinstance(value, str),
    "chosen": lambda value: isinstance(value, dict),
}


@dataclass(frozen=True)
class ExitPolicy:
    """Where an image leaves: at the first exit whose score, of its logits over its temperature, is sure enough.

    Attributes:
        criterion: a name in `CRITERIA`.
        thresholds: of each early exit, in the criterion's unit.
        temperatures: of each exit, the final one included; they divide the logits (Guo et al. 2017). None: all 1.

    Raises:
        ConfigError: there is no such criterion.
        UsageError: a threshold that is not finite, a temperature that is not above 0, or numbers that do not fit.
    """

    criterion: str
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Checks the numbers."""
        find_criterion(self.criterion)
        if not all(map(math.isfinite, self.thresholds)):
            raise UsageError("thresholds must be finite numbers")
        if self.temperatures is None:
            return
        if len(self.temperatures) != len(self.thresholds) + 1:
            raise UsageError(
                f"{len(self.temperatures)} temperatures do not fit {len(self.thresholds)} thresholds; "
                "each exit, the final one included, needs one"
            )
        if not all(math.isfinite(each) and each > 0 for each in self.temperatures):
            raise UsageError("temperatures must be finite numbers above 0")

    @property
    def rule(self) -> Criterion:
        """The criterion itself."""
        return find_criterion(self.criterion)

    def temperature(self, exit_index: int) -> float:
        """Of one exit."""
        return 1.0 if self.temperatures is None else self.temperatures[exit_index]


def shared_policy(
    criterion: str, threshold: float | None, early_exits: int, temperatures: tuple[float, ...] | None = None
) -> ExitPolicy:
    """One threshold for all early exits; None: nothing leaves early."""
    chosen = find_criterion(criterion).never if threshold is None else threshold
    return ExitPolicy(criterion, (chosen,) * early_exits, temperatures)


@dataclass(frozen=True)
class SavedPolicy:
    """A policy and the network it was made for.

    Attributes:
        policy: when images leave.
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
    write_json(path, {"format": FORMAT, **dataclasses.asdict(saved.policy), **_plain(saved)})


def read_policy(path: Path, exits: Sequence[str], weights: str) -> SavedPolicy:
    """Reads a policy that must be for this network.

    Args:
        path: what `write_policy` wrote.
        exits: the block that each exit of the network comes after, the final one included.
        weights: SHA-256 of its checkpoint.

    Raises:
        UsageError: no such file, not a policy, or one for another network.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such policy; `greenedge tune` writes one") from None
    except ValueError as error:
        raise UsageError(f"{path}: is no policy: not JSON ({error})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(f"{path}: is no policy; `greenedge tune` writes one")
    for key, holds in _CONTENT.items():
        if key not in content or not holds(content[key]):
            raise UsageError(f"{path}: is a damaged policy, as its {key!r} shows; tune again")
    temperatures = content["temperatures"]
    try:
        policy = ExitPolicy(
            content["criterion"],
            tuple(map(float, content["thresholds"])),
            None if temperatures is None else tuple(map(float, temperatures)),
        )
    except (ConfigError, UsageError) as error:
        raise UsageError(f"{path}: {error}") from None
    except OverflowError:
        raise UsageError(f"{path}: holds a number that is too large; tune again") from None
    saved = SavedPolicy(policy, tuple(content["exits"]), content["weights"], content["chosen"])
    if len(policy.thresholds) != len(exits) - 1:
        raise UsageError(
            f"{path}: has {len(policy.thresholds)} thresholds, the network has {len(exits) - 1} early exits; tune again"
        )
    if saved.exits != tuple(exits):
        theirs, ours = ", ".join(saved.exits), ", ".join(exits)
        raise UsageError(f"{path}: is for a network with exits after {theirs}, not {ours}; tune again")
    if saved.weights and saved.weights != weights:
        raise UsageError(f"{path}: was chosen for other weights of this network; tune again")
    return saved


def _plain(saved: SavedPolicy) -> dict[str, Any]:
    return {"exits": list(saved.exits), "weights": saved.weights, "chosen": dict(saved.chosen)}
