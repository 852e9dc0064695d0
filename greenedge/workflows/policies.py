"""Which policy a command means: a file, thresholds on the command line, or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from greenedge.errors import UsageError
from greenedge.exits.policy import ExitPolicy, read_policy, shared_policy
from greenedge.workflows.build import TrainedModel
from greenedge.workflows.outputs import file_digest


@dataclass(frozen=True)
class PolicyOptions:
    """What the user said of when images leave.

    Attributes:
        policy: a file that `greenedge tune` wrote; nothing else may be said then.
        thresholds: one that all early exits share, or one for each; None: nothing leaves early.
        criterion: a name in `CRITERIA`; None: the recipe's.
    """

    policy: Path | None = None
    thresholds: tuple[float, ...] | None = None
    criterion: str | None = None


def choose_policy(model: TrainedModel, weights: Path, options: PolicyOptions) -> ExitPolicy:
    """The policy that the options mean for this network.

    Raises:
        UsageError: the file is no policy for this network, options contradict each other, or thresholds are too few.
        ConfigError: there is no such criterion.
    """
    if options.policy is not None:
        if options.thresholds is not None or options.criterion is not None:
            raise UsageError("--policy says criterion and thresholds itself; leave out --threshold(s) and --criterion")
        return read_policy(options.policy, *network_identity(model, weights)).policy
    criterion = options.criterion or model.config.sweep.criterion
    early_exits = model.network.num_exits - 1
    thresholds = options.thresholds
    if thresholds is None or len(thresholds) == 1:
        return shared_policy(criterion, None if thresholds is None else thresholds[0], early_exits)
    if early_exits == 0:
        raise UsageError(f"{len(thresholds)} thresholds were given; the network has no early exit that could use them")
    if len(thresholds) != early_exits:
        raise UsageError(
            f"{len(thresholds)} thresholds were given; the network has {early_exits} early exits, so give one for all, "
            "or one for each"
        )
    return ExitPolicy(criterion, thresholds)


def network_identity(model: TrainedModel, weights: Path) -> tuple[tuple[str, ...], str]:
    """The block that each exit comes after, and the SHA-256 of the checkpoint: what a policy is made for."""
    return tuple(segment.after for segment in model.network.segments), file_digest(weights)


def describe_policy(policy: ExitPolicy) -> str:
    """`entropy threshold 1.26 (nats)`, or `entropy thresholds 1.2, 0.9 (nats)`."""
    rule = policy.rule
    distinct = list(dict.fromkeys(policy.thresholds)) or [rule.never]
    shown = distinct if len(distinct) == 1 else policy.thresholds
    plural = "s" if len(shown) > 1 else ""
    numbers = ", ".join(f"{threshold:.4g}" for threshold in shown)
    text = f"{policy.criterion} threshold{plural} {numbers} ({rule.unit})"
    if policy.temperatures is not None:
        text += ", temperatures " + ", ".join(f"{each:.3g}" for each in policy.temperatures)
    return text
