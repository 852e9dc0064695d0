"""Nodes become typed values: each annotation takes what it should and refuses the rest with a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenedge.config.convert import (
    Count,
    CountOrZero,
    FractionBelowOne,
    NonNegative,
    Positive,
    Probability,
    Range,
    convert,
)
from greenedge.config.nodes import parse_yaml
from greenedge.errors import ConfigError


@dataclass(frozen=True)
class Lamp:
    watts: Positive
    colour: Literal["warm", "cold"] = "warm"
    dimmed: bool = False

    def __post_init__(self) -> None:
        if self.dimmed and self.watts > 100:
            raise ValueError("a dimmed lamp has at most 100 watts")


def converted(text: str, annotation: Any) -> Any:
    return convert(parse_yaml(f"key: {text}\n", "a.yaml").value["key"], annotation, "key")


def refusal(text: str, annotation: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        converted(text, annotation)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "annotation", "expected"),
    [
        ("3", int, 3),
        ("3", float, 3.0),
        ("-0.5", float, -0.5),
        ("1e-3", Positive, 0.001),
        ("1", Probability, 1.0),
        ("true", bool, True),
        ("abc", str, "abc"),
        ("'3'", str, "3"),
        ("2020-01-01", str, "2020-01-01"),
        ("~", float | None, None),
        ("2", float | None, 2.0),
        ("~", str | None, None),
        ("cold", Literal["warm", "cold"], "cold"),
        ("[1, 2]", tuple[float, float], (1.0, 2.0)),
        ("[]", tuple[int, ...], ()),
        ("[[1], [2, 3]]", tuple[tuple[int, ...], ...], ((1,), (2, 3))),
        ("all", tuple[float, ...] | Literal["all"], "all"),
        ("[1]", tuple[float, ...] | Literal["all"], (1.0,)),
        ("{watts: 5}", Lamp, Lamp(5.0)),
        ("[{watts: 5}, {watts: 6, colour: cold}]", tuple[Lamp, ...], (Lamp(5.0), Lamp(6.0, "cold"))),
    ],
)
def test_a_value_of_the_annotated_type_is_taken(text: str, annotation: Any, expected: Any) -> None:
    value = converted(text, annotation)
    assert value == expected
    assert type(value) is type(expected)


def test_whole_numbers_in_a_list_of_floats_become_floats() -> None:
    assert [type(item) for item in converted("[1, 2.5]", tuple[float, ...])] == [float, float]


@pytest.mark.parametrize(
    ("text", "annotation", "expected", "found"),
    [
        ("true", int, "a whole number", "True"),
        ("false", Count, "a whole number", "False"),
        ("true", float, "a number", "True"),
        ("3.0", int, "a whole number", "3.0"),
        ("1e3", int, "a whole number", "1000.0"),
        ("'3'", int, "a whole number", "'3'"),
        ("'3'", float, "a number", "'3'"),
        ("1", bool, "true or false", "1"),
        ("'true'", bool, "true or false", "'true'"),
        ("3", str, "text", "3"),
        ("~", int, "a whole number", "null"),
        ("~", str, "text", "null"),
        ("[1]", int, "a whole number", "a list"),
        ("{a: 1}", float, "a number", "a mapping"),
        ("3", str | None, "text", "3"),
        ("{a: 1}", tuple[int, ...], "a list", "a mapping"),
        ("1", tuple[int, int], "a list", "1"),
        ("some", tuple[float, ...] | Literal["all"], "a list or 'all'", "'some'"),
        ("1", Literal["warm", "cold"], "warm or cold", "1"),
        ("[cold]", Literal["warm", "cold"], "warm or cold", "a list"),
        ("7", Lamp, "a mapping with the keys watts, colour, dimmed", "7"),
        (".nan", float, "a finite number", "nan"),
        (".inf", Positive, "a finite number", "inf"),
        ("-.inf", float | None, "a finite number", "-inf"),
        ("1e999", float, "a finite number", "inf"),
    ],
)
def test_another_type_is_refused_with_what_was_expected_and_found(
    text: str, annotation: Any, expected: str, found: str
) -> None:
    assert refusal(text, annotation) == f"a.yaml:1: key: expected {expected}, found {found}"


@pytest.mark.parametrize(
    ("annotation", "inside", "outside"),
    [
        (Probability, ["0", "1", "0.5"], ["-0.001", "1.001"]),
        (Positive, ["1e-300", "7"], ["0", "-1", "0.0"]),
        (NonNegative, ["0", "0.1"], ["-1e-300"]),
        (FractionBelowOne, ["0", "0.999"], ["1", "-0.1"]),
        (Count, ["1", "900"], ["0", "-1"]),
        (CountOrZero, ["0", "1"], ["-1"]),
        (Annotated[float, Range(above=0, below=1)], ["0.5"], ["0", "1"]),
        (Annotated[float, Range(above=0, below=1)] | None, ["0.5", "~"], ["0", "1"]),
    ],
)
def test_limits_are_kept_at_their_very_edges(annotation: Any, inside: list[str], outside: list[str]) -> None:
    for text in inside:
        converted(text, annotation)
    for text in outside:
        assert refusal(text, annotation).startswith("a.yaml:1: key: expected a number ")


@settings(deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-2, 2))
def test_a_range_admits_exactly_what_lies_between_its_limits(low: float, high: float, number: float) -> None:
    assert (number in Range(minimum=low, maximum=high)) == (low <= number <= high)
    assert (number in Range(above=low, below=high)) == (low < number < high)


@pytest.mark.parametrize(
    ("annotation", "text", "words"),
    [
        (Probability, "2", "a number at least 0 and at most 1, found 2"),
        (Annotated[float, Range(above=0, below=0.5)], "0.5", "a number above 0 and below 0.5, found 0.5"),
        (Count, "0", "a number at least 1, found 0"),
    ],
)
def test_a_number_out_of_range_is_told_the_range(annotation: Any, text: str, words: str) -> None:
    assert refusal(text, annotation) == f"a.yaml:1: key: expected {words}"


def test_a_misspelt_choice_gets_the_nearest_one() -> None:
    assert refusal("wram", Literal["warm", "cold"]).endswith("found 'wram'; did you mean 'warm'?")


def test_a_choice_like_no_other_gets_no_suggestion() -> None:
    assert "did you mean" not in refusal("xyz", Literal["warm", "cold"])


@pytest.mark.parametrize("text", ["[1]", "[1, 2, 3]", "[]"])
def test_a_list_of_the_wrong_length_is_told_both_lengths(text: str) -> None:
    found = len([part for part in text.strip("[]").split(",") if part])
    assert refusal(text, tuple[int, int]) == f"a.yaml:1: key: expected a list of 2, found {found}"


@pytest.mark.parametrize(
    ("text", "annotation", "start"),
    [
        ("\n  - 1\n  - x", tuple[int, ...], "a.yaml:3: key.1: "),
        ("\n  watts: 1\n  dimmed: 5", Lamp, "a.yaml:3: key.dimmed: "),
        ("\n  - {watts: 1}\n  - {watts: 0}", tuple[Lamp, ...], "a.yaml:3: key.1.watts: "),
        ("\n  - 1\n  - .nan", tuple[NonNegative, ...] | Literal["all"], "a.yaml:3: key.1: "),
        ("\n  colour: cold", Lamp, "a.yaml:1: key.watts: missing"),
        ("\n  watts: 200\n  dimmed: true", Lamp, "a.yaml:1: key: a dimmed lamp has at most 100 watts"),
    ],
)
def test_a_fault_deep_inside_is_found_by_line_and_dotted_key(text: str, annotation: Any, start: str) -> None:
    assert refusal(text, annotation).startswith(start)


def test_an_unknown_key_gets_the_nearest_one_or_the_whole_list() -> None:
    assert refusal("{wats: 1}", Lamp) == "a.yaml:1: key.wats: unknown key; did you mean 'watts'?"
    assert (
        refusal("{zzz: 1, watts: 1}", Lamp) == "a.yaml:1: key.zzz: unknown key; the keys here are watts, colour, dimmed"
    )
