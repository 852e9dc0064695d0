"""Times trainings in several processes on one machine's cores, and the exchange that each of their steps makes.

ResNet-18 with one exit at 64 px over prepared images, global batch 128, by `greenedge train` itself: images per second
of the second epoch, as `history.jsonl` has it. The cores are divided among the processes. `parts` is one process that
computes a step in as many parts as there are processes, which gives the same weights: what it takes longer than one
part is the price of smaller batches, and what processes take longer than that is the price of processes. `exchange`
sums the gradients' 11 million numbers over the processes, as each step does.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
import torch
import torch.distributed as dist
from images import training_images
from torch import multiprocessing

from greenedge.reporting.tables import format_table

BATCH, GRADIENTS, SUMS = 128, 11_300_000, 20
RECIPE = """\
data: {{path: {data}, calibration_per_class: 1}}
augment: [horizontal_flip, {{pad_and_crop: {{padding: 4}}}}]
model: {{backbone: resnet18, exits: [{{after: layer2, head: light}}]}}
train: {{epochs: 2, batch_size: {batch}, optimizer: adam, precision: float32}}
"""


def main() -> None:
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("--processes", default="1,2,4", help="numbers of processes")
    parser.add_argument("--per-class", type=int, default=6, help="images of each of the 200 classes")
    options = parser.parse_args()
    counts = [int(each) for each in options.processes.split(",")]
    contenders = [("processes", count) for count in counts] + [("parts", count) for count in counts if count > 1]
    rates: dict[tuple[str, int], list[float]] = {each: [] for each in contenders}
    with tempfile.TemporaryDirectory() as work:
        data = training_images(Path(work), per_class=options.per_class).prepared.folder
        config = Path(work, "config.yaml")
        config.write_text(RECIPE.format(data=data, batch=BATCH))
        for turn in range(options.rounds):
            for kind, count in contenders:
                rates[kind, count].append(_train(config, Path(work, f"{kind}-{count}-{turn}"), kind, count))
        seconds = {count: _time_exchange(Path(work), count) for count in counts if count > 1}

    medians = {each: statistics.median(found) for each, found in rates.items()}
    if options.json:
        print(json.dumps(_result(medians, seconds), indent=2))
        return
    alone = medians["processes", 1] if 1 in counts else None
    rows = []
    for (kind, count), rate in medians.items():
        ratio = "" if alone is None else f"{rate / alone:.3f}"
        exchange = seconds.get(count) if kind == "processes" else None
        share = "" if exchange is None else f"{1000 * exchange:.0f} ms, {100 * exchange * rate / BATCH:.0f} % of a step"
        rows.append([f"{count} {kind}", f"{rate:.1f}", ratio, share])
    print(format_table(["contender", "images/s", "over 1 process", "exchange"], rows))


def _result(medians: dict[tuple[str, int], float], seconds: dict[int, float]) -> dict[str, dict[str, float]]:
    found = {f"{count} {kind}": {"images_per_second": rate} for (kind, count), rate in medians.items()}
    for count, exchange in seconds.items():
        found[f"{count} processes"]["exchange_s"] = exchange
    return found


def _train(config: Path, out: Path, kind: str, count: int) -> float:
    """Images per second of the second epoch."""
    command = [sys.executable, "-m", "greenedge", "train", "--config", str(config), "--out", str(out)]
    command += ["--processes", str(count)] if kind == "processes" else ["--set", f"train.accumulate={count}"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    records = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return float(records[1]["images_per_second"])


def _time_exchange(work: Path, count: int) -> float:
    """Seconds of a sum over processes, the median."""
    result = work / f"exchange-{count}"
    multiprocessing.spawn(_exchange, (count, str(work / f"store-{count}"), str(result)), nprocs=count)
    return float(result.read_text())


def _exchange(rank: int, count: int, store: str, result: str) -> None:
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // count))
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
    gradients, seconds = torch.ones(GRADIENTS), []
    for _ in range(SUMS):
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(gradients)
        seconds.append(time.perf_counter() - start)
        gradients.fill_(1)
    if rank == 0:
        Path(result).write_text(str(statistics.median(seconds)))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
