"""What a command shows and writes: blocks for people, JSON and CSV for programs, a figure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from greenedge.files import write_json
from greenedge.reporting.tables import Rows, format_table, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 100  # columns of text

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True)
class Table:
    """Rows under headers.

    Attributes:
        headers: of the columns.
        rows: cells, formatted where the table is for people, plain numbers where it becomes a CSV file.
    """

    headers: Sequence[str]
    rows: Rows


@dataclass(frozen=True)
class Lines:
    """Text that is shown as it is, however wide.

    Attributes:
        lines: of the text.
    """

    lines: Sequence[str]


Block = Table | Lines | str  # a string is a sentence
Json = dict[str, Any] | list[dict[str, Any]]


@dataclass(frozen=True, eq=False, repr=False)
class CommandResult(Generic[R_co]):
    """What a command found, and how that is shown and written.

    Attributes:
        value: the result itself.
        blocks: tables, lines and sentences for people, in order.
        json: the result for programs.
        csv: its table for programs; None where there is none.
        figure: None where there is none.
        problem: a sentence on what could not be done; a command shows the result and then ends as with an error.
    """

    value: R_co
    blocks: tuple[Block, ...]
    json: Json
    csv: Table | None = None
    figure: Figure | None = None
    problem: str | None = None

    @property
    def text(self) -> str:
        """The blocks as text."""
        return render_text(self.blocks)

    def __repr__(self) -> str:
        return f"CommandResult({self.value!r})"


def write_result(
    result: CommandResult[R_co], folder: Path, name: str, beside: str | None = None
) -> CommandResult[R_co]:
    """Writes NAME.json, and NAME.csv and NAME.png where there is a table and a figure.

    Args:
        result: what to write.
        folder: where.
        name: of the files.
        beside: the name of the table and the figure, where that is another.

    Returns:
        The result, which names the files in a last sentence.
    """
    write_json(folder / f"{name}.json", result.json)
    others = folder / (beside or name)
    endings = [] if beside else [".json"]
    if result.csv is not None:
        write_csv(others.with_name(f"{others.name}.csv"), result.csv.headers, result.csv.rows)
        endings.append(".csv")
    figure = others.with_name(f"{others.name}.png")
    if result.figure is not None:
        from greenedge.reporting.figures import save_figure

        save_figure(result.figure, figure)
        endings.append(".png")
    else:
        figure.unlink(missing_ok=True)  # an earlier one would show another result
    listed = f"{others}{' and '.join(', '.join(endings).rsplit(', ', 1))}" if endings else ""
    files = [f"{folder / name}.json"] if beside else []
    return replace(result, blocks=(*result.blocks, f"written: {', '.join([*files, listed])}"))


def render_text(blocks: Sequence[Block]) -> str:
    """Blocks as lines of at most `WIDTH` columns; what cannot be broken, such as a long path, stays whole."""
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Table):
            lines += ["", format_table(block.headers, block.rows, WIDTH), ""]
        elif isinstance(block, Lines):
            lines += block.lines
        else:
            lines += wrap(block)
    return "\n".join(lines).strip("\n")


def wrap(sentence: str) -> list[str]:
    """Lines of at most `WIDTH` columns, the second and later ones indented."""
    options = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": "  "}
    return textwrap.wrap(sentence, WIDTH, **options) or [""]  # type: ignore[arg-type]


def span(low: float, high: float, digits: int) -> str:
    """An interval, such as `0.1234 to 0.1402`."""
    return f"{low:.{digits}f} to {high:.{digits}f}"


def percent_span(low: float, high: float) -> str:
    """An interval of shares in percent, such as `71.20 to 73.05`."""
    return span(100 * low, 100 * high, 2)


def with_sentence(result: CommandResult[R_co], sentence: str | None) -> CommandResult[R_co]:
    """The result with one more sentence at its end; None: the same."""
    return result if sentence is None else replace(result, blocks=(*result.blocks, sentence))
