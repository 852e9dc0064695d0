"""JSON records: what a dataclass admits, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenedge.config.convert import Count, NonNegative
from greenedge.config.records import RecordError, parse_json, parse_record, read_record
from greenedge.files import SEAL, seal_of, write_json


@dataclass(frozen=True)
class Tin:
    kind: Literal["tin/1"]
    count: Count
    weights: tuple[NonNegative, ...]
    labels: dict[str, int]
    note: str | None = None
    rest: dict[str, Any] | None = None


SOUND = {"kind": "tin/1", "count": 2, "weights": [0.5, 1], "labels": {"a": 1}}


def refusal(content: str | bytes) -> str:
    with pytest.raises(RecordError) as caught:
        parse_record(content, Tin)
    return str(caught.value)


def test_read_record_takes_a_valid_record_with_and_without_seal(tmp_path: Path) -> None:
    expected = Tin("tin/1", 2, (0.5, 1.0), {"a": 1})
    for sealed in (False, True):
        write_json(tmp_path / "tin.json", SOUND, sealed=sealed)
        assert read_record(tmp_path / "tin.json", Tin) == expected


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"count": "2"}, "count: expected a whole number, found '2'"),
        ({"count": True}, "count: expected a whole number, found True"),
        ({"count": 0}, "count: expected a number at least 1, found 0"),
        ({"weights": [0.5, -1]}, "weights.1: expected a number at least 0, found -1"),
        ({"weights": {"0": 1}}, "weights: expected a list"),
        ({"labels": {"a": "x"}}, "labels.a: expected a whole number, found 'x'"),
        ({"labels": []}, "labels: expected a mapping"),
        ({"kind": "tin/2"}, "kind: expected tin/1, found 'tin/2'"),
        ({"colour": 1}, "colour: unknown key"),
    ],
)
def test_parse_record_names_the_key_with_an_invalid_value(changes: dict[str, Any], sentence: str) -> None:
    assert refusal(json.dumps({**SOUND, **changes})).startswith(f"is damaged: {sentence}")


def test_a_missing_key_is_named() -> None:
    assert refusal('{"kind": "tin/1"}').startswith("is damaged: count: missing")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(text: str) -> None:
    assert "no finite number" in refusal('{"weights": [' + text + "]}")


@pytest.mark.parametrize("content", [b"\xff", b"", b"{", b"[1", b'{"a": 1, "a": 2}', b"1" * 5000, b"[]"])
def test_parse_record_refuses_what_is_not_such_json(content: bytes) -> None:
    assert refusal(content).startswith("is damaged: ")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"rest":' * 900 + "{}" + "}" * 900])
def test_deep_nesting_is_refused(text: str) -> None:
    assert "damaged" in refusal(text)


def test_read_record_refuses_a_file_above_the_limit(tmp_path: Path) -> None:
    (tmp_path / "tin.json").write_text(json.dumps({**SOUND, "note": "x" * 2000}))
    with pytest.raises(RecordError, match=r"larger than 0\.001 MB"):
        read_record(tmp_path / "tin.json", Tin, largest_bytes=1000)


@given(st.sampled_from(sorted(SOUND)), st.integers(3, 9))
def test_any_change_under_a_seal_is_noticed(key: str, value: int) -> None:
    sealed = {**SOUND, SEAL: seal_of(SOUND)}
    assert "was changed after it was written" in refusal(json.dumps({**sealed, key: value}))


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_comes_back_as_it_was(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
