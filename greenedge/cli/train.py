"""`greenedge train`."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Overrides
from greenedge.cli.output import say
from greenedge.training.interruption import StopSignals


def train(
    config: Annotated[Path | None, typer.Option(help="The config, a YAML file. With --resume: the run's own.")] = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; runs/ and the config's name by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the run directory; start it where there is none.")
    ] = False,
) -> None:
    """Train all exits of a network together.

    Writes weights, history and a figure into a run directory. What is interrupted can be continued with --resume.
    """
    stop = StopSignals().stay_until_exit()  # before the imports, which take seconds
    from greenedge.training.plugins import named_files
    from greenedge.workflows.train import train as run_training

    outcome = run_training(config, overrides or [], out, resume=resume, stop=stop)
    stop.outcome_is_known = True
    if outcome.stopped_by is not None:
        # Without --config: the run's own config says all that it was started with, --set included.
        plugins = [word for file in named_files() for word in ("--plugin", str(file))]
        again = shlex.join(["greenedge", "train", "--out", str(outcome.out), "--resume", *plugins])
        say(f"stopped by {outcome.stopped_by}; continue with: {again}")
        raise typer.Exit(128 + signal.Signals[outcome.stopped_by])
    say(f"done: weights, history and figure are in {outcome.out}")
