"""Trains the networks of a study and compares them. `scripts/study` runs it.

Finished trainings are reused, interrupted ones continued.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from command_line import greenedge
from mixing_pictures import draw_mixtures
from study_table import SMALL, SMALL_DATA, STUDIES, Study

from greenedge.reporting.tables import format_table
from greenedge.training.trained import load_model
from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs

_WEIGHTS = "last.safetensors"  # which no image chose


def main() -> int:
    options = _arguments()
    study = STUDIES[options.name]
    if options.small:
        settings = (*study.settings, *SMALL, *study.small)
        study = dataclasses.replace(study, settings=settings, folder=f"{study.folder}-small")
    if options.only is not None:
        study = dataclasses.replace(study, runs=_chosen(study, options.only))
    data = options.data or (SMALL_DATA if options.small else "data/tiny-imagenet-200")
    folder, seeds = options.runs / study.folder, options.seeds or study.seeds
    for seed in seeds:
        for name, settings in study.runs.items():
            own = [each.replace("SEED", str(seed)) for each in settings]
            overrides = [f"data.path={data}", *study.settings, f"train.seed={seed}", *own, *options.set]
            _greenedge(
                *("train", "--config", f"configs/{study.config}.yaml", "--out", _run(folder, name, seed), "--resume"),
                *(each for override in overrides for each in ("--set", override)),
            )
    _CONCLUSIONS.get(options.name, _exits_side_by_side)(study, folder, seeds)
    return 0


def _chosen(study: Study, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The first run, which the others are compared with, and those that are named."""
    unknown = [name for name in names if name not in study.runs]
    if unknown:
        sys.exit(f"error: there is no run {unknown[0]!r} in this study; it has {', '.join(study.runs)}")
    first = next(iter(study.runs))
    return {name: settings for name, settings in study.runs.items() if name in (first, *names)}


def _arguments() -> argparse.Namespace:
    questions = "\n".join(f"  {name}: {study.question}" for name, study in STUDIES.items())
    parser = argparse.ArgumentParser(
        prog="scripts/study",
        description=f"{__doc__}\n\nstudies:\n{questions}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=STUDIES, metavar="STUDY")
    parser.add_argument("--only", nargs="+", metavar="RUN", help="the first run and these")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: those of the study")
    parser.add_argument("--small", action="store_true", help="ten classes at 32 px (docs/first-layers.md)")
    parser.add_argument("--data", help="a prepared data set; default: data/tiny-imagenet-200, with --small tiny-10-32")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the study's folder")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of all runs")
    return parser.parse_args()


def _first_layers(study: Study, folder: Path, seeds: Sequence[int]) -> None:
    """Sets the networks of each seed beside that without exits, whose other seeds show what is chance."""
    plain, *others = study.runs
    for seed in seeds:
        chance = [_run(folder, plain, other) for other in seeds if other != seed]
        compared = [_run(folder, name, seed) for name in others]
        _greenedge("study", _run(folder, plain, seed), *chance, *compared, "--out", folder / f"study-{seed}")


def _exit_position(study: Study, folder: Path, seeds: Sequence[int]) -> None:
    """What a linear probe makes of each block of the network without exits, and what training made of an exit there."""
    plain, *blocks = study.runs
    probes = []
    for seed in seeds:
        run = _run(folder, plain, seed)
        if not (run / "place.json").is_file():
            _greenedge("place", "--weights", run / _WEIGHTS, "--images", 25_000, "--max-exits", 3)
        found = json.loads((run / "place.json").read_text())["blocks"]
        probes.append({each["after"]: each["accuracy"] for each in found})

    alone = [_accuracies(_run(folder, plain, seed), "calibration")[-1] for seed in seeds]
    rows = [["none", "", "", _each(alone), ""]]
    for block in blocks:
        trained = [_accuracies(_run(folder, block, seed), "calibration") for seed in seeds]
        final = [accuracies[-1] for accuracies in trained]
        changes = [ours - theirs for ours, theirs in zip(final, alone, strict=True)]
        early = [accuracies[0] for accuracies in trained]
        rows.append([block, _each([probe[block] for probe in probes]), _each(early), _each(final), _each(changes, "+")])
    print(format_table(["exit after", "probe", "exit", "final exit", "against none"], rows))


def _mixing(study: Study, folder: Path, seeds: Sequence[int]) -> None:
    _exits_side_by_side(study, folder, seeds)
    learned = [_run(folder, name, seeds[0]) for name in ("automix", "samix") if name in study.runs]
    if learned:
        print(draw_mixtures(learned, folder / "mixing.png"))


def _exits_side_by_side(study: Study, folder: Path, seeds: Sequence[int]) -> None:
    """The accuracy of each exit on the validation images, a number for each seed."""
    rows = []
    for name in study.runs:
        exits = zip(*(_accuracies(_run(folder, name, seed), "val") for seed in seeds), strict=True)
        rows.append([name, *map(_each, exits)])
    print(format_table(["run", *(f"exit {index}" for index in range(1, len(rows[0])))], rows))


# Of studies that end in more than accuracies side by side.
_CONCLUSIONS: dict[str, Callable[[Study, Path, Sequence[int]], None]] = {
    "first-layers": _first_layers,
    "exit-position": _exit_position,
    "mixing": _mixing,
}


def _run(folder: Path, name: str, seed: int) -> Path:
    return folder / f"{name}-{seed}"


def _accuracies(run: Path, split: str) -> list[float]:
    """Of each exit of the last weights, in [0, 1]; the outputs are kept beside them."""
    outputs = load_or_compute_outputs(load_model(run / _WEIGHTS), PassOptions(None, split)).outputs
    return [float(accuracy) for accuracy in (outputs.logits.argmax(axis=2) == outputs.labels).mean(axis=1)]


def _each(values: Sequence[float], sign: str = "") -> str:
    """The values of the seeds, in percent."""
    return " / ".join(format(100 * value, f"{sign}.2f") for value in values)


def _greenedge(*arguments: object) -> None:
    """Runs a command; where it fails or is interrupted the study ends."""
    code = greenedge(arguments)
    if code != 0:
        sys.exit(code)


if __name__ == "__main__":
    sys.exit(main())
