"""`greenedge report`: one HTML page of one run or several."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenedge.config.records import RecordError, parse_json
from greenedge.device.precision import Precision, RunPrecision
from greenedge.errors import DataError, UsageError
from greenedge.exits.confidence import find_criterion
from greenedge.exits.network_comparison import Comparison, compare_networks
from greenedge.exits.policy import SavedPolicy, read_policy
from greenedge.exits.sweep import score_outputs
from greenedge.files import write_text
from greenedge.reporting.blocks import CommandResult
from greenedge.reporting.names import run_names
from greenedge.reporting.page.analysis import ReadImages, analyse_run
from greenedge.reporting.page.content import ReportedRun
from greenedge.reporting.page.facts import run_facts
from greenedge.reporting.page.kept import KeptBench, KeptFiles, KeptPlacement, read_kept
from greenedge.reporting.page.present import build_page, present_report
from greenedge.reporting.page.render import render_page
from greenedge.training.history import read_history
from greenedge.training.run_files import BEST, ENVIRONMENT, HISTORY
from greenedge.training.trained import TrainedModel
from greenedge.workflows.models import open_run
from greenedge.workflows.outputs import EvaluatedRun, PassOptions, check_same_images, load_or_compute_outputs
from greenedge.workflows.policies import POLICY, PolicyOptions, requested_precision
from greenedge.workflows.static_family import load_static

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class ReportOptions:
    """What a page shows.

    Attributes:
        data: a prepared data set; None: the one trained on.
        split: `val`, `calibration` or `train`.
        precision: what the networks run in; None: what each policy was chosen in, else float32.
        static: runs whose backbones without exits the curves are set beside.
        title: of the page; None: the runs' names.
        images: whether it shows images.
    """

    data: Path | None = None
    split: str = "val"
    precision: Precision | None = None
    static: tuple[Path, ...] = ()
    title: str | None = None
    images: bool = True


def report(runs: Sequence[Path], out: Path, options: ReportOptions) -> CommandResult[Sequence[ReportedRun]]:
    """Writes a page of what is known of some runs, from kept outputs where there are some, else from one pass.

    Args:
        runs: run directories, checkpoints or exports, at least one; of several, all of the same classes and images.
        out: the page.
        options: what it shows.

    Raises:
        UsageError: no run, or a page that is a folder.
        DataError: runs of other classes or images, or a broken result file.
        GreenedgeError: a run cannot be used.
    """
    if not runs:
        raise UsageError("give at least one run directory or checkpoint to report on")
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; give --out the name of a file, such as {out / 'report.html'}")
    models = [open_run(path) for path in runs]
    _check_same_classes(runs, models)
    names = run_names(runs, BEST)
    evaluated: list[EvaluatedRun] = []
    found: list[ReportedRun] = []
    all_kept = [_read_beside(model) for model in models]
    for path, model, name, kept in zip(runs, models, names, all_kept, strict=True):
        images = PassOptions(options.data, options.split, _precision(model, kept.policy, options))
        run = load_or_compute_outputs(model, images)
        evaluated.append(run)
        check_same_images(path, run, runs[0], evaluated[0])
        static = load_static(options.static, images, run)
        facts = run_facts(model, name, kept.history, kept.environment)
        found.append(
            analyse_run(run.outputs, run.summary, facts, kept, static, _reader(run) if options.images else None)
        )

    comparison = _compare(evaluated) if len(evaluated) > 1 else None
    content = render_page(build_page(found, comparison, options.title))
    write_text(out, content)
    return present_report(found, comparison, out, len(content.encode()))


def _compare(runs: Sequence[EvaluatedRun]) -> Comparison:
    """As `greenedge compare` does, by the criterion of each config."""
    scores = [score_outputs(each.outputs, find_criterion(each.model.config.sweep.criterion)) for each in runs]
    return compare_networks(scores, [each.summary.standalone_gflops for each in runs])


def _check_same_classes(runs: Sequence[Path], models: Sequence[TrainedModel]) -> None:
    for path, model in zip(runs, models, strict=True):
        if [each.id for each in model.classes] != [each.id for each in models[0].classes]:
            raise DataError(
                f"{path}: has {len(model.classes)} classes that are not the {len(models[0].classes)} of {runs[0]}; a "
                "page sets runs of the same classes side by side, so write one page for each"
            )


def _precision(model: TrainedModel, policy: SavedPolicy | None, options: ReportOptions) -> Precision | RunPrecision:
    path = model.path.parent / POLICY
    return requested_precision(model, PolicyOptions(None if policy is None else path), options.precision)


def _read_beside(model: TrainedModel) -> KeptFiles:
    """Reads it all before the network runs, which may take long.

    Raises:
        GreenedgeError: a file is broken, or the policy for another network.
    """
    folder = model.path.parent
    policy = folder / POLICY
    bench = read_kept(folder / "bench.json", KeptBench)
    whole = model.cost.exits[-1].gflops
    if bench is not None and not math.isclose(bench.full_gflops, whole, rel_tol=0.05):
        _log.warning(
            "note: %s is of a network of %.4g GFLOPs, and this one has %.4g, so it is left out",
            *(folder / "bench.json", bench.full_gflops, whole),
        )
        bench = None
    return KeptFiles(
        model.config.sweep.criterion,
        read_policy(policy, model.exits, model.digest) if policy.is_file() else None,
        str(policy),
        tuple(read_history(folder / HISTORY)),
        _environment(folder / ENVIRONMENT),
        bench,
        read_kept(folder / "place.json", KeptPlacement),
    )


def _reader(run: EvaluatedRun) -> ReadImages:
    return lambda places: run.split.read(run.split.rows[list(places)])


def _environment(path: Path) -> dict[str, str | int]:
    """Versions and the machine of a training; empty where they were not kept.

    Raises:
        DataError: the file is broken.
    """
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except RecordError as error:
        raise DataError(f"{path}: {error}; put back a copy of it, or remove it") from None
    if not isinstance(value, dict) or not all(isinstance(each, str | int) for each in value.values()):
        raise DataError(f"{path}: is damaged: expected names and texts or numbers; put back a copy of it, or remove it")
    return value
