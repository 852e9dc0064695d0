"""`greenedge eval` and `greenedge sweep`."""

from __future__ import annotations

from pathlib import Path

from greenedge.data.label_spaces import class_labels, unchecked_labels
from greenedge.data.prepared import image_paths
from greenedge.errors import UsageError
from greenedge.exits.evaluation import PolicyEvaluation, evaluate_policy, top_predictions
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.sweep_result import SweepResult, Thresholds, analyse_sweep
from greenedge.reporting.blocks import CommandResult, with_sentence, write_result
from greenedge.reporting.evaluation import predictions_table, present_evaluation
from greenedge.reporting.sweep import present_sweep
from greenedge.reporting.tables import write_csv
from greenedge.workflows.outputs import EvaluatedRun
from greenedge.workflows.policies import PolicyOptions, resolve_policy


def evaluate(
    run: EvaluatedRun, options: PolicyOptions, labels_map: Path | None = None
) -> CommandResult[PolicyEvaluation]:
    """Accuracy and cost of each exit, and of the network under one policy, with 95 % intervals.

    Writes eval-SPLIT.json and .csv, and predictions-SPLIT.csv.

    Args:
        run: a network's outputs.
        options: when images exit.
        labels_map: a map from class indices to the labels of the predictions; None: the data set's own.

    Raises:
        UsageError: the policy is invalid, or for another network.
        DataError: the map cannot be used.
    """
    classes, split = run.model.classes, run.split
    labels = class_labels(classes, labels_map)
    policy = resolve_policy(run.model, options)
    _check_precision(options.policy, policy, run)

    found = evaluate_policy(run.outputs, policy)
    result = write_result(present_evaluation(run.summary, found), run.folder, f"eval-{split.name}")
    table = predictions_table(
        split.rows,
        image_paths(split) or [""] * len(split),
        run.outputs.labels,
        labels,
        top_predictions(run.outputs, found),
        found.exit_indices,
    )
    write_csv(run.folder / f"predictions-{split.name}.csv", table.headers, table.rows)
    return with_sentence(result, unchecked_labels(classes, labels_map, labels))


def sweep(
    run: EvaluatedRun,
    criterion: str | None,
    thresholds: Thresholds | None,
    reference_gflops: float | None,
    policy: Path | None = None,
) -> CommandResult[SweepResult]:
    """Operating points of a shared threshold, beside what fixed exits give; writes sweep.json, .csv and .png.

    Args:
        run: a network's outputs.
        criterion: a name in `CRITERIA`; None: the config's.
        thresholds: in the criterion's unit, or `all`; None: the config's where they are of this criterion, else `all`.
        reference_gflops: up to which the dominated area counts; None: the cost of running everything.
        policy: a file that `greenedge tune` wrote, of which all but the thresholds is kept; None: none.

    Raises:
        UsageError: the reference cost is not positive, a threshold is beyond what the criterion can say, or the policy
            is not for this network, or says another criterion than is asked for.
    """
    section = run.model.config.sweep
    kept = None if policy is None else resolve_policy(run.model, PolicyOptions(policy, criterion=criterion))
    if kept is not None:
        _check_precision(policy, kept, run)
    criterion = criterion or section.criterion
    if thresholds is None:  # numbers of the config are in the unit of its own criterion
        thresholds = section.thresholds if kept is None and criterion == section.criterion else "all"
    summary = run.summary
    found = analyse_sweep(
        run.outputs,
        summary.standalone_gflops,
        criterion=kept or criterion,
        thresholds=thresholds,
        reference_gflops=reference_gflops,
    )
    return write_result(present_sweep(summary, found), run.folder, f"sweep{summary.suffix}")


def _check_precision(path: Path | None, policy: ExitPolicy, run: EvaluatedRun) -> None:
    if policy.precision not in (None, run.precision):
        raise UsageError(f"{path}: was chosen in {policy.precision}, and the outputs are {run.precision}")
