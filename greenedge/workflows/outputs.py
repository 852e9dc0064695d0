"""A trained network's answers on a split: those kept from an earlier pass, or those of one pass now."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greenedge.cost.flops import NetworkCost, count_costs
from greenedge.data.prepared import MANIFEST, PreparedData, PreparedSplit, open_prepared
from greenedge.device.precision import Precision, choose_autocast, choose_device
from greenedge.errors import DataError
from greenedge.exits.outputs import ExitOutputs, load_outputs, save_outputs
from greenedge.exits.policy import shared_policy
from greenedge.inference import Engine
from greenedge.inference.collect import gather_logits
from greenedge.reporting.figures import exit_name
from greenedge.workflows.build import (
    TrainedModel,
    build_transform,
    check_same_classes,
    load_model,
    model_summary,
    open_named_split,
    place,
)


@dataclass(frozen=True)
class Evaluated:
    """A trained network and what it answered.

    Attributes:
        weights: its checkpoint.
        model: the network.
        split: the images.
        outputs: its answers at every exit.
        cost: of every exit.
        folder: where results are written.
        images_digest: names the images, whatever the weights.
        precision: `float32` or `bf16`, that the network ran in.
    """

    weights: Path
    model: TrainedModel
    split: PreparedSplit
    outputs: ExitOutputs
    cost: NetworkCost
    folder: Path
    images_digest: str
    precision: str

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
    def alone_gflops(self) -> np.ndarray:
        """float64 (E,): of each exit if it were the only one."""
        return np.array([cost.alone_gflops for cost in self.cost.exits])

    def each_exit(self) -> list[dict[str, Any]]:
        """Accuracy and cost of each exit where every image is asked there."""
        accuracies = self.outputs.exit_accuracies().tolist()
        return [
            {"after": cost.after, "accuracy": accuracy, "gflops": cost.gflops, "alone_gflops": cost.alone_gflops}
            for cost, accuracy in zip(self.cost.exits, accuracies, strict=True)
        ]


def run_once(
    weights: Path,
    data: Path | None,
    split_name: str,
    out: Path | None,
    say: Callable[[str], None],
    requested: Precision = "float32",
) -> Evaluated:
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
            f"the {split_name} split is empty: the recipe set data.calibration_per_class = "
            f"{config.data.calibration_per_class}; choose other images"
        )
    cost = count_costs(model.network)
    folder = out or weights.parent
    device = choose_device("auto")
    precision: Precision = "float32" if choose_autocast(requested, model.network, device) is None else "bf16"
    path = folder / f"outputs-{split_name}{'' if precision == 'float32' else '-bf16'}.npz"
    digest = _images_digest(prepared.path / MANIFEST, split)
    source = hashlib.sha256(file_digest(weights).encode() + digest.encode()).hexdigest()
    outputs = load_outputs(path, source)
    if outputs is None:
        never = shared_policy("entropy", None, model.network.num_exits - 1)
        engine = Engine(place(model.network, device, channels_last=True), never, precision=precision)
        transform = build_transform(config.data, channels_last=True)
        outputs = ExitOutputs(
            logits=gather_logits(engine.logits, split, transform, device),
            labels=split.labels[split.rows],
            gflops=np.array([each.gflops for each in cost.exits]),
        )
        save_outputs(path, outputs, source)
    else:
        say(f"{path}: answers of these weights on these images are kept there; the network need not run")
    return Evaluated(weights, model, split, outputs, cost, folder, digest, precision)


def open_data(model: TrainedModel, weights: Path, data: Path | None) -> PreparedData:
    """The prepared data set that is named, or the one that the network was trained on; its classes must be the same.

    Raises:
        DataError: it is not there, or broken.
        CheckpointError: it has other classes.
    """
    path = data or Path(model.config.data.path)
    if data is None and not path.exists():
        raise DataError(f"{path}: the data set that {weights} was trained on is not here; give --data")
    prepared = open_prepared(path)
    check_same_classes(model, prepared, weights)
    return prepared


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _images_digest(manifest: Path, split: PreparedSplit) -> str:
    """Names the images, so that kept answers are never taken for those of others."""
    return hashlib.sha256(file_digest(manifest).encode() + split.name.encode() + split.rows.tobytes()).hexdigest()
