"""The studies: which networks are trained for a question, and from what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# 25,000 of TinyImageNet's images, when 25 of each class are set aside.
_QUARTER = ("data.train_fraction=0.263", "train.epochs=10")

# 2,500 images of ten classes at 32 px: ten epochs of ResNet-18 take one old core eight minutes.
SMALL_DATA = "data/tiny-10-32"
SMALL = ("data.image_size=32", "data.train_fraction=1", "data.calibration_per_class=100", "train.batch_size=64")
_GENTLE = ("train.schedule={one_cycle: {max_lr: 0.002, warmup: 0.25}}",)  # for batches of 64


@dataclass(frozen=True)
class Study:
    """Trainings that differ in one thing; with one seed, all begin with the same weights and see the same images.

    Attributes:
        question: what it answers.
        config: a config that comes with greenedge.
        folder: of the runs; studies that share trainings share it.
        settings: overrides of the config, as `--set` takes them.
        runs: what each is called -> its own overrides, in which SEED is the seed. The first is the one that the others
            are compared with.
        seeds: of the usual study.
        small: overrides that go with `SMALL`.
    """

    question: str
    config: str
    folder: str
    settings: tuple[str, ...]
    runs: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    small: tuple[str, ...] = ()


def _one_exit(block: str) -> tuple[str, ...]:
    return (f"model.exits=[{{after: {block}, head: light}}]",)


def _mixed(mixing: str) -> tuple[str, ...]:
    return (f"augment=[horizontal_flip, {mixing}]",)


# The averages of these short trainings must move faster than the papers', of 400 epochs; the maps after layer3, of
# 4 x 4, would make coarse masks.
_LEARNED = "{momentum: 0.99, after: layer2}"
_FLIPS = "{horizontal_flip: {probability: 0.25}}, {vertical_flip: {probability: 0.25}}"
_NONE, _FLIPPED, _CUT = "augment=[]", f"augment=[{_FLIPS}]", f"augment=[{_FLIPS}, cutmix]"
_THIRD = "train.epochs=5"
_CYCLE = (_THIRD, "train.schedule={one_cycle: {max_lr: 0.003, warmup: 0.25}}")
_BLOCKS = ("layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1", "layer4.0")
_B0_EXITS = "model.exits=[{after: features.2.0, head: pooled}, {after: features.6.0, head: pooled}]"

STUDIES: dict[str, Study] = {
    "first-layers": Study(
        "what exits do to the first layers of ResNet-18",
        "resnet18-light",
        "one-exit",
        _QUARTER,
        {
            "plain": ("model.exits=[]",),
            "reordered": ("model.exits=[]", "train.seed=100SEED", "train.init_seed=SEED"),  # what is chance
            "layer1.1": _one_exit("layer1.1"),
            "layer3.1": _one_exit("layer3.1"),
            "detached": (*_one_exit("layer1.1"), "train.objective={weighted_sum: {head_gradient: detached}}"),
        },
        (0, 1, 2),
        _GENTLE,
    ),
    "exit-position": Study(
        "what the place of ResNet-18's one exit does to it and to the final one",
        "resnet18-light",
        "one-exit",
        _QUARTER,
        {"plain": ("model.exits=[]",), **{block: _one_exit(block) for block in _BLOCKS}},
        (0, 1),
        _GENTLE,
    ),
    "mixing": Study(
        "what ways of mixing images do to ResNet-18 with three exits",
        "resnet18-light",
        "mixing",
        _QUARTER,
        {
            "none": ("augment=[horizontal_flip]",),
            "mixup": _mixed("mixup"),
            "cutmix": _mixed("cutmix"),
            "resizemix": _mixed("resizemix"),
            "automix": _mixed(f"{{automix: {_LEARNED}}}"),
            "samix": _mixed(f"{{samix: {_LEARNED}}}"),
        },
        (0, 1),
        _GENTLE,
    ),
    "super-convergence": Study(
        "what one cycle in a third of the epochs does, in place of Table I's constant learning rate",
        "paper/table1-plain",
        "super-convergence",
        ("train.epochs=15",),
        {
            "none": (_NONE,),
            "flips": (_FLIPPED,),
            "cutmix": (_CUT,),
            "none-third": (_NONE, _THIRD),
            "flips-third": (_FLIPPED, _THIRD),
            "cutmix-third": (_CUT, _THIRD),
            "none-cycle": (_NONE, *_CYCLE),
            "flips-cycle": (_FLIPPED, *_CYCLE),
            "cutmix-cycle": (_CUT, *_CYCLE),
        },
        (0,),
    ),
    "stochastic-depth": Study(
        "what stochastic depth does to the exits of EfficientNet-B0",
        "efficientnet-b0-64",
        "stochastic-depth",
        _QUARTER,
        {"off": (_B0_EXITS, "model.stochastic_depth=0"), "on": (_B0_EXITS,)},
        (0, 1),
    ),
}
