"""Trains the paper's networks again, row by row, and prints a table: paper / here. `scripts/reproduce_paper` runs it.

Rows that share a network train it once. Finished trainings are reused, and interrupted ones are continued. A row that
cannot be run, such as one without access to pre-trained weights, is named at the end, and the others are run.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rows import ROWS, SUBMITTED, TRAINING_FIGURES, Row

from greenedge.cli.output import say, shown_logs
from greenedge.data.run_splits import open_splits
from greenedge.errors import GreenedgeError, UsageError
from greenedge.exits.areas import dominated_area, trapezoid_area
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.sweep import ExitScores, Sweep, score_outputs, sweep_thresholds
from greenedge.files import write_json
from greenedge.reporting.figures import save_figure
from greenedge.reporting.tables import format_table, write_csv
from greenedge.reporting.threshold_plot import plot_thresholds
from greenedge.reporting.training_plot import plot_history
from greenedge.training.history import read_history
from greenedge.training.trained import load_model
from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs
from greenedge.workflows.train import train

CONFIGS = Path(__file__).parents[2] / "configs" / "paper"
ENTROPY = CRITERIA["entropy"]
MAXIMUM_ENTROPY = math.log(200)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network that was trained here.

    Attributes:
        scores: of its exits on the validation images.
        epochs: number of epochs that it was trained.
        images: number of its training images.
        folder: its run directory.
    """

    scores: ExitScores
    epochs: int
    images: int
    folder: Path


def main() -> int:
    options = _arguments()
    if options.list:
        rows = [[name, row.source, row.config, row.threshold] for name, row in ROWS.items()]
        print(format_table(["row", "source", "config", "T"], rows))
        return 0
    try:
        rows = _chosen(options.rows)
    except UsageError as error:
        say(f"error: {error}")
        return error.exit_code

    settings = [f"data.path={options.data}", *options.set]
    settings += [f"train.epochs={options.epochs}"] if options.epochs is not None else []
    settings += [f"data.train_fraction={options.fraction}"] if options.fraction is not None else []

    networks: dict[str, Trained] = {}
    refused: dict[str, str] = {}
    for config in dict.fromkeys(row.config for row in rows.values()):
        say(f"--- {config}")
        try:
            stopped_by = _train(config, settings, options.out / config)
            if stopped_by is not None:
                say(f"stopped by {stopped_by}; the same command continues")
                return 128 + signal.Signals[stopped_by]
            networks[config] = _evaluated(options.out / config)
        except GreenedgeError as error:
            say(f"error: {error}")
            refused[config] = str(error)

    _report(rows, networks, options.out)
    for config, sentence in refused.items():
        say(f"not run: {config}: {sentence}")
    return 1 if refused else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/reproduce_paper", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names that --list shows, or all")
    parser.add_argument("--list", action="store_true", help="show the rows and stop")
    parser.add_argument("--epochs", type=int, help="passes over the training images; default: as in the configs")
    parser.add_argument("--fraction", type=float, help="share of the training images of each class, in (0, 1]")
    parser.add_argument("--data", default="data/tiny-imagenet-200", help="a prepared data set")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder of the runs and figures")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of all configs")
    return parser.parse_args()


def _chosen(names: Sequence[str]) -> dict[str, Row]:
    if not names:
        raise UsageError("name rows that --list shows, or all")
    unknown = [name for name in names if name not in ROWS and name != "all"]
    if unknown:
        raise UsageError(f"there is no row {unknown[0]!r}; --list shows them")
    return ROWS if "all" in names else {name: ROWS[name] for name in names}


def _train(config: str, settings: Sequence[str], out: Path) -> str | None:
    """Trains or continues a network; returns the name of the signal that stopped it, if one did."""
    resume = (out / "last.state.pt").is_file()
    return train(CONFIGS / f"{config}.yaml", settings, out, resume=resume).stopped_by


def _evaluated(folder: Path) -> Trained:
    evaluated = load_or_compute_outputs(load_model(folder / "best.safetensors"), PassOptions())
    images = len(open_splits(evaluated.model.config.data).train)
    return Trained(score_outputs(evaluated.outputs, ENTROPY), evaluated.model.epoch, images, folder)


