"""The runs that docs/results.md reports: which config, what is set in it, and what is asked of the trained network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_CURVE = (
    ("eval",),
    ("sweep", "--thresholds", "all"),
    ("tune", "--max-loss", "0.01"),
    ("diagnose",),
)
_OUTPUTS = (("eval",), ("eval", "--split", "calibration"))


@dataclass(frozen=True)
class Run:
    """A training and the commands that follow it.

    Attributes:
        config: a config that comes with greenedge.
        settings: overrides of it, as `--set` takes them.
        commands: what is run on `best.safetensors`, each with its options.
        after: the run whose weights it starts from, if any.
    """

    config: str
    settings: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = _CURVE
    after: str | None = None


def _pooled(*blocks: str) -> str:
    """Exits with `pooled` heads after some blocks."""
    return f"model.exits=[{', '.join(f'{{after: blocks.{block}, head: pooled}}' for block in blocks)}]"


def _lite(
    backbone: int, image_size: int, epochs: int, exits: Sequence[str], *more: str, after: str | None = None
) -> Run:
    """An EfficientNet-Lite that is fine-tuned from ImageNet weights, or goes on from another run's at a lower rate."""
    rate = "0.003, warmup: 0.15" if after is None else "0.001, warmup: 0.1"
    settings = [
        f"model.backbone=timm/tf_efficientnet_lite{backbone}",
        f"data.image_size={image_size}",
        "train.batch_size=128",
        f"train.schedule={{one_cycle: {{max_lr: {rate}}}}}",
        f"train.epochs={epochs}",
        _pooled(*exits),
        *more,
    ]
    if after is not None:
        settings += ["model.classifier=new", "train.trunk_only_epochs=0"]
    commands = _CURVE if "train.objective=self_distillation" in more else _OUTPUTS
    return Run("efficientnet-lite0", tuple(settings), commands, after)


# Heads that learn beside the backbone without changing it: where exits would do how well, and the backbone as it is.
_BESIDE = "train.objective={weighted_sum: {head_gradient: detached}}"
_TOGETHER = ("train.objective=self_distillation", "train.exit_weights=[0.3, 0.3, 0.3, 1]")
_LATE0 = ("4.2", "5.0", "5.1", "5.2", "5.3", "6")
_LATE2 = ("4.3", "5.0", "5.1", "5.2", "5.3", "5.4", "6")
_CHOSEN = ("5.0", "5.2", "6")

RUNS: Mapping[str, Run] = {
    "resnet18-light": Run("resnet18-light"),
    "resnet18-paper": Run("resnet18-paper"),
    "lite0-128": _lite(0, 128, 3, _LATE0, _BESIDE, "train.trunk_only_epochs=0"),
    "lite0-128-more": _lite(0, 128, 1, _LATE0, _BESIDE, after="lite0-128"),
    "lite0-96": _lite(0, 96, 1, _LATE0, _BESIDE, after="lite0-128"),
    "lite0-160": _lite(0, 160, 1, _LATE0, _BESIDE, after="lite0-128"),
    "lite0-128-exits": _lite(0, 128, 1, _CHOSEN, *_TOGETHER, after="lite0-128"),
    "lite2-192": _lite(2, 192, 2, _LATE2, _BESIDE, "train.trunk_only_epochs=0"),
    "lite2-224": _lite(2, 224, 1, _LATE2, _BESIDE, after="lite2-192"),
    "lite2-160": _lite(2, 160, 1, _LATE2, _BESIDE, after="lite2-192"),
}
