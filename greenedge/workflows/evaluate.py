"""`greenedge eval` and `greenedge sweep`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from greenedge.data.label_spaces import class_labels, unchecked_labels
from greenedge.data.prepared import image_paths
from greenedge.errors import UsageError
from greenedge.exits.confusion import count_confusions
from greenedge.exits.evaluation import PolicyEvaluation, evaluate_policy, top_predictions
from greenedge.exits.policy import ExitPolicy
from greenedge.exits.sweep_result import SweepResult, Thresholds, analyse_sweep
from greenedge.reporting.blocks import CommandResult, with_sentence, write_result
from greenedge.reporting.confusion import with_confusion, write_confusion
from greenedge.reporting.evaluation import predictions_table, present_evaluation
from greenedge.reporting.sweep import present_sweep
from greenedge.reporting.tables import write_csv
from greenedge.workflows.outputs import EvaluatedRun, PassOptions
from greenedge.workflows.policies import PolicyOptions, resolve_policy
from greenedge.workflows.static_family import load_static


def evaluate(
    run: EvaluatedRun, options: PolicyOptions, labels_map: Path | None = None, *, confusion: bool = False
) -> CommandResult[PolicyEvaluation]:
    """Accuracy and cost of each exit, and of the network under one policy, with 95 % intervals.

    Writes eval-SPLIT.json and .csv, and predictions-SPLIT.csv; with `confusion`, also per-class-SPLIT.csv,
    confusion-SPLIT.npz and confusion-SPLIT.png.

    Args:
        run: a network's outputs.
        options: when images exit.
        labels_map: a map from class indices to the labels of the predictions; None: the data set's own.
        confusion: whether to say what each exit makes of each class, by what the exit goes by.

    Raises:
        UsageError: the policy is invalid, or for another network.
        DataError: the map cannot be used.
    """
    classes, split = run.model.classes, run.split
    names = [each.name for each in classes]
    labels = class_labels(classes, labels_map)
    found = evaluate_policy(run.outputs, policy_for(run, options))
    result = present_evaluation(run.summary, found)
    if confusion:
        matrices = count_confusions(found.policy.join_outputs(run.outputs))
        result = with_confusion(result, matrices, labels, names, run.summary.exit_names)
    result = write_result(result, run.folder, f"eval-{split.name}")
    if confusion:
        ids = [each.id for each in classes]
        result = with_sentence(result, write_confusion(matrices, ids, names, (run.folder, split.name)))
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


@dataclass(frozen=True)
class SweepOptions:
    """What is swept, and what it is set beside.

    Attributes:
        criterion: a name in `CRITERIA`; None: the policy's, or the config's.
        policy: a file that `greenedge tune` wrote; its temperatures and ensemble apply, its thresholds are shown.
        thresholds: in the criterion's unit, or `all`; None: the config's where they are of this criterion, else `all`.
        reference_gflops: up to which the dominated area counts; None: the cost of running everything.
        static: runs whose backbones without exits the curve is set beside.
    """

    criterion: str | None = None
    policy: Path | None = None
    thresholds: Thresholds | None = None
    reference_gflops: float | None = None
    static: tuple[Path, ...] = ()


def sweep(run: EvaluatedRun, options: SweepOptions, images: PassOptions) -> CommandResult[SweepResult]:
    """Operating points of a shared threshold, beside what fixed choices give; writes sweep.json, .csv and .png.

    Args:
        run: a network's outputs.
        options: what is swept.
        images: that the outputs are of.

    Raises:
        UsageError: the reference cost is not positive, a threshold is beyond what the criterion can say, or the policy
            is invalid, or for another network.
        DataError: a static network is on other images.
    """
    section = run.model.config.sweep
    rule: str | ExitPolicy = options.criterion or section.criterion
    if options.policy is not None:
        rule = policy_for(run, PolicyOptions(options.policy, criterion=options.criterion))
    thresholds = options.thresholds
    if thresholds is None:  # numbers of the config are in the unit of its own criterion
        thresholds = section.thresholds if rule == section.criterion else "all"
    summary = run.summary
    found = analyse_sweep(
        run.outputs,
        summary.standalone_gflops,
        criterion=rule,
        thresholds=thresholds,
        reference_gflops=options.reference_gflops,
        static=load_static(options.static, images, run),
    )
    return write_result(present_sweep(summary, found), run.folder, f"sweep{summary.suffix}")


def policy_for(run: EvaluatedRun, options: PolicyOptions) -> ExitPolicy:
    """The policy that the options mean, for outputs in the precision that it was chosen in.

    Raises:
        UsageError: it is invalid, for another network, or for another precision.
    """
    policy = resolve_policy(run.model, options)
    if policy.precision not in (None, run.precision):
        raise UsageError(f"{options.policy}: was chosen in {policy.precision}, and the outputs are {run.precision}")
    return policy
