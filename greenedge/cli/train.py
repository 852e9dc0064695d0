"""`greenedge train`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from greenedge.cli.options import Overrides
from greenedge.cli.output import say


def train(
    config: Annotated[Path | None, typer.Option(help="The recipe, a YAML file.")] = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; runs/ and the recipe's name by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the run directory.")] = False,
) -> None:
    """Train all exits of a network together, as a recipe says."""
    from greenedge.workflows.train import train as run_training

    outcome = run_training(config, overrides or [], out, resume=resume, say=say)
    if outcome.stopped_by is not None:
        recipe = f"--config {config} " if config else ""
        say(f"stopped by {outcome.stopped_by}; continue with: greenedge train {recipe}--out {outcome.out} --resume")
        raise typer.Exit(128 + signal.Signals[outcome.stopped_by])
    say(f"done: weights, history and picture are in {outcome.out}")
