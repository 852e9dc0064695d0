"""Outputs of every exit, and what follows from them: curves, policies, a page to choose on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from greenedge.cost.flops import count_costs
from greenedge.cost.table import NetworkCost
from greenedge.errors import UsageError
from greenedge.exits.evaluation import PolicyEvaluation, evaluate_policy
from greenedge.exits.goal import Goal
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.policy_choice import PER_EXIT, SHARED, TuneResult, tune_policy
from greenedge.exits.sweep_result import SweepResult, Thresholds, analyse_sweep
from greenedge.inference.finite import check_finite_logits
from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.training.trained import TrainedModel
from greenedge.workflows.report import ReportOptions
from greenedge.workflows.report import report as write_report


def collect_outputs(
    model: TrainedModel | nn.Module, loader: Iterable[tuple[Tensor, Tensor]], *, cost: NetworkCost | None = None
) -> ExitOutputs:
    """Runs a network once over images and keeps the logits of every exit; sweeps and policies are arithmetic on them.

    Args:
        model: a trained network, a `MultiExitNetwork`, or any module that gives a list of logits, one per exit.
        loader: any iterable of (images, labels), such as a `torch.utils.data.DataLoader` or `load_data(...)`: float
            (B, 3, S, S), normalised, and int64 (B,).
        cost: of every exit; None: counted, which needs a `MultiExitNetwork`.

    Raises:
        UsageError: no images, or a module whose costs are unknown.
        CheckpointError: an exit gives logits that are NaN or infinite.
    """
    network = model.network if isinstance(model, TrainedModel) else model
    if cost is None:
        if isinstance(model, TrainedModel):
            cost = model.cost
        elif isinstance(network, MultiExitNetwork):
            cost = count_costs(network)
        else:
            raise UsageError("the costs of such a module are not known; give cost=")
    device = next(network.parameters()).device
    logits, labels = [], []
    with evaluation_mode(network), torch.inference_mode():
        for images, targets in loader:
            found = torch.stack([each.float() for each in network(images.to(device))]).cpu()
            check_finite_logits(found)
            logits.append(found)
            labels.append(torch.as_tensor(targets).cpu())
    if not logits:
        raise UsageError("the loader gives no images")
    return ExitOutputs(
        torch.cat(logits, dim=1).numpy(),
        torch.cat(labels).numpy().astype(np.int64),
        np.array([each.gflops for each in cost.exits]),
        np.array([each.alone_gflops for each in cost.exits]),
    )


def sweep(
    outputs: ExitOutputs,
    *,
    criterion: str | ExitPolicy = "entropy",
    thresholds: Thresholds = "all",
    reference_gflops: float | None = None,
) -> SweepResult:
    """Accuracy and cost at every shared threshold, beside fixed exits, with 95 % intervals.

    Args:
        outputs: of a network on images.
        criterion: a name of `list_criteria`; or a policy, of which all but the thresholds is kept.
        thresholds: in the criterion's unit, or `all`.
        reference_gflops: up to which the dominated area counts; None: the cost of running everything.

    Raises:
        UsageError: a threshold is beyond what the criterion can say, or the standalone costs are not known.
        ConfigError: there is no such criterion.
    """
    if outputs.standalone_gflops is None:
        raise UsageError("these outputs do not say what each exit costs alone; collect_outputs keeps that")
    return analyse_sweep(
        outputs,
        outputs.standalone_gflops,
        criterion=criterion,
        thresholds=thresholds,
        reference_gflops=reference_gflops,
    )


def tune(
    outputs: ExitOutputs,
    *,
    budget_gflops: float | None = None,
    min_accuracy: float | None = None,
    max_loss: float | None = None,
    confidence: float = 0.95,
    criterion: str | None = None,
    ensemble: bool | None = None,
    shared: bool = False,
    temperatures: bool = True,
    shown: ExitOutputs | None = None,
) -> TuneResult:
    """Chooses thresholds for a budget, an accuracy, or a largest loss; `.policy` is the policy.

    Args:
        outputs: of images that the network was not trained on and that accuracy is not reported on.
        budget_gflops: at most this mean cost.
        min_accuracy: at least this accuracy, in (0, 1].
        max_loss: at most this much accuracy below the final exit's, in (0, 1), certified with `confidence`.
        confidence: in (0, 1).
        criterion: a name of `list_criteria`, or `gain`, which is learned; None: the best one for the goal, by
            cross-fitting on these images (entropy where they are fewer than 200, and for a largest loss).
        ensemble: exits go by a running ensemble of those so far; None: where that is better, by the same images.
        shared: one threshold for all early exits.
        temperatures: fit a temperature for each exit first; never done for a largest loss.
        shown: outputs of other images, to see what the policy does there.

    Raises:
        UsageError: not exactly one goal, or no thresholds reach it.
    """
    goal = Goal(budget_gflops, min_accuracy, max_loss, confidence)
    kind = SHARED if shared else PER_EXIT
    return tune_policy(
        outputs, shown, goal, criterion=criterion, ensemble=ensemble, kind=kind, temperatures=temperatures
    )


def evaluate(outputs: ExitOutputs, policy: ExitPolicy) -> PolicyEvaluation:
    """Accuracy, cost and exit rates of a policy, with 95 % intervals."""
    return evaluate_policy(outputs, policy)


def report(
    runs: str | Path | Sequence[str | Path],
    out: str | Path = "report.html",
    *,
    data: str | Path | None = None,
    split: Literal["train", "val", "calibration"] = "val",
    title: str | None = None,
    images: bool = True,
) -> Path:
    """Writes one HTML page of a run or several, as `greenedge report` does, and gives its path.

    Args:
        runs: run directories or checkpoints; several are set side by side.
        out: the page.
        data: a prepared data set; None: the one trained on.
        split: the images that all numbers are of.
        title: of the page; None: the runs' names.
        images: whether the page shows images of the data set.

    Raises:
        GreenedgeError: a run cannot be used, or runs are of other classes or images.
    """
    several = [runs] if isinstance(runs, str | Path) else runs
    options = ReportOptions(None if data is None else Path(data), split, title=title, images=images)
    write_report([Path(each) for each in several], Path(out), options)
    return Path(out)
