"""A trained network's outputs on a split: those kept from an earlier pass, or those of one pass now."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenedge.data.prepared import PreparedSplit
from greenedge.data.run_splits import open_named_split
from greenedge.data.splits import source_digest, split_digest
from greenedge.data.unseen import check_unseen
from greenedge.device.precision import Precision, RunPrecision
from greenedge.errors import DataError
from greenedge.exits.outputs import ExitOutputs, ExpectedOutputs, load_outputs, save_outputs
from greenedge.exits.policy import shared_policy
from greenedge.reporting.summary import RunSummary
from greenedge.training.trained import TrainedModel, open_data
from greenedge.workflows.models import ExportedModel, build_engine, resolve_precision

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class PassOptions:
    """Which images a network is run on, and how.

    Attributes:
        data: a prepared data set; None: the one trained on.
        split: `val`, `calibration` or `train`.
        precision: what the network runs in; `auto`: by the rule of `device/precision.py`; None: an export's own, else
            float32.
    """

    data: Path | None = None
    split: str = "val"
    precision: Precision | RunPrecision | None = None


@dataclass(frozen=True, eq=False, repr=False)
class EvaluatedRun:
    """A trained network and its outputs on a split.

    Attributes:
        model: the network.
        split: the images.
        outputs: logits of every exit.
        folder: where results are written.
        images_digest: names the images, whatever the weights and the size they were prepared at.
        precision: that the network ran in.
    """

    model: TrainedModel
    split: PreparedSplit
    outputs: ExitOutputs
    folder: Path
    images_digest: str
    precision: RunPrecision

    @property
    def summary(self) -> RunSummary:
        """What results are about."""
        model, split = self.model, self.split
        return RunSummary(model.summary, model.epoch, split.name, len(split), self.precision, model.cost)

    def __repr__(self) -> str:
        return f"EvaluatedRun({self.summary.heading})"


def load_or_compute_outputs(model: TrainedModel, options: PassOptions, out: Path | None = None) -> EvaluatedRun:
    """Loads the kept outputs of a network on a split, or computes them in one pass over the images.

    Args:
        model: the network.
        options: which images, and in which precision.
        out: where results go; None: the checkpoint's folder.

    Raises:
        GreenedgeError: the checkpoint or the data cannot be used, or do not fit each other.
    """
    split = open_images(model, options)
    folder = out or model.path.parent
    precision = resolve_precision(model, options.precision)
    outputs = kept_outputs(model, split, precision, folder)
    if outputs is None:
        outputs = ExitOutputs(_logits(model, split, precision), split.labels[split.rows], _gflops(model))
        keep_outputs(outputs, model, split, precision, folder)
    digest = source_digest(split) or split_digest(split)
    return EvaluatedRun(model, split, outputs, folder, digest, precision)


def check_same_images(path: Path, run: EvaluatedRun, other: Path, first: EvaluatedRun) -> None:
    """Whether two runs are on the same images, whatever the size they were prepared at.

    Args:
        path: that names the run.
        run: to be compared.
        other: that names the run that it is compared with.
        first: that run.

    Raises:
        DataError: they are not.
    """
    if run.images_digest != first.images_digest:
        raise DataError(
            f"{path}: its {run.split.name} images are not those of {other}; compare runs on one data set (--data)"
        )


def open_images(model: TrainedModel, options: PassOptions) -> PreparedSplit:
    """The images of a split, of which the network may be asked.

    Raises:
        DataError: there are none, or the network was trained on them.
    """
    prepared = open_data(model, options.data)
    split = open_named_split(prepared, options.split, model.config.data)
    if len(split) == 0:
        raise DataError(
            f"the {split.name} split is empty, as data.calibration_per_class of the config set no images aside; use "
            "those of another split (in tune: --choose-on val)"
        )
    check_unseen(split, model.seen, model.path, prepared.path, named=options.data is not None)
    return split


def kept_outputs(
    model: TrainedModel, split: PreparedSplit, precision: RunPrecision, folder: Path
) -> ExitOutputs | None:
    """The outputs of an earlier pass, kept in the folder or beside the weights; None where there are none."""
    expected = ExpectedOutputs(split.labels[split.rows], _gflops(model), len(model.classes))
    path = folder / _outputs_file(model, split, precision)
    for each in dict.fromkeys((path, model.path.with_name(path.name))):  # of an earlier command without --out, perhaps
        outputs = _kept(each, _source(model, split), expected)
        if outputs is not None:
            return outputs
    return None


def keep_outputs(
    outputs: ExitOutputs, model: TrainedModel, split: PreparedSplit, precision: RunPrecision, folder: Path
) -> None:
    """Keeps outputs in a folder for later commands; that they cannot be written is logged."""
    try:
        save_outputs(folder / _outputs_file(model, split, precision), outputs, _source(model, split))
    except OSError as error:
        _log.warning("note: %s: %s, so that the network will run again next time", error.filename, error.strerror)


def _outputs_file(model: TrainedModel, split: PreparedSplit, precision: RunPrecision) -> str:
    runtime = f"-{model.runtime}" if isinstance(model, ExportedModel) else ""
    return f"outputs-{split.name}{'' if precision == 'float32' else f'-{precision}'}{runtime}.npz"


def _source(model: TrainedModel, split: PreparedSplit) -> str:
    """Names the weights and the images."""
    return hashlib.sha256(f"{model.outputs_digest} {split.name} {split_digest(split)}".encode()).hexdigest()


def _gflops(model: TrainedModel) -> np.ndarray:
    return np.array([each.gflops for each in model.cost.exits])


def _logits(model: TrainedModel, split: PreparedSplit, precision: RunPrecision) -> np.ndarray:
    """float32 (E, N, C): every exit's logits, from one pass."""
    from greenedge.data.loader import build_transform
    from greenedge.inference.collect import map_split  # takes a second to import, and kept outputs do without

    engine = build_engine(model, shared_policy("entropy", None, model.num_exits - 1), precision)
    transform = build_transform(model.config.data, channels_last=model.own_precision is None)
    return map_split(engine.logits, split, transform, engine.network.device)


def _kept(path: Path, source: str, expected: ExpectedOutputs) -> ExitOutputs | None:
    """The outputs of an earlier pass; None where there are none that can be used."""
    try:
        outputs = load_outputs(path, source, expected)
    except ValueError as error:
        _log.warning("note: %s %s; the network runs again", path, error)
        return None
    if outputs is not None:
        _log.info("%s: outputs of these weights on these images are kept there; the network need not run", path)
    return outputs
