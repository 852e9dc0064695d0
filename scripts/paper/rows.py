"""The paper's numbers, row by row: Tables I and II, the eleven submitted models, and baselines without a number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One number of the paper, or one network that it describes.

    Attributes:
        source: its place in the paper.
        config: in configs/paper/, without `.yaml`; several rows may share a network.
        threshold: entropy in nats below which images exit early; 0: never.
        accuracy: the paper's, in percent; None where it has none.
        gflops: the paper's mean GFLOPs per image; None where it has none.
    """

    source: str
    config: str
    threshold: float = 0
    accuracy: float | None = None
    gflops: float | None = None


ROWS: dict[str, Row] = {
    "table1-plain": Row("Table I: no augmentation", "table1-plain", accuracy=39),
    "table1-flips": Row("Table I: augmentation", "table1-flips", accuracy=43),
    "table1-cutmix": Row("Table I: augmentation, CutMix", "table1-cutmix", accuracy=45),
    "table1-resnext50-64": Row("Table I: ResNeXt-50, 64 px", "table1-resnext50-64", accuracy=52.8),
    "table1-resnext50-128": Row("Table I: ResNeXt-50, 128 px", "table1-resnext50-128", accuracy=55.6),
    "table2-resnet50-64-no-exits": Row(
        "Table II: ResNet-50, 64 px, no exits", "table2-resnet50-64-no-exits", accuracy=64.1
    ),
    "table2-resnet50-64": Row("Table II: ResNet-50, 64 px", "table2-resnet50-64", accuracy=71.6),
    "table2-resnet50-128": Row("Table II: ResNet-50, 128 px", "table2-resnet50-128", accuracy=79.9),
    "table2-resnext50-64": Row("Table II: ResNeXt-50, 64 px", "table2-resnext50-64", accuracy=72.0),
    "table2-resnext50-128": Row("Table II: ResNeXt-50, 128 px", "table2-resnext50-128", accuracy=82.0),
    "submitted-128-T0": Row("submitted, 128 px", "table2-resnext50-128", 0, accuracy=82.0, gflops=2.55),
    "submitted-128-T0.63": Row("submitted, 128 px", "table2-resnext50-128", 0.63),
    "submitted-128-T1.26": Row("submitted, 128 px", "table2-resnext50-128", 1.26),
    "submitted-128-T2": Row("submitted, 128 px", "table2-resnext50-128", 2),
    "submitted-64-T0": Row("submitted, 64 px", "table2-resnext50-64", 0, accuracy=72.0),
    "submitted-64-T0.63": Row("submitted, 64 px", "table2-resnext50-64", 0.63),
    "submitted-64-T1.26": Row("submitted, 64 px", "table2-resnext50-64", 1.26),
    "submitted-64-T2": Row("submitted, 64 px", "table2-resnext50-64", 2),
    "submitted-64-T2.63": Row("submitted, 64 px", "table2-resnext50-64", 2.63),
    "submitted-64-T3.26": Row("submitted, 64 px", "table2-resnext50-64", 3.26),
    "submitted-64-T3.9": Row("submitted, 64 px", "table2-resnext50-64", 3.9),
    "alexnet": Row("baseline", "baseline-alexnet"),
    "vgg16": Row("baseline", "baseline-vgg16"),
    "vgg19": Row("baseline", "baseline-vgg19"),
    "efficientnet-b0": Row("baseline", "baseline-efficientnet-b0"),
}

# The thresholds at which each of the two networks was submitted.
SUBMITTED = {
    config: tuple(row.threshold for row in ROWS.values() if row.config == config and row.source.startswith("submitted"))
    for config in ("table2-resnext50-128", "table2-resnext50-64")
}

# The paper's Figures 3 to 5: training curves of the networks trained from scratch.
TRAINING_FIGURES = {3: "table1-plain", 4: "table1-flips", 5: "table1-cutmix"}
