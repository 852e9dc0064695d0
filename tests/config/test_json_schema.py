"""The JSON Schema of configs takes what the loader takes, and what it refuses the loader refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from greenedge.config.docstrings import entries, summary
from greenedge.config.json_schema import annotation_schema
from greenedge.config.nodes import parse_yaml
from greenedge.config.schema import RunConfig
from greenedge.errors import ConfigError
from greenedge.training.configs import build_schema, parse_config
from tests.conftest import REPOSITORY

jsonschema = pytest.importorskip("jsonschema")

CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))
CONFIG = """\
data: {path: pets, image_size: 64, mean: [0.5, 0.5, 0.5]}
augment: [horizontal_flip, {cutmix: {alpha: 1.0}}]
model:
  backbone: resnet18
  exits: [{after: layer1, head: {light: {width: 32}}}, {after: layer2}]
train: {epochs: 3, optimizer: {sgd: {momentum: 0.9}}, schedule: one_cycle, exit_weights: [1, 1, 1], device: cuda:1}
sweep: {thresholds: [0, 1.5]}
"""


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = build_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(json.loads(json.dumps(schema)))


def edited(key: str, value: Any) -> str:
    """The config as if its author had written `value` there; None as a key's value is null."""
    plain = yaml.safe_load(CONFIG)
    place, (*path, last) = plain, [int(name) if name.isdigit() else name for name in key.split(".")]
    for name in path:
        place = place[name]
    place[last] = value
    return json.dumps(plain)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_schema_takes_every_shipped_config(validator: Any, path: Path) -> None:
    validator.validate(parse_yaml(path.read_text(), path.name).plain())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.path", 3),
        ("data.pth", "x"),
        ("data.image_size", 7),
        ("data.image_size", 64.5),
        ("data.mean", [0.5, 0.5]),
        ("data.mean", [0.5, 0.5, 0.5, 0.5]),
        ("data.std", [0.5, 0, 0.5]),
        ("data.train_fraction", 0),
        ("data.calibration_fraction", 1),
        ("augment", "horizontal_flip"),
        ("augment.0", "horizontal_flop"),
        ("augment.1", {"cutmix": {"alpha": 0}}),
        ("augment.1", {"cutmix": {"beta": 1}}),
        ("augment.1", {"cutmix": {}, "mixup": {}}),
        ("augment.1", {}),
        ("model", None),
        ("model.backbone", "resnet81"),
        ("model.stem", "tiny"),
        ("model.exits.1", {"head": "light"}),
        ("model.exits.0.head", {"light": {"width": 0}}),
        ("train.epochs", 0),
        ("train.epochs", True),
        ("train.optimizer", "sdg"),
        ("train.optimizer", {"sgd": {"nesterov": 1}}),
        ("train.precision", "fp8"),
        ("train.device", "gpu"),
        ("train.freeze", [{"until": "layer1"}]),
        ("train.ema_decay", 1),
        ("sweep.criterion", "entrpy"),
        ("sweep.thresholds", "some"),
        ("sweep.thresholds", [-1]),
        ("trian", {}),
    ],
)
def test_schema_and_loader_refuse_what_is_invalid(validator: Any, key: str, value: Any) -> None:
    text = edited(key, value)
    assert not validator.is_valid(json.loads(text))
    with pytest.raises(ConfigError):
        parse_config(text, "a.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sweep", None),
        ("augment.0", {"cutout": None}),
        ("model.backbone", "timm/resnet10t"),
        ("model.weights", None),
        ("train.optimizer", {"adam": {"lr": 1}}),
        ("train.device", "mps"),
        ("sweep.thresholds", "all"),
        ("train.schedule", {"one_cycle": {"max_lr": None}}),
    ],
)
def test_schema_and_loader_take_what_is_valid(validator: Any, key: str, value: Any) -> None:
    text = edited(key, value)
    validator.validate(json.loads(text))
    parse_config(text, "a.yaml")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 70)
    | st.floats(-1, 2)
    | st.sampled_from(
        ["all", "light", "linear", "cutmix", "adam", "small", "auto", "cuda", "layer1", "timm/x", "margin"]
    ),
    lambda child: (
        st.lists(child, max_size=3)
        | st.dictionaries(
            st.sampled_from(["after", "head", "light", "width", "until", "epochs", "adam", "lr"]), child, max_size=2
        )
    ),
    max_leaves=4,
)
KEYS = [
    "data.image_size",
    "data.std",
    "data.train_fraction",
    "data",
    "augment",
    "augment.0",
    "model.backbone",
    "model.exits",
]
KEYS += [
    "model.exits.0",
    "model.exits.0.head",
    "model.weights",
    "train.epochs",
    "train.optimizer",
    "train.loss",
    "train.freeze",
]
KEYS += [
    "train.device",
    "train.seed",
    "train.exit_weights",
    "train.trunk_lr",
    "sweep",
    "sweep.thresholds",
    "sweep.criterion",
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(KEYS), VALUES)
def test_loader_refuses_what_the_schema_refuses(validator: Any, key: str, value: Any) -> None:
    text = edited(key, value)
    try:
        parse_config(text, "a.yaml")
    except ConfigError:
        return
    validator.validate(json.loads(text))


def test_schema_describes_every_key_and_names_every_default() -> None:
    schema = annotation_schema(RunConfig)
    for section in ("data", "model", "train", "sweep"):
        for name, key in schema["properties"][section]["properties"].items():
            assert key["description"], name
            assert "default" in key or name in schema["properties"][section]["required"]
    assert schema["properties"]["train"]["properties"]["optimizer"]["default"] == "adam"
    assert schema["properties"]["train"]["properties"]["batch_size"] == {
        "type": "integer",
        "minimum": 1,
        "description": entries(type(_config().train))["batch_size"],
        "default": 256,
    }


def _config() -> RunConfig:
    return parse_config(CONFIG, "a.yaml")


def test_entries_are_read_from_either_section_with_their_further_lines() -> None:
    def documented() -> None:
        """Says hello
        to all.

        Some more: not an entry.

        Args:
            first: one line.
            second: the first line
                and the second; a colon: too.

        Raises:
            ValueError: never.
        """

    def bare() -> None:
        """Says nothing more."""

    assert summary(documented) == "Says hello to all."
    assert entries(documented) == {"first": "one line.", "second": "the first line and the second; a colon: too."}
    assert (summary(bare), entries(bare), entries(test_schema_describes_every_key_and_names_every_default)) == (
        "Says nothing more.",
        {},
        {},
    )
