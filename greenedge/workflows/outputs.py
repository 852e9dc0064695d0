"""A trained network's answers on a split: those kept from an earlier pass, or those of one pass now."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from greenedge.cost.table import NetworkCost
from greenedge.data.prepared import PreparedData, PreparedSplit, open_prepared
from greenedge.data.seen import count_trained_on, is_split_of
from greenedge.data.splits import source_digest, split_digest
from greenedge.device.precision import Precision, choose_autocast, choose_device
from greenedge.errors import CheckpointError, DataError
from greenedge.exits.outputs import ExitOutputs, ExpectedOutputs, load_outputs, save_outputs
from greenedge.exits.policy import shared_policy
from greenedge.reporting.names import exit_name
from greenedge.workflows.trained import TrainedModel, load_model, model_summary, open_data, open_named_split


@dataclass(frozen=True)
class EvaluatedRun:
    """A trained network and what it answered.

    Attributes:
        weights: its checkpoint.
        model: the network.
        split: the images.
        outputs: its answers at every exit.
        cost: of every exit.
        folder: where results are written.
        images_digest: names the images, whatever the weights and the size they were prepared at.
        precision: `float32` or `bf16`, that the network ran in.
    """

    weights: Path
    model: TrainedModel
    split: PreparedSplit
    outputs: ExitOutputs
    cost: NetworkCost
    folder: Path
    images_digest: str
    precision: Literal["float32", "bf16"]

    @property
    def heading(self) -> str:
        """`resnet18 with exits after ..., epoch 6; val: 10000 images`."""
        model, split = self.model, self.split
        precision = "" if self.precision == "float32" else f" in {self.precision}"
        return f"{model_summary(model.config.model)}, epoch {model.epoch}; {split.name}: {len(split)} images{precision}"

    @property
    def suffix(self) -> str:
        """Ends the names of result files: nothing for `val`; other splits have files of their own."""
        return "" if self.split.name == "val" else f"-{self.split.name}"

    @property
    def exit_labels(self) -> list[str]:
        """`exit 1, after layer1.1`, ..."""
        costs = self.cost.exits
        return [f"{exit_name(index, len(costs))}, after {cost.after}" for index, cost in enumerate(costs)]

    @property
    def standalone_gflops(self) -> np.ndarray:
        """float64 (E,): of each exit if it were the only one."""
        return np.array([cost.alone_gflops for cost in self.cost.exits])

    def each_exit(self) -> list[dict[str, Any]]:
        """Accuracy and cost of each exit where every image is asked there."""
        accuracies = self.outputs.exit_accuracies().tolist()
        return [
            {"after": cost.after, "accuracy": accuracy, "gflops": cost.gflops, "alone_gflops": cost.alone_gflops}
            for cost, accuracy in zip(self.cost.exits, accuracies, strict=True)
        ]


@dataclass(frozen=True)
class PassOptions:
    """Which images a network is run on, and how.

    Attributes:
        data: a prepared data set; None: the one trained on.
        split: `val`, `calibration` or `train`.
        precision: what the network runs in; `auto`: by the rule of `device/precision.py`.
    """

    data: Path | None = None
    split: str = "val"
    precision: Precision = "float32"


def load_or_compute_outputs(
    weights: Path,
    data: Path | None,
    split_name: str,
    out: Path | None,
    say: Callable[[str], None],
    requested: Precision = "float32",
) -> EvaluatedRun:
    """Loads a checkpoint and has its answers on a split: the kept ones, or those of one pass over the images.

    Args:
        weights: the checkpoint.
        data: a prepared data set; None: the one trained on.
        split_name: `val`, `calibration` or `train`.
        out: where results go; None: the checkpoint's folder.
        say: told what happens.
        requested: what the network runs in; `auto`: by the rule of `device/precision.py`.

    Raises:
        GreenedgeError: the checkpoint or the data cannot be used, or do not fit each other.
    """
    model = load_model(weights)
    config = model.config
    prepared = open_data(model, weights, data)
    split = open_named_split(prepared, split_name, config.data)
    if len(split) == 0:
        raise DataError(
            f"the {split_name} split is empty, as data.calibration_per_class of the config set no images aside; use "
            "those of another split (in tune: --choose-on val)"
        )
    check_unseen(split, model, weights, prepared, named=data is not None, say=say)

    cost = model.cost
    expected = ExpectedOutputs(
        split.labels[split.rows], np.array([each.gflops for each in cost.exits]), len(model.classes)
    )
    folder = out or weights.parent
    precision = _resolved(requested, model)
    path = folder / f"outputs-{split_name}{'' if precision == 'float32' else '-bf16'}.npz"
    source = hashlib.sha256(f"{model.digest} {split_name} {split_digest(split)}".encode()).hexdigest()
    outputs = None
    for place in dict.fromkeys((path, weights.with_name(path.name))):  # of an earlier command without --out, perhaps
        outputs = outputs or _kept(place, source, expected, say)
    if outputs is None:
        logits = _run(model, split, precision)
        try:
            outputs = ExitOutputs(logits, expected.labels, expected.gflops)
        except ValueError as error:
            raise CheckpointError(f"{weights}: {error} on the {split_name} images; train again") from None
        try:
            save_outputs(path, outputs, source)
        except OSError as error:
            say(f"note: {error.filename}: {error.strerror}, so that the network will run again next time")
    digest = source_digest(split) or split_digest(split)
    return EvaluatedRun(weights, model, split, outputs, cost, folder, digest, precision)


def _resolved(requested: Precision, model: TrainedModel) -> Literal["float32", "bf16"]:
    """`float32` or `bf16`."""
    if requested != "auto":
        return requested
    return "float32" if choose_autocast("auto", model.network, choose_device("auto")) is None else "bf16"


def _run(model: TrainedModel, split: PreparedSplit, precision: Precision) -> np.ndarray:
    """float32 (E, N, C): every exit's logits, from one pass."""
    from greenedge.inference import Engine  # what follows takes a second to import, and kept outputs do without
    from greenedge.inference.collect import map_split
    from greenedge.workflows.build import build_transform, to_device

    device = choose_device("auto")
    never = shared_policy("entropy", None, model.num_exits - 1)
    engine = Engine(to_device(model.network, device, channels_last=True), never, precision=precision)
    transform = build_transform(model.config.data, channels_last=True)
    return map_split(engine.logits, split, transform, device)


