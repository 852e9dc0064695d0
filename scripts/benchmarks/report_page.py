"""Seconds and bytes of the page of `greenedge report`, from kept outputs to the file, by images, exits and classes.

    python scripts/benchmarks/report_page.py [--json] [IMAGESxEXITSxCLASSES ...]

Outputs are made up; images are noise, whose thumbnails are as large as they get.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from greenedge.cost.table import ExitCost, NetworkCost
from greenedge.exits.outputs import ExitOutputs
from greenedge.files import write_text
from greenedge.reporting.page.analysis import analyse_run
from greenedge.reporting.page.content import RunFacts
from greenedge.reporting.page.kept import KeptFiles
from greenedge.reporting.page.present import build_page
from greenedge.reporting.page.render import render_page
from greenedge.reporting.summary import RunSummary

USUAL = ["10000x3x200", "50000x3x1000"]


def made_up_outputs(images: int, exits: int, classes: int) -> ExitOutputs:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, images)
    logits = random.standard_normal((exits, images, classes), dtype=np.float32)
    for index in range(exits):
        logits[index, np.arange(images), labels] += 2.5 + index
    return ExitOutputs(logits, labels, np.linspace(0.1, 0.4, exits))


def measure(images: int, exits: int, classes: int) -> dict[str, float]:
    outputs = made_up_outputs(images, exits, classes)
    costs = [ExitCost(f"layer{index}", each, 0.0, each, each, 1) for index, each in enumerate(outputs.gflops.tolist())]
    summary = RunSummary("made up", 1, "val", images, "float32", NetworkCost(tuple(costs), 0.4, 1, {}))
    names = tuple(f"class {index}" for index in range(classes))
    facts = RunFacts("run", "best.safetensors", "0" * 64, (), (), names)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 96, 96), dtype=np.uint8)

    begun = time.perf_counter()
    run = analyse_run(
        outputs, summary, facts, KeptFiles("entropy"), (), lambda places: np.repeat(pixels, len(places), axis=0)
    )
    analysed = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        write_text(path, render_page(build_page([run], None, None)))
        written = time.perf_counter()
        size = path.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "analysis_s": analysed - begun,
        "page_s": written - analysed,
        "megabytes": size / 1e6,
        "peak_gigabytes": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", default=USUAL)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = {shape: measure(*map(int, shape.split("x"))) for shape in arguments.shapes}
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for shape, each in found.items():
        print(shape, ", ".join(f"{name} {value:.2f}" for name, value in each.items()))


if __name__ == "__main__":
    main()
