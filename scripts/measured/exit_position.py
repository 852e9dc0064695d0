"""What scripts/study_exit_position found, as a table: python scripts/measured/exit_position.py --help."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenedge.reporting.tables import format_table


def main() -> None:
    options = _arguments()
    plain = [_read(options.runs, "plain", seed) for seed in options.seeds]
    probes = [json.loads((options.runs / f"plain-{seed}" / "place.json").read_text()) for seed in options.seeds]
    rows = [["(no exit)", "", "", _span([each["exits"][-1]["accuracy"] for each in plain]), ""]]
    for name in [each["after"] for each in probes[0]["blocks"]]:
        if not (options.runs / f"{name}-{options.seeds[0]}" / "calibration.json").is_file():
            continue
        found = [_read(options.runs, name, seed)["exits"] for seed in options.seeds]
        expected = [next(each for each in probe["blocks"] if each["after"] == name)["accuracy"] for probe in probes]
        early, final = ([exits[place]["accuracy"] for exits in found] for place in (0, 1))
        changes = [ours - each["exits"][-1]["accuracy"] for ours, each in zip(final, plain, strict=True)]
        rows.append([name, _span(expected), _span(early), _span(final), _span(changes, "+.2f")])
    print(format_table(["exit after", "probe %", "exit %", "final exit %", "against no exit"], rows))
    print(f"calibration images: {plain[0]['images']}, last weights; seeds {', '.join(map(str, options.seeds))}")


def _read(runs: Path, name: str, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((runs / f"{name}-{seed}" / "calibration.json").read_text())
    return found


def _span(values: Sequence[float], form: str = ".2f") -> str:
    """Each seed's value, in percent."""
    return " / ".join(format(100 * value, form) for value in values)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="the folder that the runs are in")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    return parser.parse_args()


if __name__ == "__main__":
    main()
