"""The config's keys: defaults, limits, and the rules between them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from greenedge.config import Component, RunConfig, config_from_text
from greenedge.config.schema import DataConfig, ExitConfig, ModelConfig, SweepConfig, TrainConfig
from greenedge.errors import ConfigError

SMALLEST = "data: {path: pets}\nmodel: {backbone: resnet18}\ntrain: {epochs: 3}\n"
THE_DESIGNS_EXAMPLE = """
data:
  path: data/tiny-imagenet-200        # a prepared data set
  image_size: 64
  calibration_per_class: 25
augment:
  - horizontal_flip: {probability: 0.25}
  - vertical_flip: {probability: 0.25}
  - cutmix: {alpha: 1.0}
model:
  backbone: resnext50_32x4d
  weights: null
  stem: imagenet
  exits:
    - {after: layer1, head: paper}
    - {after: layer3, head: paper}
train:
  epochs: 30
  batch_size: 256
  optimizer: {adam: {lr: 0.001}}
  schedule: constant
  loss: cross_entropy
  exit_weights: [1, 1, 1]
  precision: auto
  seed: 0
sweep:
  criterion: entropy
  thresholds: [0, 0.63, 1.26, 2, 2.63, 3.26, 3.9]
"""


def smallest(*overrides: str) -> RunConfig:
    return config_from_text(SMALLEST, "a.yaml", overrides)


def refusal(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config_from_text(text, "a.yaml", overrides)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_smallest_config_gets_the_documented_defaults() -> None:
    components = (
        ("optimizer", "adam"),
        ("schedule", "constant"),
        ("loss", "cross_entropy"),
        ("objective", "weighted_sum"),
    )
    train = TrainConfig(
        epochs=3,
        batch_size=256,
        class_weights="equal",
        teacher=None,
        exit_weights=None,
        trunk_lr=1.0,
        trunk_only_epochs=0,
        freeze=(),
        gradient_clip_norm=None,
        ema_decay=None,
        **{key: Component(name) for key, name in components},  # type: ignore[arg-type]
    )
    machine = {"precision": "auto", "channels_last": True, "compile": False, "device": "auto", "seed": 0}
    train = dataclasses.replace(train, **machine)
    data = DataConfig("pets", None, None, None, 1.0, mean=None, std=None)
    model = ModelConfig("resnet18", weights=None, stem="imagenet", exits=())
    assert smallest() == RunConfig(data, model, train, augment=(), sweep=SweepConfig("entropy", "all"))


def test_the_designs_example_says_what_it_looks_like_it_says() -> None:
    config = config_from_text(THE_DESIGNS_EXAMPLE, "a.yaml")
    assert config.data == DataConfig("data/tiny-imagenet-200", 64, 25)
    assert config.augment == (
        Component("horizontal_flip", {"probability": 0.25}),
        Component("vertical_flip", {"probability": 0.25}),
        Component("cutmix", {"alpha": 1.0}),
    )
    exits = (ExitConfig("layer1", Component("paper")), ExitConfig("layer3", Component("paper")))
    assert config.model == ModelConfig("resnext50_32x4d", None, "imagenet", exits)
    assert config.train.optimizer == Component("adam", {"lr": 0.001})
    assert config.train.exit_weights == (1.0, 1.0, 1.0)
    assert config.sweep.thresholds == (0.0, 0.63, 1.26, 2.0, 2.63, 3.26, 3.9)


def test_a_number_and_a_fraction_of_calibration_images_exclude_each_other() -> None:
    message = refusal(SMALLEST, "data.calibration_per_class=5", "data.calibration_fraction=0.2")
    assert message.endswith("data.calibration_fraction: is given beside calibration_per_class; give one of the two")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "data.mean=[123.675, 1, 0]",
            "data.mean.0: expected a number at least 0 and at most 1, found 123.675",
        ),
        ("data.std=[58.4, 1, 1]", "data.std.0: expected a number at most 1 and above 0, found 58.4"),
        ("data.std=[0.2, 0, 0.2]", "data.std.1: expected a number at most 1 and above 0, found 0"),
    ],
)
def test_means_and_deviations_of_pixels_from_0_to_255_are_refused(override: str, sentence: str) -> None:
    assert sentence in refusal(SMALLEST, override)


@pytest.mark.parametrize(
    "section",
    [smallest(), smallest().data, smallest().model, smallest().train, smallest().sweep, ExitConfig("a")],
)
def test_a_config_cannot_be_changed_once_it_is_read(section: Any) -> None:
    name = dataclasses.fields(section)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(section, name, None)


@pytest.mark.parametrize("key", ["data", "data.path", "model", "model.backbone", "train", "train.epochs"])
def test_each_key_without_a_default_is_missed_by_name(key: str) -> None:
    section, *inner = key.split(".")
    keep = [line for line in SMALLEST.splitlines() if not line.startswith(section)]
    text = "\n".join([*keep, f"{section}: {{}}"] if inner else keep)
    line = 3 if inner else 1
    name = key if inner else section
    assert refusal(text) == f"a.yaml:{line}: {name}: missing; it has no default"


def test_an_exit_without_a_place_is_missed_by_its_number_and_line() -> None:
    text = SMALLEST.replace("{backbone: resnet18}", "\n  backbone: r\n  exits:\n    - after: a\n    - head: light")
    assert refusal(text) == "a.yaml:6: model.exits.1.after: missing; it has no default"


@pytest.mark.parametrize(
    ("override", "inside"),
    [
        ("data.image_size=7", "data.image_size=8"),
        ("data.image_size=2049", "data.image_size=2048"),
        ("data.calibration_per_class=-1", "data.calibration_per_class=0"),
        ("data.mean=[0, 0]", "data.mean=[0, 0, 0]"),
        ("data.std=[1, 0, 1]", "data.std=[1, 1e-3, 1]"),
        ("model.stem=tiny", "model.stem=small"),
        ("model.weights=1", "model.weights=~"),
        ("train.epochs=0", "train.epochs=1"),
        ("train.epochs=1.5", "train.epochs=2"),
        ("train.epochs=true", "train.epochs=100000"),
        ("train.batch_size=0", "train.batch_size=1"),
        ("train.exit_weights=[-1]", "train.exit_weights=[1]"),
        ("train.gradient_clip_norm=0", "train.gradient_clip_norm=1"),
        ("train.gradient_clip_norm=.nan", "train.gradient_clip_norm=null"),
        ("train.ema_decay=1", "train.ema_decay=0.9999"),
        ("train.ema_decay=0", "train.ema_decay=null"),
        ("train.precision=pf16", "train.precision=bf16"),
        ("train.channels_last=1", "train.channels_last=false"),
        ("train.compile=0", "train.compile=true"),
        ("train.device=gpu", "train.device=cuda"),
        ("train.seed=-1", "train.seed=0"),
        ("train.seed=1e3", "train.seed=1000"),
        ("sweep.criterion=1", "sweep.criterion=margin"),
        ("sweep.thresholds=[-0.1]", "sweep.thresholds=[0]"),
        ("sweep.thresholds=[.inf]", "sweep.thresholds=[1e9]"),
        ("sweep.thresholds=some", "sweep.thresholds=all"),
        ("augment=flip", "augment=[flip]"),
    ],
)
def test_each_key_takes_a_value_inside_its_limits_and_refuses_its_neighbour_outside(override: str, inside: str) -> None:
    key = override.split("=")[0]
    smallest(inside)
    message = refusal(SMALLEST, override)
    assert message.startswith(f"--set {override}: {key}")
    assert ": expected " in message


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("train.epoch=1", "epochs"),
        ("train.learning_rate=1", None),
        ("train.optimiser=adam", "optimizer"),
        ("data.paths=x", "path"),
        ("model.backbon=x", "backbone"),
        ("sweep.threshold=[1]", "thresholds"),
        ("augmentation=[]", "augment"),
        ("trian=1", "train"),
        ("origins={}", None),
    ],
)
def test_an_unknown_key_gets_the_nearest_known_one(wrong: str, right: str | None) -> None:
    hint = f"did you mean {right!r}?" if right else "the keys here are "
    key = wrong.split("=")[0]
    assert refusal(SMALLEST, wrong).startswith(f"--set {wrong}: {key}: unknown key; {hint}")


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        ("train: {epochs: 3, exit_weights: [0]}", "train.exit_weights: all are 0"),
        ("train: {epochs: 3, exit_weights: []}", "train.exit_weights: all are 0"),
        (
            "train: {epochs: 3, exit_weights: [1, 1]}",
            "train.exit_weights: has 2 numbers and needs 1",
        ),
        ("train: {epochs: 3}\nsweep: {thresholds: []}", "sweep.thresholds: is empty"),
    ],
)
def test_rules_between_keys_are_config_errors_of_the_file(lines: str, rule: str) -> None:
    message = refusal(SMALLEST.replace("train: {epochs: 3}", lines))
    assert message.startswith("a.yaml:")
    assert rule in message


def test_exit_weights_count_the_early_exits_and_the_final_one() -> None:
    exits = "model.exits=[{after: layer1}, {after: layer2}]"
    assert smallest(exits, "train.exit_weights=[1, 0, 0.5]").train.exit_weights == (1.0, 0.0, 0.5)
    assert "train.exit_weights: has 2 numbers and needs 3" in refusal(SMALLEST, exits, "train.exit_weights=[1, 1]")


def test_a_section_that_only_an_override_opened_is_blamed_on_that_override() -> None:
    message = refusal("\n".join(SMALLEST.splitlines()[1:]), "data.image_size=32")
    assert message == "--set data.image_size=32: data.path: missing; it has no default"


def test_backbone_only_epochs_in_which_nothing_would_be_learnt_are_refused() -> None:
    exits = "model.exits=[{after: layer1}]"
    message = refusal(SMALLEST, exits, "train.exit_weights=[1, 0]", "train.trunk_only_epochs=1")
    assert "in these epochs nothing would be learnt" in message
