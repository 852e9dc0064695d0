"""The dataclasses of a config: what every key means, with its unit, limits and default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from greenedge.config.components import Component
from greenedge.config.convert import (
    AtLeastOne,
    Count,
    CountOrZero,
    FieldError,
    FractionAboveZero,
    FractionBelowOne,
    NonNegative,
    Pattern,
    Positive,
    Probability,
    Range,
    Seed,
    Table,
)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE_SIZES = Range(minimum=8, maximum=2048)
_USUAL_SIZE = 64
_GAIN = (
    "gain is learned by `greenedge tune --criterion gain` and used with the policy that it writes; name another here"
)
_DEVICES = Pattern(
    r"auto|cpu|mps|cuda(:(0|[1-9][0-9]?))?", "auto, cpu, cuda, cuda:N or mps", ("auto", "cpu", "cuda", "mps")
)


@dataclass(frozen=True)
class TrainingCrop:
    """Which part of an original a training step sees; every other reading takes the largest square at the centre.

    Attributes:
        kind: `random`: another part each epoch, scaled to `image_size` (Szegedy et al. 2015); or `centre`.
        min_area: smallest random crop, as a fraction of the image's area; the largest is the whole image.
        max_ratio: largest aspect ratio of a random crop, the longer side over the shorter one.
    """

    kind: Literal["random", "centre"] = "random"
    min_area: FractionAboveZero = 0.08
    max_ratio: AtLeastOne = 4 / 3


@dataclass(frozen=True)
class DataConfig:
    """The images, and how they are presented to the network.

    Attributes:
        path: folder of a prepared data set (`greenedge data prepare`).
        image_size: pixels per side; arrays of other sizes are resized (bicubic) on the batch, originals are decoded to
            it. null: the size that the data set was prepared at.
        calibration_per_class: training images per class set aside to choose weights and thresholds on. null: a fifth of
            each class, but at most 25, unless `calibration_fraction` is set.
        calibration_fraction: fraction of each class's training images that is set aside, in place of a number.
        train_fraction: fraction of the other training images of each class that is used, in (0, 1]. The same images are
            drawn every time, and larger fractions contain the smaller ones.
        mean: mean of each channel (R, G, B), for pixels in [0, 1]. null: the pre-trained weights' own, else ImageNet's.
        std: standard deviation of each channel, with the same default.
        store: `arrays` or `originals`: how the data set must have been prepared (`data prepare --store`). null: either.
        training_crop: of originals, which part a training step sees. null: random crops of originals.
    """

    path: str
    image_size: Annotated[int, IMAGE_SIZES] | None = None
    calibration_per_class: CountOrZero | None = None
    calibration_fraction: FractionBelowOne | None = None
    train_fraction: FractionAboveZero = 1.0
    mean: tuple[Probability, Probability, Probability] | None = None
    std: tuple[FractionAboveZero, FractionAboveZero, FractionAboveZero] | None = None
    store: Literal["arrays", "originals"] | None = None
    training_crop: TrainingCrop | None = None

    def __post_init__(self) -> None:
        """Rules between fields."""
        if self.calibration_per_class is not None and self.calibration_fraction is not None:
            raise FieldError("calibration_fraction", "is given beside calibration_per_class; give one of the two")
        if self.training_crop is not None and self.store == "arrays":
            raise FieldError(
                "training_crop", "is for originals, and store is arrays; use augment: [random_resized_crop]"
            )

    @property
    def input_size(self) -> int:
        """Pixels per side of what the network sees; 64 where neither the config nor the data set a size."""
        return _USUAL_SIZE if self.image_size is None else self.image_size


@dataclass(frozen=True)
class ExitConfig:
    """One early exit: a head after a named block.

    Attributes:
        after: a block (`layer1.0`), or a stage (`layer1`: after its last block).
        head: a name in `EXIT_HEADS`, with its options.
        former_logits: whether the head sees the logits of the exit before it too, normalised and without a gradient to
            that exit (Zero Time Waste, Wolczyk et al. 2021). The first exit has none before it.
    """

    after: str
    head: Annotated[Component, Table("heads")] = Component("light")
    former_logits: bool = False


@dataclass(frozen=True)
class ModelConfig:
    """The network: a backbone and its early exits.

    Attributes:
        backbone: a name in `BACKBONES`, or `timm/NAME` with the extra `timm`.
        weights: null (random), `imagenet` (torchvision's or timm's), the path of a `.pth` or `.safetensors` file, or a
            run directory (its best weights, with the heads that fit).
        stem: `imagenet` (as published), or `small`: 3x3, stride 1, no pooling (ResNet family).
        exits: the early exits, first to last; the backbone's own classifier is the final one.
        classifier: `new` (random where the number of classes differs), or `imagenet`: the rows of a pre-trained
            1,000-class one that belong to the data set's classes, by wnid (with the extra `timm`).
        stochastic_depth: rate at which training skips the last residual branches, and those before at lower ones
            (Huang et al. 2016); null: the library's for this backbone (EfficientNet, ConvNeXt, timm's families).
    """

    backbone: Annotated[str, Table("backbones", prefix="timm/")]
    weights: str | None = None
    stem: Literal["imagenet", "small"] = "imagenet"
    exits: tuple[ExitConfig, ...] = ()
    classifier: Literal["new", "imagenet"] = "new"
    stochastic_depth: FractionBelowOne | None = None


@dataclass(frozen=True)
class FreezeConfig:
    """Blocks that are not trained at first; several of these unfreeze a network in stages.

    Attributes:
        until: the last frozen block, or a stage; all blocks before it are frozen too.
        epochs: number of first epochs in which they do not change, batch norms included.
    """

    until: str
    epochs: Count


@dataclass(frozen=True)
class CheckpointEvery:
    """How often the state is saved within an epoch, besides at its end; give one of the two.

    Attributes:
        steps: number of steps between two savings.
        minutes: of training between two savings.
    """

    steps: Count | None = None
    minutes: Positive | None = None

    def __post_init__(self) -> None:
        """Rules between fields."""
        if (self.steps is None) == (self.minutes is None):
            raise FieldError("steps", "and minutes are both given or both missing; give one of the two")


@dataclass(frozen=True)
class EarlyStoppingConfig:
    """When a training ends before its last epoch, by the calibration accuracy in the mean over the exits.

    Attributes:
        patience: number of epochs without a higher accuracy after which it ends.
        min_delta: by how much an accuracy, in [0, 1], must exceed the best so far to count as higher.
    """

    patience: Count
    min_delta: NonNegative = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """How the network is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per step, over all processes.
        accumulate: how many parts of a step's images each process computes, one after another, in as much less memory.
            Batch norms see one part at a time.
        optimizer: a name in `OPTIMIZERS`, with its options.
        schedule: a name in `SCHEDULES`, with its options; it scales the optimizer's learning rate.
        loss: a name in `LOSSES`, with its options; applied to each exit.
        objective: a name in `OBJECTIVES`, with its options: how the exits' losses become one.
        class_weights: `equal`, or `balanced`: the loss of an image is multiplied by what makes all classes count alike,
            however many images they have. Or a list of such factors, one per class in the data set's order.
        teacher: a run directory or a checkpoint of another network, for the same classes, that `objective` may learn
            from.
        exit_weights: factor of each exit's loss, early exits in order, then the final one. null: all 1.
        trunk_lr: factor of the learning rate for the backbone's blocks; heads and classifier have 1.
        layer_decay: factor of the learning rate from each block to the one before it; the last block has it once, and
            heads and classifier have 1.
        trunk_only_epochs: number of first epochs in which only the final exit's loss counts; all exits are
            trained after them.
        freeze: blocks that are not trained in the first epochs.
        kept_features: number of views (draws of the augmentations) of each training image whose features are computed
            once and kept on disk; the heads alone are then trained on them, and the backbone and its classifier stay as
            `model.weights` gave them. null: the whole network is trained, on the images.
        gradient_clip_norm: largest norm of the whole gradient. null: unlimited.
        ema_decay: decay per step of the averaged weights, which are evaluated and kept as best. null: no averaging.
        average_last: number of last epochs whose weights, and batch-norm statistics, are averaged; from the first of
            them on the average so far is evaluated and kept. null: no averaging.
        early_stopping: ends the training where the calibration accuracy no longer rises. null: all epochs are trained.
        precision: `float32`, `bf16` (autocast), or `auto`: bf16 where this machine is faster in it. `fp16`: for GPUs
            without bf16; the loss is scaled so that small gradients do not vanish.
        channels_last: store images and weights with the channels last in memory, which is faster for convolutions.
        compile: run the network through `torch.compile`.
        loggers: names in `LOGGERS`, with their options, that get the results of each epoch besides the run directory's
            own files.
        checkpoint_every: how often the state is saved within an epoch. null: at its end, and when the training is
            stopped.
        keep_state: keep `last.state.pt` after the last epoch, so that the run can be continued with more epochs.
        device: `cpu`, `cuda`, `cuda:N`, `mps`, or `auto`: a GPU where there is one.
        seed: seed of the weights, the order of the images and the augmentations.
        init_seed: seed of the weights alone, so that trainings begin alike and differ in the rest; null: `seed`.
    """

    epochs: Count
    batch_size: Count = 256
    accumulate: Count = 1
    optimizer: Annotated[Component, Table("optimizers")] = Component("adam")
    schedule: Annotated[Component, Table("schedules")] = Component("constant")
    loss: Annotated[Component, Table("losses")] = Component("cross_entropy")
    objective: Annotated[Component, Table("objectives")] = Component("weighted_sum")
    class_weights: Literal["equal", "balanced"] | tuple[NonNegative, ...] = "equal"
    teacher: str | None = None
    exit_weights: tuple[NonNegative, ...] | None = None
    trunk_lr: NonNegative = 1.0
    layer_decay: FractionAboveZero = 1.0
    trunk_only_epochs: CountOrZero = 0
    freeze: tuple[FreezeConfig, ...] = ()
    kept_features: Count | None = None
    gradient_clip_norm: Positive | None = None
    ema_decay: Annotated[float, Range(above=0, below=1)] | None = None
    average_last: Annotated[int, Range(minimum=2)] | None = None
    early_stopping: EarlyStoppingConfig | None = None
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    channels_last: bool = True
    compile: bool = False
    loggers: tuple[Annotated[Component, Table("loggers")], ...] = ()
    checkpoint_every: CheckpointEvery | None = None
    keep_state: bool = True
    device: Annotated[str, _DEVICES] = "auto"
    seed: Seed = 0
    init_seed: Seed | None = None

    @property
    def seed_text(self) -> str:
        """The seed, and that of the weights where it is another."""
        return str(self.seed) if self.init_seed is None else f"{self.seed} (weights {self.init_seed})"

    def __post_init__(self) -> None:
        """Rules between fields."""
        if self.batch_size % self.accumulate:
            raise FieldError(
                "accumulate",
                f"is {self.accumulate}, which does not divide train.batch_size, {self.batch_size}; make it a divisor",
            )
        if self.exit_weights is not None and not any(self.exit_weights):
            raise FieldError("exit_weights", "all are 0, so nothing would be learnt; make one positive")
        if not isinstance(self.class_weights, str) and not any(self.class_weights):
            raise FieldError("class_weights", "has no number above 0, so nothing would be learnt; make one positive")
        if self.trunk_only_epochs and self.exit_weights is not None and self.exit_weights[-1] == 0:
            raise FieldError(
                "exit_weights",
                f"the final exit's is 0, and trunk_only_epochs is {self.trunk_only_epochs}: in these epochs nothing "
                "would be learnt; make it positive, or set trunk_only_epochs to 0",
            )
        self._check_averages()
        if self.kept_features is not None and self.layer_decay != 1:
            raise FieldError(
                "layer_decay", "is of the backbone's rates, which kept_features does not train; give one of the two"
            )
        for name in ("freeze", "trunk_only_epochs"):
            if self.kept_features is not None and getattr(self, name):
                raise FieldError(
                    name, "says how the backbone is trained, which kept_features leaves as it is; give one of the two"
                )

    def _check_averages(self) -> None:
        """Rules of the average of the last epochs."""
        if self.average_last is None:
            return
        if self.ema_decay is not None:
            raise FieldError("average_last", "and ema_decay are both given; the weights are averaged in one way only")
        if self.early_stopping is not None:
            raise FieldError(
                "average_last",
                "is of the last of train.epochs, which early_stopping may not reach; give one of the two",
            )
        if self.average_last > self.epochs:
            raise FieldError(
                "average_last", f"is {self.average_last}, and there are {self.epochs} epochs; give no more than these"
            )


@dataclass(frozen=True)
class SweepConfig:
    """The operating points that are reported.

    Attributes:
        criterion: a name in `CRITERIA`; its score is compared with the threshold.
        thresholds: shared by all early exits, in the criterion's unit (entropy: nats), or `all`: every
            distinct operating point.
    """

    criterion: Annotated[str, Table("criteria", refused=(("gain", _GAIN),))] = "entropy"
    thresholds: tuple[NonNegative, ...] | Literal["all"] = "all"

    def __post_init__(self) -> None:
        """Rules between fields."""
        if not self.thresholds:
            raise FieldError("thresholds", "is empty; give at least one number, or all")


@dataclass(frozen=True)
class RunConfig:
    """A whole config.

    Attributes:
        data: the images.
        model: the network.
        train: how the network is trained.
        augment: augmentations of each training batch, in order; names in `AUGMENTATIONS`.
        sweep: the operating points that are reported.
        origins: dotted key -> the file and line that set it.
    """

    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    augment: tuple[Annotated[Component, Table("augmentations")], ...] = ()
    sweep: SweepConfig = SweepConfig()
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Rules between sections."""
        weights, exits = self.train.exit_weights, len(self.model.exits) + 1
        if weights is not None and len(weights) != exits:
            raise FieldError(
                "train.exit_weights",
                f"has {len(weights)} numbers and needs {exits}: one for each early exit, in order, and the final one",
            )
        if self.train.kept_features is not None:
            self._check_kept_features(self.train.kept_features)

    def _check_kept_features(self, views: int) -> None:
        """Rules of a training of heads alone."""
        key, weights = "train.kept_features", self.train.exit_weights
        if self.model.weights is None:
            raise FieldError(
                key, "keeps a backbone as it is, and model.weights is null: name a run, a checkpoint or imagenet there"
            )
        if not self.model.exits or (weights is not None and not any(weights[:-1])):
            raise FieldError(
                key,
                "trains the heads of early exits alone, and there are none whose loss counts; add to model.exits, or "
                "make one of train.exit_weights positive",
            )
        if views > 1 and not self.augment:
            raise FieldError(
                key, f"is {views}, and without augment all views of an image are the same; set it to 1, or add some"
            )