def has_split(model: TrainedModel, data: Path | None, name: str) -> bool:
    """Whether a network's data set, or the one that is named, has such images."""
    return name in open_prepared(data or Path(model.config.data.path)).splits


def sets_aside(model: TrainedModel, data: Path | None) -> bool:
    """Whether the config sets any of that data set's training images aside."""
    prepared = open_prepared(data or Path(model.config.data.path))
    return len(open_named_split(prepared, "calibration", model.config.data)) > 0


def _kept(path: Path, source: str, expected: ExpectedOutputs, say: Callable[[str], None]) -> ExitOutputs | None:
    """The outputs of an earlier pass; None where there are none that can be used."""
    try:
        outputs = load_outputs(path, source, expected)
    except ValueError as error:
        say(f"note: {path} {error}; the network runs again")
        return None
    if outputs is not None:
        say(f"{path}: outputs of these weights on these images are kept there; the network need not run")
    return outputs


def check_unseen(
    split: PreparedSplit,
    model: TrainedModel,
    weights: Path,
    prepared: PreparedData,
    *,
    named: bool,
    say: Callable[[str], None],
) -> None:
    """Images that a network was trained on may not pass for others.

    `train` must be the images trained on. `calibration` must be those that were set aside, or, where another data set
    is named, images of which none was trained on. Of `val`, a part may have been (copies, in a set of photos), which is
    said, but not most.

    Args:
        split: what is to be run.
        model: the network.
        weights: its checkpoint.
        prepared: the data set of the split.
        named: whether the user named that data set.
        say: told what cannot be refused.

    Raises:
        DataError: the split is not what its name says.
    """
    seen, name = model.seen, split.name
    if seen is None:
        if name != "val":
            say(f"note: {weights} does not say which images it was trained on, so {name} images are taken on trust")
        return
    if name in ("train", "calibration") and is_split_of(split, seen, "train" if name == "train" else "calibration"):
        return
    if name == "train":
        raise DataError(f"{prepared.path}: its training images are not those that {weights} was trained on")

    trained_on = count_trained_on(split, seen)
    if trained_on is None:
        if name == "calibration":
            raise DataError(
                f"{prepared.path}: keeps no digests of its files, so that it cannot be told whether {weights} was "
                "trained on its calibration images; prepare the data set again"
            )
        return
    whole = f"{trained_on} of the {len(split)} {name} images of {prepared.path}"
    if trained_on > (0 if name == "calibration" else len(split) // 2):
        raise DataError(f"{whole} are among those that {weights} was trained on; use images that it has not seen")
    if trained_on:
        say(f"note: {whole} are copies of images that {weights} was trained on")
    if name == "calibration" and not named:
        raise DataError(
            f"{prepared.path}: is not the data set that {weights} was trained on, as its calibration images show; "
            "name it with --data to use it in place of that"
        )
