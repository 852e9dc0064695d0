"""Components in words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from greenedge.config.convert import Count, FractionAboveZero, Pattern, Positive, Probability, Range
from greenedge.config.describe import ComponentInfo, OptionInfo, describe_component, type_words


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "whole number"),
        (Count, "whole number at least 1"),
        (float, "number"),
        (FractionAboveZero, "number at most 1 and above 0"),
        (Positive | None, "number above 0, or null"),
        (bool, "true or false"),
        (str, "text"),
        (Literal["a", "b"], "a or b"),
        (Annotated[str, Pattern("a|b", "a, b or nothing")], "a, b or nothing"),
        (tuple[float, ...], "list, each number"),
        (tuple[Probability, Probability], "list of 2, each number at least 0 and at most 1"),
        (tuple[int, str], "list of: whole number; text"),
        (tuple[float, ...] | Literal["all"], "list, each number, or all"),
        (Annotated[int, Range(minimum=0, below=9)], "whole number at least 0 and below 9"),
    ],
)
def test_type_words_say_type_and_range(annotation: Any, words: str) -> None:
    assert type_words(annotation) == words


def test_describe_component_reads_signature_and_docstring() -> None:
    def sgd(weights: object, *, lr: Positive, nesterov: bool = False) -> object:
        """Goes downhill.

        Args:
            weights: given by the program.
            lr: length of a step.
        """
        return weights

    assert describe_component("sgd", sgd) == ComponentInfo(
        "sgd",
        "Goes downhill.",
        (
            OptionInfo(
                "lr", "number above 0", None, True, "length of a step.", {"type": "number", "exclusiveMinimum": 0}
            ),
            OptionInfo("nesterov", "true or false", False, False, "", {"type": "boolean"}),
        ),
    )
