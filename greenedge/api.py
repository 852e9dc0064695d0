"""The Python API: `import greenedge` and call these.

    import greenedge

    run = greenedge.load_checkpoint("runs/quickstart")
    outputs = greenedge.collect_outputs(run, greenedge.load_data(run, split="val"))
    greenedge.plot_sweep(greenedge.sweep(outputs)).savefig("sweep.png")

    calibration = greenedge.collect_outputs(run, greenedge.load_data(run, split="calibration"))
    policy = greenedge.tune(calibration, budget_gflops=0.1).policy
    greenedge.Engine(run, policy).predict(["photo.jpg"])

Everything is lazily imported by `greenedge` itself, so that `import greenedge` takes milliseconds and no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from greenedge import inference
from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.config.schema import IMAGENET_MEAN, IMAGENET_STD
from greenedge.cost.flops import count_costs
from greenedge.cost.table import ExitCost, NetworkCost
from greenedge.data.decode import decode_image, to_stored
from greenedge.data.loader import InputTransform, build_transform, iterate_batches
from greenedge.data.prepared import PreparedSplit, open_prepared
from greenedge.data.run_splits import open_named_split
from greenedge.device.precision import Precision, choose_device
from greenedge.errors import ConfigError, GreenedgeError, UsageError
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.evaluation import PolicyEvaluation, evaluate_policy
from greenedge.exits.goal import Goal
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import ExitPolicy, read_policy, shared_policy
from greenedge.exits.policy_choice import PER_EXIT, SHARED, TuneResult, tune_policy
from greenedge.exits.sweep import OperatingPoint, Sweep
from greenedge.exits.sweep_result import SweepResult, Thresholds, analyse_sweep
from greenedge.inference import Predictions
from greenedge.inference.finite import check_finite_logits
from greenedge.inference.manifest import is_export
from greenedge.models.backbones import BACKBONES
from greenedge.models.blocks import describe_blocks
from greenedge.models.build import to_device
from greenedge.models.exit_heads import EXIT_HEADS
from greenedge.models.modes import evaluation_mode
from greenedge.models.multi_exit import MultiExitNetwork, build_network
from greenedge.models.weights import load_pretrained
from greenedge.reporting.sweep_plot import plot_sweep
from greenedge.training.plugins import load_plugins
from greenedge.training.run_files import checkpoint_path
from greenedge.training.trained import TrainedModel, open_data
from greenedge.workflows.models import ExportedModel, open_model, resolve_precision
from greenedge.workflows.report import ReportOptions
from greenedge.workflows.report import report as write_report
from greenedge.workflows.train import TrainOutcome
from greenedge.workflows.train import train as run_training

__all__ = [
    "Engine",
    "ExitCost",
    "ExitOutputs",
    "ExitPolicy",
    "Goal",
    "GreenedgeError",
    "MultiExitNetwork",
    "NetworkCost",
    "OperatingPoint",
    "PolicyEvaluation",
    "Predictions",
    "PreparedLoader",
    "Sweep",
    "SweepResult",
    "TrainOutcome",
    "TrainedModel",
    "TuneResult",
    "collect_outputs",
    "count_flops",
    "create_model",
    "evaluate",
    "list_blocks",
    "list_criteria",
    "list_heads",
    "list_models",
    "load_checkpoint",
    "load_data",
    "load_plugins",
    "plot_sweep",
    "report",
    "sweep",
    "train",
    "tune",
]

Exit = str | tuple[str, str] | Mapping[str, Any]
ImageLike = str | Path | Image.Image | np.ndarray


def list_models() -> list[str]:
    """Names of the torchvision backbones; `timm/NAME` works for many of timm's besides."""
    return sorted(BACKBONES)


def list_heads() -> list[str]:
    """Names of the exit heads."""
    return sorted(EXIT_HEADS)


def list_criteria() -> list[str]:
    """Names of the criteria that thresholds are compared with; `tune` knows besides them `gain`, which it learns."""
    return list(CRITERIA)


def list_blocks(backbone: str) -> list[str]:
    """Names of the blocks of a backbone, in order, after each of which an exit can be attached.

    Raises:
        ConfigError: there is no such backbone.
    """
    return [block.name for block in describe_blocks(backbone, image_size=224)]


