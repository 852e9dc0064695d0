"""Options of a component set without its name."""

from __future__ import annotations

import pytest

from greenedge.config import Component, RunConfig, config_from_text
from greenedge.errors import ConfigError


def config(train: str, *overrides: str) -> RunConfig:
    text = f"data: {{path: x}}\nmodel: {{backbone: y, exits: [{{after: a}}]}}\ntrain: {{epochs: 1{train}}}\n"
    return config_from_text(text, "a.yaml", overrides)


@pytest.mark.parametrize(
    ("train", "override", "expected"),
    [
        (", optimizer: adamw", "train.optimizer.lr=0.1", Component("adamw", {"lr": 0.1})),
        (", optimizer: adamw", "train.optimizer.adamw.lr=0.1", Component("adamw", {"lr": 0.1})),
        (
            ", optimizer: {adamw: {weight_decay: 1}}",
            "train.optimizer.lr=2",
            Component("adamw", {"weight_decay": 1, "lr": 2}),
        ),
        (", optimizer: {adamw: }", "train.optimizer.lr=2", Component("adamw", {"lr": 2})),
        ("", "train.optimizer.lr=2", Component("adam", {"lr": 2})),
        ("", "train.optimizer=sgd", Component("sgd")),
        ("", "train.optimizer={sgd: {lr: 1}}", Component("sgd", {"lr": 1})),
        ("", "train.optimizer.sgd.lr=1", Component("sgd", {"lr": 1})),
    ],
)
def test_full_key_finds_the_component_that_is_chosen(train: str, override: str, expected: Component) -> None:
    assert config(train, override).train.optimizer == expected


def test_components_in_lists_have_options_too() -> None:
    assert config("", "model.exits.0.head=paper", "model.exits.0.head.width=3").model.exits[0].head.options == {
        "width": 3
    }
    found = config("", "augment=[flip, {jitter: {a: 1}}]", "augment.0.probability=1", "augment.1.b=2").augment
    assert found == (Component("flip", {"probability": 1}), Component("jitter", {"a": 1, "b": 2}))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.optimizer.sgd.lr=1", "train.optimizer is 'adamw', which has no keys"),
        ("train.optimizer.sgd={lr: 1}", "train.optimizer is 'adamw', which has no keys"),
        ("train.epochs.x=1", "train.epochs is 1, which has no keys"),
        ("data.path.y=1", "data.path is 'x', which has no keys"),
        ("model.exits.7.head.x=1", "model.exits is a list of 1"),
        ("model.exits.99999999999999.head.x=1", "model.exits is a list of 1"),
        ("nothing.at.all=1", "nothing: unknown key"),
        ("train.optimizer=" + "x" * 10**5, "is too long"),
        ("a" + ".a" * 5000 + "=1", "is too long"),
    ],
)
def test_an_override_without_a_place_is_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        config(", optimizer: adamw", override)
    assert len(str(caught.value)) < 400