def _report(rows: Mapping[str, Row], networks: Mapping[str, Trained], out: Path) -> None:
    """Prints the table and writes it beside the figures."""
    if not networks:
        return
    records = [_record(name, row, networks[row.config]) for name, row in rows.items() if row.config in networks]
    headers = ["row", "source", "T", "paper (%)", "here (%)", "paper (GFLOPs)", "here (GFLOPs)", "epochs", "images"]
    print(format_table(headers, [_cells(record) for record in records]))
    write_json(out / "report.json", records)
    write_csv(out / "report.csv", list(records[0]), [list(record.values()) for record in records])
    figures = _draw(networks, out)
    say(f"table and figures: {out / 'report.csv'}" + "".join(f", {path.name}" for path in figures))


def _record(name: str, row: Row, network: Trained) -> dict[str, Any]:
    """Returns a row as JSON: accuracy in [0, 1], None where the paper has no number."""
    (point,) = sweep_thresholds(network.scores, [row.threshold]).points()
    return {
        "row": name,
        "source": row.source,
        "threshold": row.threshold,
        "report_accuracy": None if row.accuracy is None else row.accuracy / 100,
        "accuracy": point.accuracy,
        "report_gflops": row.gflops,
        "gflops": point.gflops,
        "epochs": network.epochs,
        "images": network.images,
    }


def _cells(record: Mapping[str, Any]) -> list[object]:
    forms = {"report_accuracy": "{:.1%}", "accuracy": "{:.2%}", "report_gflops": "{:.2f}", "gflops": "{:.4f}"}
    texts = {key: "" if value is None else forms.get(key, "{}").format(value) for key, value in record.items()}
    return [text.removesuffix("%") for text in texts.values()]


def _draw(networks: Mapping[str, Trained], out: Path) -> list[Path]:
    """Draws Figures 1 to 5 of the paper from the networks that were trained."""
    drawn = []
    with_exits = {name: network for name, network in networks.items() if len(network.scores.gflops) > 1}
    if with_exits:
        drawn.append(out / "figure1.png")
        _draw_thresholds(with_exits, "Figure 1: a threshold shared by both early exits", drawn[-1])
    submitted = {name: network for name, network in with_exits.items() if name in SUBMITTED}
    if submitted:
        points = [sweep_thresholds(network.scores, SUBMITTED[name]) for name, network in submitted.items()]
        gflops, accuracy = (np.concatenate([getattr(each, key) for each in points]) for key in ("gflops", "accuracy"))
        dearest = float(max(network.scores.gflops[-1] for network in submitted.values()))
        area, dominated = trapezoid_area(gflops, accuracy), dominated_area(gflops, accuracy, dearest)
        title = (
            f"Figure 2: the submitted set, {len(gflops)} points; area under the points {area:.2f} % x GFLOPs, "
            f"dominated up to {dearest:.2f} GFLOPs {dominated:.2f}"
        )
        drawn.append(out / "figure2.png")
        _draw_thresholds(submitted, title, drawn[-1])
    for number, name in TRAINING_FIGURES.items():
        if name in networks:
            drawn.append(out / f"figure{number}.png")
            save_figure(plot_history(read_history(networks[name].folder / "history.jsonl")), drawn[-1])
    return drawn


def _draw_thresholds(networks: Mapping[str, Trained], title: str, path: Path) -> None:
    grid = np.linspace(0, MAXIMUM_ENTROPY, 200)
    curves: dict[str, Sweep] = {}
    points: dict[str, Sweep] = {}
    for name, network in networks.items():
        epochs = "1 epoch" if network.epochs == 1 else f"{network.epochs} epochs"
        label = f"{name}, {epochs} of {network.images} images"
        curves[label] = sweep_thresholds(network.scores, grid)
        if name in SUBMITTED:
            points[label] = sweep_thresholds(network.scores, SUBMITTED[name])
    save_figure(plot_thresholds(curves, points, title, ENTROPY.unit), path)


if __name__ == "__main__":
    with shown_logs():
        code = main()
    sys.exit(code)
