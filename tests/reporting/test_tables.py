from __future__ import annotations

import csv
import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenedge.reporting.tables import format_table, write_csv

HEADERS = ["exit", "after", "GFLOPs", "change of accuracy"]
ROWS: list[list[object]] = [["exit 1", "layer1.2", 0.25, "-1.5"], ["final exit", "layer4", "12.5", "+10"]]
TABLE = """\
exit        after     GFLOPs  change of accuracy
----------  --------  ------  ------------------
exit 1      layer1.2    0.25                -1.5
final exit  layer4      12.5                 +10"""


def test_text_stands_left_and_numbers_right() -> None:
    assert format_table(HEADERS, ROWS) == TABLE


def test_a_short_header_stands_over_the_end_of_its_numbers() -> None:
    assert format_table(["n"], [[1], [1000]]).splitlines() == ["   n", "----", "   1", "1000"]


def test_a_number_that_is_missing_leaves_a_gap() -> None:
    lines = format_table(["exit", "share"], [["exit 1", 0.5], ["plain", ""]]).splitlines()
    assert lines[2:] == ["exit 1    0.5", "plain"]


def test_a_table_without_rows_is_its_headers() -> None:
    assert format_table(["a", "bcd"], []) == "a  bcd\n-  ---"


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="argument"):
        format_table(["a", "b"], [["x"]])


words = st.text("abcXYZ019.-+é ", min_size=1, max_size=12).map(str.strip).filter(bool)
tables = st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(words, min_size=n, max_size=n), min_size=1, max_size=5))


@settings(deadline=None, max_examples=60)
@given(tables)
def test_cells_are_found_again_under_their_rules(cells: list[list[str]]) -> None:
    head, rule, *body = format_table(cells[0], cells[1:]).splitlines()
    starts = [index for index, char in enumerate(rule) if char == "-" and rule[index - 1 : index] in ("", " ")]
    ends = [*(start - 2 for start in starts[1:]), len(rule)]
    found = [[line[s:e].strip() for s, e in zip(starts, ends, strict=True)] for line in (head, *body)]
    assert found == cells


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=2, max_size=2)))
def test_a_csv_file_reads_back_equal(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.getbasetemp() / "table.csv"
    write_csv(path, ["first, name", 'second "name"'], rows)
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["first, name", 'second "name"'], *rows]


def test_a_csv_file_keeps_every_digit(tmp_path: Path) -> None:
    numbers = [0.1 + 0.2, 1e-17, 2**53 + 1]
    write_csv(tmp_path / "deep" / "table.csv", ["a", "b", "c"], [numbers])
    with (tmp_path / "deep" / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert [float(row["a"]), float(row["b"]), int(row["c"])] == numbers


class FullDisk:
    """A cell whose writing fails."""

    def __str__(self) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_csv_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with pytest.raises(OSError, match="No space left"):
        write_csv(path, ["a"], [[1], [FullDisk()]])
    assert list(tmp_path.iterdir()) == []
    write_csv(path, ["a"], [["old"]])
    with pytest.raises(OSError, match="No space left"):
        write_csv(path, ["a"], [[1], [FullDisk()]])
    assert path.read_text().split() == ["a", "old"]
    assert list(tmp_path.iterdir()) == [path]
