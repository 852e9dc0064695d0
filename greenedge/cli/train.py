"""`greenedge train`."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Overrides, Page
from greenedge.cli.output import say
from greenedge.cli.report import also_report, check_page
from greenedge.errors import UsageError
from greenedge.training.interruption import StopSignals


def train(
    config: Annotated[Path | None, typer.Option(help="The config, a YAML file. With --resume: the run's own.")] = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; runs/ and the config's name by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the run directory; start it where there is none.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, metavar="N", help="Train in N processes on this machine, as torchrun does.")
    ] = 1,
    max_restarts: Annotated[
        int, typer.Option(min=0, metavar="N", help="With --processes: how often lost processes are started anew.")
    ] = 0,
    page: Page = None,
) -> None:
    """Train all exits of a network together.

    Writes weights, history and a figure into a run directory. What is interrupted can be continued with --resume.
    """
    count = int(os.environ.get("WORLD_SIZE", 1)) if "RANK" in os.environ else 1
    check_page(page)
    if page is not None and (processes > 1 or count > 1):
        raise UsageError("--report is for a training in one process; run `greenedge report RUN` after this one")
    if processes > 1 and count > 1:
        raise UsageError("--processes starts processes itself; leave it out under torchrun")
    if processes > 1:
        arguments = _arguments(config, overrides or [], out, resume=resume)
        raise typer.Exit(_train_in_processes(arguments, processes, max_restarts))

    stop = StopSignals().stay_until_exit()  # before the imports, which take seconds
    from greenedge.device.processes import ProcessLostError
    from greenedge.workflows.train import train as run_training

    try:
        outcome = run_training(config, overrides or [], out, resume=resume, stop=stop)
    except ProcessLostError:  # whatever ended the other process has been said there
        raise typer.Exit(1) from None
    stop.outcome_is_known = True
    is_first = os.environ.get("RANK", "0") == "0" or count == 1
    if outcome.stopped_by is not None:
        # Without --config: the run's own config says all that it was started with, --set included.
        again = _arguments(None, [], outcome.out, resume=True)
        if count > 1:
            again += ["--processes", str(count)]
        if is_first:
            say(f"stopped by {outcome.stopped_by}; continue with: {shlex.join(['greenedge', 'train', *again])}")
        # To torchrun, another code would be a failure, after which it starts the processes anew.
        raise typer.Exit(0 if count > 1 else 128 + signal.Signals[outcome.stopped_by])
    if is_first:
        say(f"done: weights, history and figure are in {outcome.out}")
    also_report(page, [outcome.out])


def _train_in_processes(arguments: list[str], processes: int, max_restarts: int) -> int:
    from greenedge.workflows.launch import train_in_processes

    return train_in_processes(arguments, processes, max_restarts)


def _arguments(config: Path | None, overrides: list[str], out: Path | None, *, resume: bool) -> list[str]:
    """The command's own arguments again, without the number of processes."""
    from greenedge.training.plugins_in_use import named_files

    arguments = [] if config is None else ["--config", str(config)]
    for override in overrides:
        arguments += ["--set", override]
    if out is not None:
        arguments += ["--out", str(out)]
    if resume:
        arguments += ["--resume"]
    return [*arguments, *(word for file in named_files() for word in ("--plugin", str(file)))]
