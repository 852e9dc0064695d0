"""Components are chosen by name, and their options checked against their signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenedge.config.components import Component, instantiate, instantiate_partial, resolve_component
from greenedge.config.convert import Positive, Probability
from greenedge.config.nodes import parse_override, parse_yaml, with_override
from greenedge.errors import ConfigError


def adam(
    weights: object, *, lr: Positive = 1e-3, betas: tuple[Probability, Probability] = (0.9, 0.999)
) -> dict[str, Any]:
    if lr > 10:
        raise ValueError("lr above 10 never converges")
    return {"weights": weights, "lr": lr, "betas": betas}


def sgd(weights: object, *, lr: Positive, nesterov: bool = False, mode: Literal["a", "b"] = "a") -> tuple[Any, ...]:
    return weights, lr, nesterov, mode


def identity(image: object) -> object:
    return image


@dataclass(frozen=True, kw_only=True)
class Cutout:
    side: int = 8


TABLE: dict[str, Callable[..., Any]] = {"adam": adam, "sgd": sgd, "identity": identity, "cutout": Cutout}


def component_of(text: str, *overrides: str) -> Component:
    root = parse_yaml(f"train:\n  optimizer: {text}\n", "a.yaml")
    for override in overrides:
        root = with_override(root, *parse_override(override))
    return Component.from_node(root.value["train"].value["optimizer"], "train.optimizer")


def refusal(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        instantiate(component_of(text, *overrides), TABLE, "W")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("text", ["adam", "{adam: }", "{adam: {}}"])
def test_a_name_alone_and_a_name_without_options_are_the_same_component(text: str) -> None:
    assert component_of(text) == Component("adam")


@pytest.mark.parametrize(
    ("text", "built"),
    [
        ("adam", {"weights": "W", "lr": 0.001, "betas": (0.9, 0.999)}),
        ("{adam: {lr: 1e-2}}", {"weights": "W", "lr": 0.01, "betas": (0.9, 0.999)}),
        ("{adam: {betas: [0, 1], lr: 2}}", {"weights": "W", "lr": 2.0, "betas": (0.0, 1.0)}),
        ("{sgd: {lr: 1, nesterov: true, mode: b}}", ("W", 1.0, True, "b")),
        ("identity", "W"),
    ],
)
def test_instantiate_passes_the_programs_arguments_and_the_users_options(text: str, built: Any) -> None:
    assert instantiate(component_of(text), TABLE, "W") == built


def test_a_dataclass_can_be_a_component() -> None:
    assert instantiate(component_of("{cutout: {side: 3}}"), TABLE) == Cutout(side=3)


def test_instantiate_partial_waits_for_the_programs_arguments() -> None:
    bound = instantiate_partial(component_of("{sgd: {lr: 0.5}}"), TABLE)
    assert bound("first") == ("first", 0.5, False, "a")
    assert bound("second") == ("second", 0.5, False, "a")


def test_resolve_component_spells_out_every_default_in_the_signatures_order() -> None:
    resolved = resolve_component(component_of("{sgd: {mode: b, lr: 3}}"), TABLE)
    assert list(resolved.options.items()) == [("lr", 3.0), ("nesterov", False), ("mode", "b")]


def test_resolve_component_without_options_is_the_bare_name() -> None:
    assert resolve_component(component_of("identity"), TABLE).plain() == "identity"


@settings(deadline=None)
@given(st.floats(1e-6, 10), st.booleans(), st.sampled_from(["a", "b"]))
def test_resolve_component_twice_changes_nothing(lr: float, nesterov: bool, mode: str) -> None:
    options = {"lr": lr, "nesterov": nesterov, "mode": mode}
    resolved = resolve_component(Component("sgd", options), TABLE)
    assert resolved == Component("sgd", options)
    assert resolve_component(resolved, TABLE) == resolved


@pytest.mark.parametrize("context", ["weights", "self"])
def test_a_parameter_of_the_program_is_not_an_option_of_the_user(context: str) -> None:
    assert refusal(f"{{adam: {{{context}: 1}}}}").startswith(f"a.yaml:2: train.optimizer.adam.{context}: unknown key")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adem", "train.optimizer: there is no 'adem'; did you mean 'adam'?"),
        ("xyz", "train.optimizer: there is no 'xyz'; known are adam, sgd, identity, cutout"),
        ("{adem: {lr: 1}}", "train.optimizer: there is no 'adem'; did you mean 'adam'?"),
        ("{adam: {beta: [0, 0]}}", "train.optimizer.adam.beta: unknown key; did you mean 'betas'?"),
        ("{adam: {zzz: 1}}", "train.optimizer.adam.zzz: unknown key; the keys here are lr, betas"),
        ("{identity: {p: 1}}", "train.optimizer.identity.p: unknown key; there are no options here"),
        ("sgd", "train.optimizer.sgd.lr: missing; it has no default"),
        ("{sgd: {nesterov: true}}", "train.optimizer.sgd.lr: missing; it has no default"),
        ("{adam: {lr: fast}}", "train.optimizer.adam.lr: expected a number, found 'fast'"),
        ("{adam: {lr: true}}", "train.optimizer.adam.lr: expected a number, found True"),
        ("{adam: {lr: 0}}", "train.optimizer.adam.lr: expected a number above 0, found 0"),
        ("{adam: {lr: .nan}}", "train.optimizer.adam.lr: expected a finite number, found nan"),
        ("{adam: {betas: [0.9]}}", "train.optimizer.adam.betas: expected a list of 2, found 1"),
        (
            "{adam: {betas: [0.9, 2]}}",
            "train.optimizer.adam.betas.1: expected a number at least 0 and at most 1, found 2",
        ),
        ("{sgd: {lr: 1, nesterov: 1}}", "train.optimizer.sgd.nesterov: expected true or false, found 1"),
        ("{sgd: {lr: 1, mode: c}}", "train.optimizer.sgd.mode: expected a or b, found 'c'"),
        ("{adam: {lr: 11}}", "train.optimizer.adam: lr above 10 never converges"),
    ],
)
def test_a_component_that_does_not_fit_its_signature_is_refused(text: str, message: str) -> None:
    assert refusal(text) == f"a.yaml:2: {message}"


@pytest.mark.parametrize("text", ["3", "~", "[adam]", "{}", "{adam: 3}", "{adam: [1]}"])
def test_from_node_refuses_what_is_not_a_name_or_one_name_with_options(text: str) -> None:
    assert refusal(text).startswith("a.yaml:2: train.optimizer: expected a name, or one name with its options")


def test_two_components_for_one_key_are_refused_at_the_second() -> None:
    message = refusal("\n    adam: {}\n    sgd: {}")
    assert message.startswith("a.yaml:4: train.optimizer: names several components, adam and sgd; ")
    assert message.endswith("; set train.optimizer as a whole to one")


def test_a_mistake_in_an_option_names_the_options_own_line() -> None:
    message = refusal("\n    adam:\n      lr: 1\n      betas: 5")
    assert message == "a.yaml:5: train.optimizer.adam.betas: expected a list, found 5"


@pytest.mark.parametrize("text", ["adam", "{adam: {}}", "{adam: {lr: 5}}", "{adam: {betas: [0.9, 0.999]}}"])
def test_an_override_reaches_into_a_component_however_it_was_written(text: str) -> None:
    assert instantiate(component_of(text, "train.optimizer.adam.lr=0.01"), TABLE, "W")["lr"] == 0.01


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.optimizer.adam.l=1", "train.optimizer.adam.l: unknown key; did you mean 'lr'?"),
        ("train.optimizer.adam.lr=0", "train.optimizer.adam.lr: expected a number above 0, found 0"),
        ("train.optimizer=sgd", "train.optimizer.sgd.lr: missing; it has no default"),
        ("train.optimizer=sdg", "train.optimizer: there is no 'sdg'; did you mean 'sgd'?"),
    ],
)
def test_an_override_of_a_component_is_checked_and_named(override: str, message: str) -> None:
    assert refusal("adam", override) == f"--set {override}: {message}"


def test_a_component_made_by_the_program_is_checked_without_a_place() -> None:
    with pytest.raises(ConfigError, match=r"^adam\.lr: expected a number above 0, found -1$"):
        resolve_component(Component("adam", {"lr": -1}), TABLE)
    assert instantiate(Component("adam", {"betas": (0.5, 0.5)}), TABLE, "W")["betas"] == (0.5, 0.5)


def test_components_are_equal_when_name_and_options_are_wherever_they_were_written() -> None:
    written = component_of("{adam: {lr: 1}}")
    assert written == Component("adam", {"lr": 1})
    assert written != replace(written, options={"lr": 2})
    assert written != Component("sgd", {"lr": 1})
