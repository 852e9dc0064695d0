"""Any text at all is read as a config or refused in one sentence per mistake."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenedge.config import config_from_text
from greenedge.errors import ConfigError

PIECES = [": ", "\n", "- ", "[", "]", "{", "}", "&a ", "*a", "!!int", "!!bool ", "'", "? ", "|", "2001-13-01", "0x_"]
PIECES += ["\x00", "<<", "=", "data", "1e999", "9" * 5000]
TEXTS = st.text() | st.lists(st.sampled_from(PIECES) | st.text(max_size=3)).map("".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_any_text_at_all_is_refused_in_one_line_per_mistake(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_text(text, "a.yaml")
    for error in caught.value.errors:
        assert str(error).startswith("a.yaml:")
        assert "\n" not in str(error)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_any_override_is_taken_or_refused_in_one_line(text: str) -> None:
    config = "data: {path: x}\nmodel: {backbone: y}\ntrain: {epochs: 1}"
    said: tuple[ConfigError, ...] = ()
    try:
        assert config_from_text(config, "a.yaml", [f"data.path={text}"]).train.epochs == 1
    except ConfigError as error:
        said = error.errors
    assert not any("\n" in str(error) for error in said)


@pytest.mark.parametrize("text", ["a: &x [*x]", "[" * 3000, "a: !!int x", "a: !!timestamp x", "a: \x00"])
def test_what_breaks_a_yaml_parser_is_still_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^a\.yaml:1: "):
        config_from_text(text, "a.yaml")


@pytest.mark.parametrize(("written", "number"), [("010", 10), ("1_000", 1000), ("+3", 3)])
def test_whole_numbers_are_decimal(written: str, number: int) -> None:
    config = config_from_text(f"data: {{path: x}}\nmodel: {{backbone: y}}\ntrain: {{epochs: {written}}}", "a.yaml")
    assert config.train.epochs == number
