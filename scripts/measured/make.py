"""Makes the runs of docs/results.md again: trains, evaluates, keeps transcripts and figures. `scripts/results` runs it.

Finished trainings are reused, interrupted ones continued. A run that starts from another one's weights makes that one
first, and a cascade its members.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path

from command_line import greenedge
from run_table import CASCADES, RUNS, Cascade, Run

from greenedge.reporting.tables import format_table

FIGURES = ("training", "sweep", "policy-tuning", "diagnose")


def main() -> int:
    options = _arguments()
    if options.list:
        rows = [[name, run.config, run.after or ""] for name, run in RUNS.items()]
        rows += [[name, "", ", ".join(each.members)] for name, each in CASCADES.items()]
        print(format_table(["run", "config", "starts from"], rows))
        return 0
    unknown = [name for name in options.names if name not in (*RUNS, *CASCADES)]
    if unknown or not options.names:
        print(f"error: name runs that --list shows{f', not {unknown[0]}' if unknown else ''}", file=sys.stderr)
        return 2
    for name in options.names:
        code = _make(name, options)
        if code != 0:
            return code
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/results", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="RUN", help="names that --list shows")
    parser.add_argument("--list", action="store_true", help="show the runs and stop")
    parser.add_argument("--data", default="data/tiny-imagenet-200", help="a prepared data set")
    parser.add_argument("--runs", type=Path, default=Path("runs/results"), help="folder of the run directories")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of transcripts/ and figures/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of all configs")
    return parser.parse_args()


def _make(name: str, options: argparse.Namespace) -> int:
    run, out = RUNS.get(name) or CASCADES[name], options.runs / name
    needed = run.runs if isinstance(run, Cascade) else (run.after,) if run.after else ()
    for each in needed:
        if not (options.runs / each / "best.safetensors").is_file():
            code = _make(each, options)
            if code != 0:
                return code

    print(f"--- {name}", flush=True)
    data = ["--data", options.data] if isinstance(run, Cascade) else []
    if isinstance(run, Cascade):
        members = [str(options.runs / member) for member in run.members]
        first = ["cascade", *members, *data, "--out", str(out)]
    else:
        first = ["train", *_training(run, options), "--out", str(out), "--resume"]
    code = greenedge(first)
    transcript = []
    for command in run.commands:
        if code != 0:
            return code
        given = [part.format(run=out, runs=options.runs) for part in command[1:]]
        line = [command[0], "--weights", str(out / "best.safetensors"), *data, *given]
        shown = io.StringIO()
        with redirect_stdout(shown):
            code = greenedge(line)
        transcript.append(f"$ greenedge {' '.join(line)}\n{shown.getvalue()}")
    if code == 0:
        _keep(name, out, "\n".join(transcript), options.docs)
    return code


def _training(run: Run, options: argparse.Namespace) -> list[str]:
    settings = [f"data.path={options.data}", *run.settings, *options.set]
    if run.after is not None:
        settings.append(f"model.weights={options.runs / run.after}")
    return ["--config", run.config, *(argument for each in settings for argument in ("--set", each))]


def _keep(name: str, out: Path, transcript: str, docs: Path) -> None:
    """Copies what results.md shows: the transcript and the figures that there are."""
    (docs / "transcripts").mkdir(parents=True, exist_ok=True)
    (docs / "figures").mkdir(parents=True, exist_ok=True)
    (docs / "transcripts" / f"{name}.txt").write_text(transcript, encoding="utf-8")
    for figure in FIGURES:
        path = out / f"{figure}.png"
        if path.is_file():
            shutil.copyfile(path, docs / "figures" / f"{name}-{figure}.png")


if __name__ == "__main__":
    sys.exit(main())