def create_model(
    backbone: str,
    exits: Sequence[Exit] = (),
    *,
    num_classes: int = 1000,
    image_size: int = 224,
    pretrained: bool | str | Path = False,
    stem: Literal["imagenet", "small"] = "imagenet",
    stochastic_depth: float | None = None,
) -> MultiExitNetwork:
    """Creates a network with exits.

    >>> network = create_model("resnet18", ["layer1", ("layer3", "linear")], num_classes=10, image_size=64)
    >>> early, later, final = network(torch.zeros(2, 3, 64, 64))
    >>> early.shape
    torch.Size([2, 10])

    Args:
        backbone: a name of `list_models`, or `timm/NAME`.
        exits: first to last: the block (or stage) an exit comes after, with its head where that is not `light`; or a
            mapping as in a config, `{"after": "layer1", "head": {"light": {"width": 64}}}`.
        num_classes: outputs of every exit.
        image_size: pixels per side of the images, which decide the shapes of the heads.
        pretrained: True for ImageNet weights of the backbone, or a file of weights.
        stem: `small` for a first convolution without stride and pooling, where the backbone has one.
        stochastic_depth: rate at which training skips the last residual branches; None: the library's.

    Raises:
        ConfigError: an unknown backbone, block, head or option, a backbone without stochastic depth, or images too
            small for it.
        CheckpointError: the weights do not fit.
    """
    weights = None if pretrained is False else "imagenet" if pretrained is True else str(pretrained)
    chosen = tuple(_exit_config(exit) for exit in exits)
    config = ModelConfig(backbone, weights, stem, chosen, stochastic_depth=stochastic_depth)
    network = build_network(config, num_classes, image_size)
    if weights is not None:
        load_pretrained(network, config, weights)
    return network


def _exit_config(exit: Exit) -> ExitConfig:
    if isinstance(exit, str):
        return ExitConfig(exit)
    if isinstance(exit, tuple):
        after, head = exit
        return ExitConfig(after, Component(head))
    unknown = set(exit) - {"after", "head", "former_logits"}
    if "after" not in exit or unknown:
        raise ConfigError(f"an exit is {{'after': block, 'head': head}}, found {dict(exit)}")
    head, former_logits = exit.get("head", "light"), exit.get("former_logits", False)
    if isinstance(head, str):
        return ExitConfig(exit["after"], Component(head), former_logits)
    ((name, options),) = head.items()
    return ExitConfig(exit["after"], Component(name, options), former_logits)


def train(
    config: str | Path, overrides: Sequence[str] = (), *, out: str | Path | None = None, resume: bool = False
) -> TrainOutcome:
    """Trains a config into a run directory, as `greenedge train` does.

    Args:
        config: a YAML file, or the name of a config that ships.
        overrides: texts like `train.epochs=3`.
        out: the run directory; None: `runs/` and the config's name.
        resume: continue the run in the run directory.

    Raises:
        GreenedgeError: the config, the data or the run directory cannot be used.
    """
    return run_training(Path(config), overrides, None if out is None else Path(out), resume=resume)


def load_checkpoint(path: str | Path) -> TrainedModel:
    """Loads a trained network with its config, classes and costs; the network itself is made when first asked for.

    Args:
        path: a run directory, or a checkpoint in it; or the folder of an ONNX export, which `Engine` runs in ONNX
            Runtime and which has no PyTorch network.

    Raises:
        CheckpointError: it is missing or invalid.
        DataError: the export is damaged, or of another version.
    """
    path = Path(path)
    return open_model(path if is_export(path) else checkpoint_path(path))


@dataclass(frozen=True, eq=False, repr=False)
class PreparedLoader:
    """Batches of normalised images and labels of a prepared split.

    Attributes:
        split: the images as they are stored.
        transform: to what the network sees.
        batch_size: images per batch; the last may hold fewer.
    """

    split: PreparedSplit
    transform: InputTransform
    batch_size: int = 250

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """float32 (B, 3, S, S) and int64 (B,)."""
        for batch in iterate_batches(self.split, self.batch_size):
            yield self.transform(batch.images), batch.targets

    def __repr__(self) -> str:
        size = self.transform.image_size
        return f"PreparedLoader({self.split.name}: {len(self.split)} images, {size} px, batches of {self.batch_size})"


