"""YAML text becomes nodes that know their place, which `--set` overrides."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from greenedge.config.nodes import Node, parse_override, parse_yaml, with_override
from greenedge.errors import ConfigError

NAMES = st.text("abcdefgh", min_size=1, max_size=6)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FINITE | NAMES
TREES = st.recursive(
    SCALARS,
    lambda child: st.lists(child, max_size=3) | st.dictionaries(NAMES, child, max_size=3),
    max_leaves=10,
)


def value_of(text: str) -> Any:
    return parse_yaml(f"key: {text}\n", "a.yaml").plain()["key"]


def refusal_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "a.yaml")
    return str(caught.value)


def overridden(text: str, override: str) -> Any:
    return with_override(parse_yaml(text, "a.yaml"), *parse_override(override)).plain()


def places(text: str) -> dict[str, str]:
    return dict(parse_yaml(text, "a.yaml").origins())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("2.5e-4", 0.00025),
        ("1e+2", 100.0),
        ("-1e-3", -0.001),
        (".5", 0.5),
    ],
)
def test_scientific_notation_is_a_float(text: str, number: float) -> None:
    value = value_of(text)
    assert type(value) is float
    assert value == number


@settings(deadline=None)
@given(FINITE, st.sampled_from(["{!r}", "{:.17e}", "{:.17E}"]))
def test_every_finite_float_as_python_prints_it_reads_back_the_same(number: float, style: str) -> None:
    value = value_of(style.format(number))
    assert type(value) is float
    assert value == number


@pytest.mark.parametrize("text", ["'1e-3'", "e5", "1e", "1e-", "v1.5", "1.2.3", "1e3x", "layer1.0", "2020-01-01"])
def test_text_that_only_resembles_a_number_stays_text(text: str) -> None:
    assert value_of(text) == text.strip("'")


def test_infinity_is_read_as_a_number_so_that_it_can_be_refused_by_name() -> None:
    assert value_of("[.inf, -.inf]") == [math.inf, -math.inf]


@settings(deadline=None)
@given(TREES)
def test_a_tree_written_as_yaml_is_read_back_with_its_types(tree: Any) -> None:
    plain = parse_yaml(yaml.safe_dump({"tree": tree}), "a.yaml").plain()
    assert repr(plain) == repr({"tree": json.loads(json.dumps(tree, sort_keys=True))})


def test_origins_name_the_line_of_every_value() -> None:
    text = "# a comment\nmodel:\n  exits:\n    - after: layer1\n    - after: layer2\n      head: light\nseed:\n  7\n"
    assert places(text) == {
        "": "a.yaml:2",
        "model": "a.yaml:2",
        "model.exits": "a.yaml:3",
        "model.exits.0": "a.yaml:4",
        "model.exits.0.after": "a.yaml:4",
        "model.exits.1": "a.yaml:5",
        "model.exits.1.after": "a.yaml:5",
        "model.exits.1.head": "a.yaml:6",
        "seed": "a.yaml:7",
    }


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_empty_text_is_an_empty_mapping(text: str) -> None:
    assert parse_yaml(text, "a.yaml").plain() == {}


def test_a_key_given_twice_names_both_lines() -> None:
    message = refusal_of("train:\n  epochs: 1\n  seed: 0\n  epochs: 2\n")
    assert message.startswith("a.yaml:4: train.epochs: given twice")
    assert "a.yaml:2" in message


@pytest.mark.parametrize("key", ["1", "yes", "~", "1.5", "[a]", "? {a: b}\n"])
def test_a_key_that_is_not_text_is_refused_with_its_line(key: str) -> None:
    assert refusal_of(f"# first line\n{key}: 2\n").startswith("a.yaml:2: keys must be plain text")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1, 2\n", 2),
        ("a: 1\n\tb: 2\n", 2),
        ("a: 1\nb: *nothing\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ('a: "x\n', 2),
    ],
)
def test_text_that_is_not_one_yaml_document_is_refused_with_its_line(text: str, line: int) -> None:
    message = refusal_of(text)
    assert message.startswith(f"a.yaml:{line}: not valid YAML: ")
    assert "\n" not in message


@pytest.mark.parametrize("text", ["!!python/name:os.sep ''", "!!python/module:os ''", "!mine 1"])
def test_a_tag_that_stands_for_an_object_is_refused(text: str) -> None:
    assert refusal_of(f"key: {text}").startswith("a.yaml:1: not valid YAML: ")


def test_a_tag_cannot_call_a_function() -> None:
    assert value_of("!!python/object/apply:os.getcwd []") == []


@pytest.mark.parametrize(
    ("text", "override", "expected"),
    [
        ("a: 1", "b=2", {"a": 1, "b": 2}),
        ("a: {b: 1, c: 2}", "a.b=3", {"a": {"b": 3, "c": 2}}),
        ("", "a.b.c=1e-3", {"a": {"b": {"c": 0.001}}}),
        ("a: ~", "a.b=1", {"a": {"b": 1}}),
        ("a: [x, y, z]", "a.1=w", {"a": ["x", "w", "z"]}),
        ("a: [{b: 1}, {b: 2}]", "a.1.b=3", {"a": [{"b": 1}, {"b": 3}]}),
        ("a: [1]", "a=[2, 3]", {"a": [2, 3]}),
        ("o: adam", "o.adam.lr=0.01", {"o": {"adam": {"lr": 0.01}}}),
        ("o: {adam: }", "o.adam.lr=0.01", {"o": {"adam": {"lr": 0.01}}}),
        ("o: {adam: {eps: 1}}", "o.adam.lr=2", {"o": {"adam": {"eps": 1, "lr": 2}}}),
        ("o: [flip]", "o.0.flip.p=1", {"o": [{"flip": {"p": 1}}]}),
        ("a: 1", " a = 2", {"a": 2}),
        ("a: 1", "a=", {"a": None}),
        ("a: 1", "a=b=c", {"a": "b=c"}),
    ],
)
def test_with_override_replaces_only_the_value_it_names(text: str, override: str, expected: Any) -> None:
    assert overridden(text, override) == expected


def test_with_override_does_not_change_the_tree_it_is_given() -> None:
    root = parse_yaml("a: [{b: 1}]", "a.yaml")
    with_override(root, "a.0.b", Node(2, "--set a.0.b=2"))
    assert root.plain() == {"a": [{"b": 1}]}


def test_with_override_places_its_value_at_the_option_and_the_rest_at_its_line() -> None:
    root = parse_yaml("a: 1\nb:\n  c: 2\n  d: 3\n", "a.yaml")
    origins = dict(with_override(root, *parse_override("b.c=[4]")).origins())
    assert (origins["a"], origins["b.d"]) == ("a.yaml:1", "a.yaml:4")
    assert origins["b.c"] == origins["b.c.0"] == "--set b.c=[4]"


@pytest.mark.parametrize(
    ("text", "override", "words"),
    [
        ("a: [x]", "a.1=y", "--set a.1=y: a.1: a is a list of 1"),
        ("a: [x]", "a.-1=y", "--set a.-1=y: a.-1: a is a list of 1"),
        ("a: [x]", "a.first=y", "--set a.first=y: a.first: a is a list of 1"),
        ("a: 3", "a.b=1", "--set a.b=1: a.b: a is 3"),
        ("o: adam", "o.sgd.lr=1", "--set o.sgd.lr=1: o.sgd: o is 'adam'"),
        ("a: 1", "a", "--set a: expected KEY=VALUE"),
        ("a: 1", "=2", "--set =2: expected KEY=VALUE"),
        ("a: 1", "a=[1", "--set a=[1: the value '[1' is not valid YAML"),
        ("a: 1", "a={b: 1, b: 2}", "--set a={b: 1, b: 2}: a.b: given twice"),
    ],
)
def test_with_override_that_has_no_place_names_its_own_text(text: str, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        overridden(text, override)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
