"""All mistakes of a config are reported at once, one line for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenedge.config import config_from_text
from greenedge.errors import ConfigError, GreenedgeError
from greenedge.training.configs import COMPONENT_TABLES, parse_config, read_config

CONFIG = """\
data: {path: pets}
augment:
  - horizontal_flip
  - cutmix: {alpha: 1.0}
model:
  backbone: resnet18
  exits:
    - {after: layer1, head: light}
    - after: layer2
      head: {paper: {}}
train:
  epochs: 3
  optimizer: {adamw: {lr: 0.001}}
sweep: {criterion: entropy}
"""


def mistakes(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "a.yaml", overrides)
    return [str(error) for error in caught.value.errors]


def test_mistakes_of_both_phases_and_of_overrides_are_reported_together_in_the_files_order() -> None:
    text = (
        CONFIG.replace("pets}", "pets, image_size: 3, colour: red}")
        .replace("horizontal_flip", "horizontal_flop")
        .replace("resnet18", "resnet81")
        .replace("{paper: {}}", "{paper: {width: 3}}")
        .replace("epochs: 3", "epochs: 0\n  epochs: 4")
        .replace("0.001", "fast")
        .replace("entropy", "entrpy")
    )
    assert mistakes(text, "train.seed", "augment.9=blur", "augment.1.cutmix.alpha=0") == [
        "a.yaml:1: data.image_size: expected a number at least 8 and at most 2048, found 3",
        "a.yaml:1: data.colour: unknown key; the keys here are path, image_size, calibration_per_class, "
        "calibration_fraction, train_fraction, mean, std, store, training_crop",
        "a.yaml:3: augment.0: there is no 'horizontal_flop'; did you mean 'horizontal_flip'?",
        "a.yaml:6: model.backbone: there is no 'resnet81'; did you mean 'resnet18'?",
        "a.yaml:10: model.exits.1.head.paper.width: unknown key; there are no options here",
        "a.yaml:12: train.epochs: expected a number at least 1, found 0",
        "a.yaml:13: train.epochs: given twice (first at a.yaml:12); keep one",
        "a.yaml:14: train.optimizer.adamw.lr: expected a number, found 'fast'",
        "a.yaml:15: sweep.criterion: there is no 'entrpy'; did you mean 'entropy'?",
        "--set train.seed: expected KEY=VALUE, such as train.epochs=3",
        "--set augment.9=blur: augment.9: augment is a list of 2; give an item's number, counted from 0",
        "--set augment.1.cutmix.alpha=0: augment.1.cutmix.alpha: expected a number above 0, found 0",
    ]


def test_the_report_has_a_title_and_one_line_for_each() -> None:
    with pytest.raises(GreenedgeError) as caught:
        parse_config(CONFIG, "a.yaml", ["train.epochs=0", "train.optimizer.lr=0"])
    assert str(caught.value).splitlines() == [
        "2 mistakes in a.yaml:",
        "  --set train.epochs=0: train.epochs: expected a number at least 1, found 0",
        "  --set train.optimizer.lr=0: train.optimizer.adamw.lr: expected a number above 0, found 0",
    ]
    assert caught.value.exit_code == 2


def test_one_mistake_is_one_line_without_a_title() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(CONFIG, "a.yaml", ["train.optimizer=sdg"])
    assert str(caught.value) == "--set train.optimizer=sdg: train.optimizer: there is no 'sdg'; did you mean 'sgd'?"
    assert caught.value.errors == (caught.value,)


def test_a_misspelled_key_is_not_reported_as_missing_too() -> None:
    assert mistakes(CONFIG.replace("epochs", "epoch")) == [
        "a.yaml:12: train.epoch: unknown key; did you mean 'epochs'?"
    ]


def test_every_component_with_a_mistake_is_reported_whichever_others_are_right() -> None:
    text = CONFIG.replace("head: light", "head: {light: {width: 0, grid: 0}}").replace("{paper: {}}", "lihgt")
    assert [
        line.partition(" ")[2].partition(": ")[0] for line in mistakes(text, "train.loss=x", "train.schedule=y")
    ] == [
        "model.exits.0.head.light.width",
        "model.exits.0.head.light.grid",
        "model.exits.1.head",
        "train.loss=x",
        "train.schedule=y",
    ]


def test_names_of_another_library_are_left_to_it() -> None:
    assert parse_config(CONFIG, "a.yaml", ["model.backbone=timm/no_such"]).model.backbone == "timm/no_such"


def test_without_tables_only_the_first_phase_runs() -> None:
    assert config_from_text(CONFIG, "a.yaml", ["train.loss=x"]).train.loss.name == "x"


def test_components_are_spelled_out_where_they_are_checked(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CONFIG)
    config = read_config(tmp_path / "a.yaml")
    assert config.train.optimizer.options == {"lr": 0.001, "weight_decay": 0.05}
    assert config.model.exits[0].head.options == {"width": 128, "max_width": 256, "grid": 4}
    assert config.augment[0].options == {"probability": 0.5}
    assert config.origins["train.epochs"] == f"{tmp_path / 'a.yaml'}:12"


def test_the_tables_are_those_that_the_schema_names() -> None:
    from greenedge.models.backbones import BACKBONES

    assert set(COMPONENT_TABLES) == {
        "augmentations",
        "backbones",
        "criteria",
        "heads",
        "loggers",
        "losses",
        "objectives",
        "optimizers",
        "schedules",
    }
    assert list(COMPONENT_TABLES["backbones"]) == list(BACKBONES)
