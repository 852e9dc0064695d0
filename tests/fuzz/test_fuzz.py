"""A minute of the fuzz that `scripts/fuzz` runs for longer."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fuzz import harness
from tests.fuzz.harness import run_target
from tests.fuzz.targets import TARGETS, Target, make_targets

_CASES = 100


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return make_targets(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_refused_in_a_sentence_or_read_rightly(targets: dict[str, Target], name: str) -> None:
    tally = run_target(name, targets[name], range(_CASES))
    assert tally.faults == []
    assert tally.counts.total() == _CASES


def test_the_list_of_kinds_is_complete(targets: dict[str, Target]) -> None:
    assert list(targets) == list(TARGETS)


def test_a_reader_that_trusts_its_file_is_found_out(targets: dict[str, Target]) -> None:
    """The harness itself: what it is there to find, it finds."""
    sound = targets["policy"]

    def trusting(path: Path) -> object:
        return json.loads(path.read_text())

    def hanging(_: Path) -> object:
        while not first.append(0) and len(first) > 1:
            time.sleep(0.01)
        return None

    first: list[int] = []
    assert any("Error" in fault for _, fault in run_target("x", replace(sound, read=trusting), range(20)).faults)
    silent = replace(sound, read=lambda path: path.read_bytes())
    assert {fault for _, fault in run_target("x", silent, range(20)).faults} == {"a damaged file was taken for sound"}
    harness.SECONDS, before = 1, harness.SECONDS
    try:
        assert "no answer within" in run_target("x", replace(sound, read=hanging), range(1)).faults[0][1]
    finally:
        harness.SECONDS = before
