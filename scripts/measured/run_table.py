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
_EXITS_ALONE = (("eval",), ("eval", "--split", "calibration"))


@dataclass(frozen=True)
class Run:
    """A training and the commands that follow it.

    Attributes:
        config: a config that comes with greenedge.
        settings: overrides of it, as `--set` takes them.
        commands: what is run on `best.safetensors`, each with its options; `{run}` is its folder, `{runs}` that of all.
        after: the run whose weights it starts from, if any.
    """

    config: str
    settings: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = _CURVE
    after: str | None = None


@dataclass(frozen=True)
class Cascade:
    """A network of trained networks and the commands that follow.

    Attributes:
        members: names of runs, each with what `greenedge cascade` takes behind it, such as `:final`.
        commands: as those of a run.
    """

    members: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the members' runs."""
        return tuple(member.partition(":")[0] for member in self.members)


def _static(backbone: int, image_size: int, epochs: int, blocks: Sequence[str], after: str | None = None) -> Run:
    """An EfficientNet-Lite as it is, trained by its final exit alone; heads after some blocks learn beside it.

    It is fine-tuned from ImageNet weights, or goes on from another run's at a lower rate.
    """
    rate = "max_lr: 0.003, warmup: 0.15" if after is None else "max_lr: 0.001, warmup: 0.1"
    exits = ", ".join(f"{{after: blocks.{block}, head: pooled}}" for block in blocks)
    settings = (
        f"model.backbone=timm/tf_efficientnet_lite{backbone}",
        f"model.exits=[{exits}]",
        f"data.image_size={image_size}",
        f"train.epochs={epochs}",
        f"train.schedule={{one_cycle: {{{rate}}}}}",
        "train.objective={weighted_sum: {head_gradient: detached}}",
        "train.exit_weights=null",
        "train.trunk_only_epochs=0",
        *(() if after is None else ("model.classifier=new",)),
    )
    return Run("efficientnet-lite0-late", settings, _EXITS_ALONE, after)


_BLOCKS0 = ("4.2", "5.0", "5.1", "5.2", "5.3", "6")
_BLOCKS2 = ("4.3", "5.0", "5.1", "5.2", "5.3", "5.4", "6")
_GO_ON = (
    "train.epochs=2",
    "train.schedule={one_cycle: {max_lr: 0.001, warmup: 0.1}}",
    "train.trunk_only_epochs=0",
    "model.classifier=new",
)

RUNS: Mapping[str, Run] = {
    "resnet18-light": Run("resnet18-light"),
    "resnet18-paper": Run("resnet18-paper"),
    "resnet18-light-20": Run("resnet18-light", ("train.epochs=20",)),
    "lite0-late": Run("efficientnet-lite0-late"),
    "lite0-late-labels": Run("efficientnet-lite0-late", ("train.objective=weighted_sum",)),
    "lite0-128": _static(0, 128, 3, _BLOCKS0),
    "lite0-128-exits": Run("efficientnet-lite0-late", _GO_ON, after="lite0-128"),
    "lite0-128-more": _static(0, 128, 2, _BLOCKS0, after="lite0-128"),
    "lite0-96": _static(0, 96, 2, _BLOCKS0, after="lite0-128"),
    "lite0-160": _static(0, 160, 2, _BLOCKS0, after="lite0-128"),
    "lite2-192": _static(2, 192, 2, _BLOCKS2),
    "lite2-160": _static(2, 160, 1, _BLOCKS2, after="lite2-192"),
    "lite2-224": _static(2, 224, 1, _BLOCKS2, after="lite2-192"),
}

_FAMILY = ("lite0-96", "lite0-128-more", "lite0-160", "lite2-160", "lite2-224")
_STATIC = tuple(part for name in _FAMILY for part in ("--static", f"{{runs}}/{name}"))


def _cascade(members: Sequence[str], budget: float) -> Cascade:
    tune = ("tune", "--budget", f"{budget:g}")
    return Cascade(tuple(members), (tune, ("sweep", "--policy", "{run}/policy.json", *_STATIC)))


CASCADES: Mapping[str, Cascade] = {
    "cascade-96-160": _cascade(("lite0-96:final", "lite0-160:final"), 0.1),
    "cascade-128-224": _cascade(("lite0-128-more:final", "lite2-224:final"), 0.38),
    "cascade-160-224": _cascade(("lite0-160:final", "lite2-224:final"), 0.55),
}
