"""Texts made to take unlimited time or memory, and random mutations of a config."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from greenedge.config import config_from_text, load_config
from greenedge.config.convert import did_you_mean
from greenedge.config.nodes import parse_yaml
from greenedge.errors import ConfigError

GOOD = """\
data: {path: x, image_size: 64, mean: [0.1, 0.2, 0.3]}
model:
  backbone: resnet18
  exits: [{after: layer1, head: &h {light: {width: 3}}}, {after: layer2, head: *h}]
train: {epochs: 3, optimizer: {adamw: {lr: 1e-3}}, seed: 7}
augment: [flip, {jitter: {amount: 0.5}}]
"""
LAUGHS = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def refusal(text: str) -> str:
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        config_from_text(text, "a.yaml")
    assert time.process_time() - started < 4
    assert not any("\n" in str(error) for error in caught.value.errors)
    assert len(str(caught.value)) < 10_000
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "values, each alias"),
        (LAUGHS.replace("[", "{p: ").replace("]", "}").replace(",", ", q: ", 1), ""),
        ("x: " + "[" * 60 + "]" * 60, "nested too deeply"),
        ("x: " + "[" * 40_000, "nested too deeply"),
        ("x: " + "{a: " * 60 + "}" * 60, "nested too deeply"),
        ("".join(" " * i + "a:\n" for i in range(200)), "nested too deeply"),
        ("a: &a [*a]", "within itself"),
        ("? [a]\n: 1", "keys must be plain text"),
        ("{" + ", ".join(f"epoch{i}: 1" for i in range(7000)) + "}", "and 80 more$"),
        ("a: [" + "1, " * 30_000 + "1]", "values, each alias"),
        ("x" * 200_000, "is too long for a config"),
        ("a: " + "9" * 5000, "is not a value that can be read"),
        ("a: !!float " + "1:" * 3000 + "1", "is not a value that can be read"),
        (f"train: {{epochs: {'9' * 4000}}}\ndata: {{path: x}}\nmodel: {{backbone: y}}", "whole number of 64 bits"),
        (f"train: {{epochs: {10**19}}}\ndata: {{path: x}}\nmodel: {{backbone: y}}", "whole number of 64 bits"),
        ("train: {epochs: 1e999}\ndata: {path: x}\nmodel: {backbone: y}", "train.epochs: expected a whole number"),
        (f"train: {{epochs: {'x' * 9000}}}\ndata: {{path: x}}\nmodel: {{backbone: y}}", r"xxx\.\.\.xxx"),
    ],
)
def test_a_text_of_unlimited_cost_is_refused_at_once(text: str, words: str) -> None:
    import re

    assert re.search(words, refusal(text))


def test_the_values_of_an_override_are_bounded_too() -> None:
    nested = "data.path=[" + ", ".join(
        [f"&a{i} [" + ", ".join([f"*a{i - 1}"] * 9 if i else "xxxxxxxxx") + "]" for i in range(9)]
    )
    with pytest.raises(ConfigError, match="values, each alias"):
        config_from_text(GOOD, "a.yaml", [nested + "]"])
    with pytest.raises(ConfigError, match="is not valid YAML"):
        config_from_text(GOOD, "a.yaml", ["data.path=" + "[" * 3000])


def test_ordinary_aliases_are_read() -> None:
    heads = [each["head"] for each in parse_yaml(GOOD, "a.yaml").plain()["model"]["exits"]]
    assert heads[0] == heads[1] == {"light": {"width": 3}}


def test_load_config_refuses_files_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_bytes(b"a" * 10**6)
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    for path, words in (
        (tmp_path / "long.yaml", "is too long"),
        (Path("/dev/zero"), "is not a regular file"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_config(path)
    assert load_config(tmp_path / "bom.yaml").train.epochs == 3


@pytest.mark.parametrize(
    ("word", "near"), [("adamW", "adamw"), ("ADAM", "adam"), ("Adamax", "adam"), ("sdg", "sgd"), ("zzz", None)]
)
def test_did_you_mean_ignores_capitals(word: str, near: str | None) -> None:
    assert did_you_mean(word, ["adam", "adamw", "sgd"]) == (f"did you mean {near!r}?" if near else "")


def test_every_mutation_is_read_or_refused_in_one_line_per_mistake() -> None:
    source = random.Random(3)
    pieces = [
        "&h ",
        "*h",
        "<<: *h",
        "!!int ",
        "!!float ",
        "[",
        "]",
        "{",
        "}",
        ": ",
        "\n",
        "- ",
        "9" * 400,
        "\t",
        "\x00",
    ]
    pieces += ["1e999", ".nan", "~", "'", '"', "|\n", "? ", "---\n", "\ufeff", "\ud800", "!!set ", "!!binary a"]
    refused = 0
    for _ in range(300):
        text = GOOD
        for _ in range(source.randint(1, 5)):
            place, cut = source.randrange(len(text)), source.randint(0, 12)
            text = text[:place] + source.choice([*pieces, chr(source.randrange(0x300)), ""]) + text[place + cut :]
        try:
            config_from_text(text, "a.yaml")
        except ConfigError as error:
            assert not any("\n" in str(each) for each in error.errors)  # noqa: PT017
            refused += 1
    assert refused > 100