def load_data(
    source: TrainedModel | str | Path,
    split: Literal["train", "val", "calibration"] = "val",
    *,
    data: str | Path | None = None,
    image_size: int | None = None,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    batch_size: int = 250,
) -> PreparedLoader:
    """Loads a prepared data set as batches of normalised images and labels.

    Args:
        source: a trained network, for the data set it was trained on with its own preprocessing; or a folder that
            `greenedge data prepare` made.
        split: `calibration` only for a trained network, whose config says what was set aside.
        data: with a trained network, another data set of the same classes.
        image_size: pixels per side, for a folder; None: as stored.
        mean: of each channel, for a folder; pixels in [0, 1].
        std: likewise.
        batch_size: images per batch.

    Raises:
        DataError: the data set is missing or invalid, or has no such images.
        UsageError: a calibration split of a folder.
    """
    if isinstance(source, TrainedModel):
        prepared = open_data(source, None if data is None else Path(data))
        chosen = open_named_split(prepared, split, source.config.data)
        return PreparedLoader(chosen, build_transform(source.config.data, channels_last=False), batch_size)
    if split == "calibration":
        raise UsageError("a folder has no calibration images; a trained network's config says which were set aside")
    prepared = open_prepared(Path(source))
    size = image_size or prepared.image_size
    transform = InputTransform(size, mean, std)
    return PreparedLoader(prepared.sized(size).split(split), transform, batch_size)


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


def count_flops(model: TrainedModel | MultiExitNetwork) -> NetworkCost:
    """GFLOPs and parameters of every exit; one multiply-add is 1, as fvcore counts."""
    return model.cost if isinstance(model, TrainedModel) else count_costs(model)


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


class Engine(inference.Engine):
    """Runs a network under a policy, early exit included, over tensors, PIL images, arrays and files.

    Args:
        model: a trained network or an export, whose preprocessing is used for images; or a network, for normalised
            tensors.
        policy: when images exit: a policy, the file of one, or None for no early exit.
        precision: `float32`, `bf16`, or `auto`: the policy's, else by the rule of `device/precision.py`.
        device: `cpu`, `cuda`, ...; None: a GPU where there is one.
        compiled: put the stages through `torch.compile`; takes minutes.

    Raises:
        UsageError: the policy is for another network, or invalid.
    """

    def __init__(
        self,
        model: TrainedModel | MultiExitNetwork,
        policy: ExitPolicy | str | Path | None = None,
        *,
        precision: Precision = "auto",
        device: str | None = None,
        compiled: bool = False,
    ) -> None:
        if policy is None:
            policy = shared_policy("entropy", None, model.num_exits - 1)
        elif not isinstance(policy, ExitPolicy):
            if not isinstance(model, TrainedModel):
                raise UsageError("a policy's file is for a trained network; give load_checkpoint(...)")
            policy = read_policy(Path(policy), model.exits, model.digest).policy
        self._model = model if isinstance(model, TrainedModel) else None
        if isinstance(model, ExportedModel):
            if compiled or device not in (None, "cpu"):
                raise UsageError("an export runs on the CPU, in its own runtime; leave out compiled and device")
            resolve_precision(model, precision)
            super().__init__(model.backend, policy)
            return
        network = model.network if isinstance(model, TrainedModel) else model
        chosen = torch.device(device) if device is not None else choose_device("auto")
        network = to_device(network, chosen, channels_last=True)
        cost = model.cost if isinstance(model, TrainedModel) else None
        super().__init__(network, policy, precision=precision, compiled=compiled, cost=cost)

    def predict(self, images: Tensor | Sequence[ImageLike]) -> Predictions:
        """Predicts a batch.

        Args:
            images: float (N, 3, S, S), normalised; or a sequence of PIL images, uint8 arrays (H, W, 3) or (H, W), and
                files, each prepared as the network's training images were.

        Raises:
            UsageError: tensors of another shape or type, or images for a network without preprocessing.
            DataError: no images, or one that cannot be used.
        """
        if isinstance(images, Tensor):
            return super().predict(images)
        if self._model is None:
            raise UsageError("this engine knows no preprocessing; give a normalised tensor, or load_checkpoint(...)")
        size = self._model.stored_size
        stored = np.stack([_stored(image, index, size) for index, image in enumerate(images)])
        transform = build_transform(self._model.config.data, channels_last=True)
        return super().predict(transform(torch.from_numpy(stored)))


def _stored(image: ImageLike, index: int, size: int) -> np.ndarray:
    """uint8 (3, size, size)."""
    if isinstance(image, str | Path):
        return decode_image(Path(image).read_bytes(), str(image), size)
    return to_stored(image, f"image {index}", size)
