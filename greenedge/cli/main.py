"""The list of commands and the one place where errors become sentences."""

from __future__ import annotations

import signal
import sys
import traceback
from types import FrameType
from typing import Annotated

import typer

from greenedge import __version__
from greenedge.cli import (
    augment,
    bench,
    compare,
    data,
    diagnose,
    evaluate,
    export,
    flops,
    import_weights,
    labels,
    predict,
    train,
    tune,
)
from greenedge.cli.output import say
from greenedge.errors import GreenedgeError

app = typer.Typer(
    name="greenedge",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(augment.app, name="augment")
app.add_typer(labels.app, name="labels")
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("sweep")(evaluate.sweep)
app.command("tune")(tune.tune)
app.command("compare")(compare.compare)
app.command("diagnose")(diagnose.diagnose)
app.command("predict")(predict.predict)
app.command("bench")(bench.bench)
app.command("export")(export.export)
app.command("flops")(flops.flops)
app.command("import-weights")(import_weights.import_weights)


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train image classifiers that stop early when they are sure, and see what each unit of energy buys."""
    _ = version, debug  # both are looked for in `run`


def run() -> None:
    """The `greenedge` command: exit code 0, 2 (usage or recipe), 1 (everything else), 130 (interrupted)."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if arguments == ["--version"]:
        sys.stdout.write(f"greenedge {__version__}\n")
        return
    signal.signal(signal.SIGTERM, _terminate)
    caught: Exception
    try:
        app(arguments, prog_name="greenedge")
    except GreenedgeError as error:
        code, sentence, caught = error.exit_code, str(error), error
    except OSError as error:
        code, sentence, caught = 1, f"{error.filename or 'input or output'}: {error.strerror or error}", error
    else:
        return
    if debug:
        traceback.print_exception(caught)
    say(f"error: {sentence}")
    sys.exit(code)


def _terminate(number: int, _frame: FrameType | None) -> None:
    """Ends the command as an exception does, so that what is half-made is removed; training has its own way."""
    sys.exit(128 + number)
