"""Which policy a command means: a file, thresholds on the command line, the one beside the weights, or none."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from greenedge.device.precision import Precision, RunPrecision
from greenedge.errors import UsageError
from greenedge.exits.confidence import check_thresholds
from greenedge.exits.policy import ExitPolicy, read_policy, read_precision, shared_policy
from greenedge.training.trained import TrainedModel

_log = logging.getLogger("greenedge")

POLICY = "policy.json"  # in a run directory, as `greenedge tune` writes it


@dataclass(frozen=True)
class PolicyOptions:
    """What the user said of when images exit.

    Attributes:
        policy: a file that `greenedge tune` wrote; nothing else may be said then.
        thresholds: one that all early exits share, or one for each; None: no image exits early.
        criterion: a name in `CRITERIA`; None: the config's.
    """

    policy: Path | None = None
    thresholds: tuple[float, ...] | None = None
    criterion: str | None = None

    @property
    def silent(self) -> bool:
        """Whether nothing was said."""
        return self == PolicyOptions()


def resolve_policy(model: TrainedModel, options: PolicyOptions) -> ExitPolicy:
    """The policy that the options mean for this network.

    Raises:
        UsageError: the file is no policy for this network, options contradict each other, or thresholds are too few.
        ConfigError: there is no such criterion.
    """
    if options.policy is not None:
        if options.thresholds is not None or options.criterion is not None:
            raise UsageError("--policy says criterion and thresholds itself; leave out --threshold(s) and --criterion")
        return read_policy(options.policy, model.exits, model.digest).policy
    criterion = options.criterion or model.config.sweep.criterion
    early_exits = model.num_exits - 1
    thresholds = options.thresholds
    if thresholds is None:
        return shared_policy(criterion, None, early_exits)
    if len(thresholds) == 1:
        check_thresholds(criterion, thresholds, len(model.classes), model.num_exits)
        return shared_policy(criterion, thresholds[0], early_exits)
    if early_exits == 0:
        raise UsageError(f"{len(thresholds)} thresholds were given; the network has no early exit that could use them")
    if len(thresholds) != early_exits:
        raise UsageError(
            f"{len(thresholds)} thresholds were given; the network has {early_exits} early exits, so give one for all, "
            "or one for each"
        )
    check_thresholds(criterion, thresholds, len(model.classes), model.num_exits)
    return ExitPolicy(criterion, thresholds)


def requested_precision(
    model: TrainedModel, options: PolicyOptions, precision: Precision | None, default: Precision = "float32"
) -> Precision | RunPrecision:
    """What the network is to run in: what was asked for, what the policy was chosen in, its own, or the default.

    Raises:
        UsageError: the policy cannot be read, or was chosen in another precision than is asked for.
    """
    chosen_in = None if options.policy is None else read_precision(options.policy)
    if chosen_in is not None and precision not in (None, chosen_in):
        raise UsageError(
            f"{options.policy}: was chosen in {chosen_in}; leave out --precision {precision}, or tune again with it"
        )
    return precision or chosen_in or model.own_precision or default


def with_policy_beside(model: TrainedModel, options: PolicyOptions) -> PolicyOptions:
    """The options; where nothing was said, the policy beside the weights, which is logged."""
    path = model.path.parent / POLICY
    if not options.silent or not path.is_file():
        return options
    _log.info("images exit by %s; --threshold or another --policy takes its place", path)
    return PolicyOptions(path)


def note_policy_beside(model: TrainedModel, options: PolicyOptions) -> None:
    """Logs that a policy lies beside the weights and was not asked for."""
    path = model.path.parent / POLICY
    if options.silent and path.is_file():
        _log.warning(
            "note: no image exits early, as no policy was named; give --policy %s to use the one found there", path
        )
