"""The list of commands and the one place where errors become sentences."""

from __future__ import annotations

import io
import os
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
    cascade,
    compare,
    configs,
    data,
    diagnose,
    evaluate,
    export,
    flops,
    import_weights,
    labels,
    listing,
    lr_range,
    place,
    predict,
    report,
    robustness,
    study,
    train,
    tune,
)
from greenedge.cli.output import say, say_error, shown_logs
from greenedge.cli.plugins import with_plugins
from greenedge.errors import GreenedgeError, UsageError, printable

app = typer.Typer(
    name="greenedge",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(augment.app, name="augment")
app.add_typer(labels.app, name="labels")
app.add_typer(configs.config_app, name="config")
app.add_typer(configs.configs_app, name="configs")
app.add_typer(listing.app, name="list")
app.command("train")(with_plugins(train.train))
app.command("lr-range")(with_plugins(lr_range.lr_range))
app.command("eval")(with_plugins(evaluate.evaluate))
app.command("sweep")(with_plugins(evaluate.sweep))
app.command("tune")(with_plugins(tune.tune))
app.command("place")(with_plugins(place.place))
app.command("compare")(with_plugins(compare.compare))
app.command("cascade")(with_plugins(cascade.cascade))
app.command("diagnose")(with_plugins(diagnose.diagnose))
app.command("study")(with_plugins(study.study))
app.command("robustness")(with_plugins(robustness.robustness))
app.command("report")(with_plugins(report.report))
app.command("predict")(with_plugins(predict.predict))
app.command("bench")(with_plugins(bench.bench))
app.command("export")(with_plugins(export.export))
app.command("flops")(with_plugins(flops.flops))
app.command("import-weights")(import_weights.import_weights)


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train image classifiers that stop early when they are confident, and see what each unit of energy buys."""
    _ = version, debug  # both are looked for in `run`
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if "TORCHELASTIC_RUN_ID" in os.environ and count > 1 and context.invoked_subcommand != "train":
        raise UsageError(
            f"torchrun started {count} processes of {context.invoked_subcommand}, which would write the same files; "
            "only train works in several, so run this without torchrun"
        )


def run() -> None:
    """The `greenedge` command: exit code 0, 2 (usage or config), 1 (everything else), 130 (interrupted)."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may know fewer characters than we use
    if arguments == ["--version"]:
        sys.stdout.write(f"greenedge {__version__}\n")
        return
    signal.signal(signal.SIGTERM, _terminate)
    caught: BaseException
    try:
        with shown_logs():
            app(arguments, prog_name="greenedge")
    except KeyboardInterrupt as error:
        code, caught = 130, error
    except GreenedgeError as error:
        code, caught = error.exit_code, error
    except Exception as error:  # noqa: BLE001  # the boundary: whatever it is, the user gets a sentence
        code, caught = 1, error
    else:
        return
    if debug:
        traceback.print_exception(caught)
    first, *mistakes = _sentence(caught).split("\n")
    say_error(first)
    for mistake in mistakes:  # of a config that has several
        say(mistake)
    sys.exit(code)


def _sentence(error: BaseException) -> str:
    """What the user is told: of expected errors themselves, of others what kind they are and how to see more."""
    if isinstance(error, GreenedgeError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, not imported here
        return "there is not enough memory for this; use smaller batches, smaller images or fewer of them"
    if isinstance(error, OSError):
        return printable(f"{error.filename or 'input or output'}: {error.strerror or error}")
    first_line = str(error).strip().partition("\n")[0]
    return f"unexpected {type(error).__name__}: {first_line}; this is a fault of greenedge, --debug shows where"


def _terminate(number: int, _frame: FrameType | None) -> None:
    """Ends the command as an exception does, so that what is half-made is removed; training has its own way."""
    sys.exit(128 + number)
