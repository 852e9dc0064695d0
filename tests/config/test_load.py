"""Configs from files and overrides, and back to text."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from greenedge.config import Component, RunConfig, config_from_text, config_to_text, load_config, resolve_component
from greenedge.config.convert import Positive
from greenedge.config.schema import DataConfig, ExitConfig, ModelConfig, SweepConfig, TrainConfig
from greenedge.errors import ConfigError, GreenedgeError

CONFIG_FOLDER = Path(__file__).parents[2] / "configs"
CONFIG = """\
data: {path: pets}
model:
  backbone: resnet18
  exits:
    - {after: layer1, head: light}
    - {after: layer2}
train:
  epochs: 3
  optimizer: adam
"""
PLAIN = yaml.safe_load(CONFIG)

PATHS = st.text("abcxyz/._- :#'\"äλ\n", min_size=1) | st.from_regex(r"[-+.0-9_eE]{1,8}", fullmatch=True)
POSITIVE = st.floats(1e-300, 1e300)
OPTIONS = st.dictionaries(st.sampled_from(["lr", "mode"]), POSITIVE | st.booleans() | st.none() | PATHS)
COMPONENTS = st.builds(Component, PATHS, OPTIONS)
EXITS = st.builds(ExitConfig, PATHS, COMPONENTS)
CONFIGS = st.builds(
    RunConfig,
    st.builds(DataConfig, PATHS, st.integers(8, 999), std=st.none() | st.tuples(*[st.floats(0.01, 1)] * 3)),
    st.builds(ModelConfig, PATHS, st.none() | PATHS, exits=st.lists(EXITS, max_size=2).map(tuple)),
    st.builds(TrainConfig, st.integers(1, 10**9), optimizer=COMPONENTS, gradient_clip_norm=st.none() | POSITIVE),
    st.lists(COMPONENTS, max_size=2).map(tuple),
    st.builds(SweepConfig, thresholds=st.just("all") | st.lists(POSITIVE, min_size=1).map(tuple)),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text("abc"),
    lambda child: st.lists(child, max_size=2) | st.dictionaries(st.sampled_from(["after", "a"]), child),
    max_leaves=4,
)
EDITS: dict[str, st.SearchStrategy[Any]] = {
    "data.path": PATHS,
    "model.weights": st.none() | PATHS,
    "model.exits.1.after": PATHS,
    "model.exits.0.head": st.sampled_from(["linear", {"paper": {"width": 3}}]),
    "train.epochs": st.integers(-1, 5),
    "train.ema_decay": st.none() | st.floats(-1, 2) | st.just("often"),
    "train.optimizer": st.sampled_from(["sgd", {"sgd": {"lr": 0.5}}, 3]),
    "train.compile": st.booleans() | st.integers(0, 1),
    "sweep.thresholds": st.lists(st.floats(0, 4), max_size=3) | st.sampled_from(["all", "some"]),
}


def adam(weights: object, *, lr: Positive = 1e-3, betas: tuple[float, float] = (0.9, 0.999)) -> None:
    """Stands for an optimizer; needs no torch."""


def edited(key: str, value: Any) -> str:
    """The config as if its author had written `value` there."""
    plain = yaml.safe_load(CONFIG)
    place, (*path, last) = plain, [int(name) if name.isdigit() else name for name in key.split(".")]
    for name in path:
        place = place.setdefault(name, {}) if isinstance(place, dict) else place[name]
    place[last] = value
    return json.dumps(plain)  # which is YAML in any version


def outcome(text: str, *overrides: str) -> tuple[RunConfig | None, str, str | None, str | None]:
    try:
        return config_from_text(text, "a.yaml", overrides), "", None, None
    except ConfigError as error:
        return None, error.message, error.key, error.where


def test_a_file_is_read_and_its_faults_carry_its_name_and_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG + "  epoch: 4\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}:10: train.epoch: unknown key; did you mean 'epochs'?"
    path.write_text(CONFIG.replace("pets", "Bäume/樹"), encoding="utf-8")
    assert load_config(path, ["train.epochs=5"]).data.path == "Bäume/樹"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.exists, "cannot be read: No such file"),
        (Path.mkdir, "cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00a"), "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: Any, words: str) -> None:
    path = tmp_path / "a.yaml"
    make(path)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    assert caught.value.exit_code == 2


def test_config_errors_are_expected_errors_made_of_place_key_and_sentence() -> None:
    error = ConfigError("is wrong", key="a.b", where="f:1")
    assert isinstance(error, GreenedgeError)
    assert (str(error), error.message, error.key, error.where) == (
        "f:1: a.b: is wrong",
        "is wrong",
        "a.b",
        "f:1",
    )
    assert str(ConfigError("is wrong")) == "is wrong"
    assert GreenedgeError.exit_code == 1


def test_overrides_reach_into_lists_and_components_and_the_last_one_wins() -> None:
    overrides = [
        "model.exits.0.head=linear",
        "train.optimizer.adam.lr=0.01",
        "train.epochs=7",
        "train.epochs=8",
    ]
    config = config_from_text(CONFIG, "a.yaml", overrides)
    assert config.model.exits == (ExitConfig("layer1", Component("linear")), ExitConfig("layer2"))
    assert config.train.optimizer == Component("adam", {"lr": 0.01})
    assert config.train.epochs == 8


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(EDITS)).flatmap(lambda key: st.tuples(st.just(key), EDITS[key])))
def test_an_override_does_just_what_editing_the_file_does(edit: tuple[str, Any]) -> None:
    key, value = edit
    assert outcome(CONFIG, f"{key}={json.dumps(value)}")[:3] == outcome(edited(key, value))[:3]


@settings(max_examples=100, deadline=None)
@given(CONFIGS)
def test_a_config_written_as_text_reads_back_equal(config: RunConfig) -> None:
    assert config_from_text(config_to_text(config), "a.yaml") == config


def test_a_config_with_its_components_spelled_out_reads_back_equal() -> None:
    config = config_from_text(CONFIG, "a.yaml", ["train.optimizer.adam.lr=1e-5"])
    optimizer = resolve_component(config.train.optimizer, {"adam": adam})
    resolved = dataclasses.replace(config, train=dataclasses.replace(config.train, optimizer=optimizer))
    again = config_from_text(config_to_text(resolved), "b.yaml")
    assert resolve_component(again.train.optimizer, {"adam": adam}) == optimizer
    assert yaml.safe_load(config_to_text(resolved))["train"]["optimizer"]["adam"]["betas"] == [0.9, 0.999]
    assert "origins" not in config_to_text(resolved)


def test_every_shipped_config_reads_and_reads_back_equal() -> None:
    configs = sorted(CONFIG_FOLDER.glob("*.yaml"))
    assert configs
    for path in configs:
        config = load_config(path)
        assert config_from_text(config_to_text(config), "again") == config


def test_origins_tell_who_set_each_key() -> None:
    origins = config_from_text(CONFIG, "a.yaml", ["train.epochs=5"]).origins
    assert origins["train.epochs"] == "--set train.epochs=5"
    assert (origins["data.path"], origins["model.exits.1.after"]) == ("a.yaml:1", "a.yaml:6")
    assert "train.seed" not in origins


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*EDITS, *PLAIN, "augment", "sweep", "nonsense"]), ANYTHING)
def test_a_config_with_anything_anywhere_is_read_or_refused_in_one_line_per_mistake(key: str, value: Any) -> None:
    try:
        config_from_text(edited(key, value), "a.yaml")
    except ConfigError as error:
        for each in error.errors:
            assert re.fullmatch(r"a\.yaml:[0-9]+", each.where or "")
            assert str(each).isprintable()


def test_reading_configs_does_not_import_torch() -> None:
    script = "import sys, greenedge.config, greenedge.files; print('torch' in sys.modules, 'yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
