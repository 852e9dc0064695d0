"""`greenedge bench`: measured latency, throughput and energy, beside what the FLOPs promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from greenedge.cost.energy import EnergyMeter, find_energy_meter
from greenedge.cost.executed import COUNTED_OPERATORS, executed_gflops
from greenedge.cost.flops import count_costs
from greenedge.cost.latency import latency, time_interleaved
from greenedge.data.prepared import PreparedSplit
from greenedge.device.precision import Precision, choose_device
from greenedge.errors import DataError
from greenedge.exits.policy import shared_policy
from greenedge.files import write_json
from greenedge.inference import Engine
from greenedge.inference.baseline import as_trained, best_layout
from greenedge.reporting.bench_plot import draw_times
from greenedge.reporting.tables import write_csv
from greenedge.workflows.bench_text import BACKBONE, NONE_LEAVES, PLAIN, POLICY, bench_text
from greenedge.workflows.build import build_transform, to_device
from greenedge.workflows.policies import PolicyOptions, note_policy_beside, requested_precision, resolve_policy
from greenedge.workflows.report import Report
from greenedge.workflows.trained import TrainedModel, load_model, model_summary, open_data, open_named_split

_IMAGES_A_TURN = 64
_METERED_SECONDS = 2.0  # at least: some meters tell of no less
# Timings are noisy where the middle half of a contender's rounds is wider than this share of their median, or a
# hundredth of the single images take so many times as long as half of them.
_NOISY, _NOISY_TAIL = 0.2, 3.0

Contenders = dict[str, Callable[[Tensor], object]]


@dataclass(frozen=True)
class BenchOptions:
    """What is measured.

    Attributes:
        policy: when images leave.
        precision: of the engine and of the backbone that it is compared with; None: that of the policy, else `auto`.
        compiled: the engine's stages through `torch.compile`.
        batches: images a batch.
        rounds: timings of each contender at each batch size.
        singles: single images timed for the latency.
    """

    policy: PolicyOptions
    precision: Precision | None = None
    compiled: bool = False
    batches: tuple[int, ...] = (1, 8, 64, 256)
    rounds: int = 5
    singles: int = 100


def bench(
    weights: Path, data: Path | None, options: BenchOptions, out: Path | None, say: Callable[[str], None]
) -> Report:
    """Times the backbone, the engine with nothing leaving, and the engine under a policy, in turns.

    The backbone runs twice: as it was trained, and in the layout that is faster here and the engine's precision, so
    that what layout and precision bring is not taken for what exits bring. All share TF32's setting and the allocator.

    Args:
        weights: the checkpoint.
        data: a prepared data set, whose validation images are run; None: the one trained on.
        options: what is measured.
        out: folder for bench.json, .csv and .png; None: the checkpoint's.
        say: told what happens.

    Raises:
        GreenedgeError: the checkpoint, the data or the policy cannot be used.
    """
    model = load_model(weights)
    note_policy_beside(weights, options.policy, say)
    policy = resolve_policy(model, options.policy)
    silent = options.precision is None and policy.precision is None
    precision: Precision = "auto" if silent else requested_precision(options.policy, options.precision)
    split = _split(model, weights, data, say)
    images = _images(model, split, max(*options.batches, options.singles, _IMAGES_A_TURN))
    device = choose_device("auto")
    network = to_device(model.network, device, channels_last=False)
    images = images.to(device)
    never = shared_policy(policy.criterion, None, network.num_exits - 1)
    engines = {
        name: Engine(network, each, precision=precision, compiled=options.compiled)
        for name, each in ((NONE_LEAVES, never), (POLICY, policy))
    }
    say("measuring the best chunk sizes of this machine, if they are not kept yet")
    for engine in engines.values():
        engine.autotune()
    baseline = best_layout(network.backbone, engines[POLICY].network.dtype, images[:_IMAGES_A_TURN])
    contenders: Contenders = {
        PLAIN: as_trained(network.backbone),
        BACKBONE: baseline,
        **{name: engine.predict for name, engine in engines.items()},
    }
    turns = (options.rounds + 1) * len(options.batches) + 2 * options.singles
    with tqdm(total=turns * len(contenders), desc="timing", unit=" turns", disable=None, leave=False) as bar:
        count = partial(bar.update, 1)
        singles = _latencies(contenders, images[: options.singles], count)
        rounds = {size: _seconds(contenders, images, size, options.rounds, count) for size in options.batches}
    throughput = {size: {name: median(each) for name, each in found.items()} for size, found in rounds.items()}
    cost = count_costs(network)
    answers = engines[POLICY].predict(images)
    spent = float(answers.gflops.mean())
    meter, sentence = find_energy_meter()
    most = max(options.batches)
    joules = {
        name: None if meter is None else _joules(meter, partial(run, images[:most]), throughput[most][name])
        for name, run in contenders.items()
    }
    joules = {name: None if each is None else each / most for name, each in joules.items()}
    result: dict[str, Any] = {
        **asdict(policy),
        "precision": str(engines[POLICY].network.dtype).removeprefix("torch."),
        "compiled": options.compiled,
        "device": str(device),
        "baseline": {"layout": baseline.layout, "precision": str(baseline.dtype).removeprefix("torch.")},
        "images": {"split": split.name, "count": len(split)},
        "threads": torch.get_num_threads(),
        "chunks": list(engines[POLICY].chunks),
        "exit_shares": (np.bincount(answers.exits.numpy(), minlength=network.num_exits) / len(images)).tolist(),
        "gflops": spent,
        "plain_gflops": cost.plain_gflops,
        "full_gflops": cost.exits[-1].gflops,
        "executed": _executed(engines[POLICY], network, images, answers.exits, compiled=options.compiled),
        "latency": {name: asdict(latency(seconds)) for name, seconds in singles.items()},
        "batches": {
            str(size): {
                name: {
                    "median_s": seconds,
                    "images_per_second": size / seconds,
                    "over_plain": seconds / medians[PLAIN],
                    "over_backbone": seconds / medians[BACKBONE],
                    "spread": _spread(rounds[size][name]),
                }
                for name, seconds in medians.items()
            }
            for size, medians in throughput.items()
        },
        "joules_an_image": joules,
        "meter": sentence,
    }
    result["spread"] = max(each["spread"] for batch in result["batches"].values() for each in batch.values())
    tails = [each["p99_seconds"] / each["p50_seconds"] for each in result["latency"].values()]
    result["noisy"] = result["spread"] > _NOISY or max(tails) > _NOISY_TAIL
    folder = out or weights.parent
    write_json(folder / "bench.json", result)
    columns = ["median_s", "images_per_second", "over_plain", "over_backbone", "spread"]
    rows = [
        [size, name, *(each[column] for column in columns)]
        for size, each_batch in result["batches"].items()
        for name, each in each_batch.items()
    ]
    write_csv(folder / "bench.csv", ["batch", "contender", *columns], rows)
    ratios = {
        name: [throughput[size][name] / throughput[size][BACKBONE] for size in options.batches]
        for name in (NONE_LEAVES, POLICY)
    }
    promised = {NONE_LEAVES: cost.exits[-1].gflops / cost.plain_gflops, POLICY: spent / cost.plain_gflops}
    title = model_summary(model.config.model)
    draw_times(ratios, promised, options.batches, title, folder / "bench.png")
    return Report(bench_text(title, policy, result, folder), result)


def _split(model: TrainedModel, weights: Path, data: Path | None, say: Callable[[str], None]) -> PreparedSplit:
    """The validation images; where there are none, the calibration images, which is said."""
    prepared = open_data(model, weights, data)
    if "val" in prepared.splits:
        return prepared.split("val")
    split = open_named_split(prepared, "calibration", model.config.data)
    if len(split) == 0:
        raise DataError(f"{prepared.path}: has neither validation nor calibration images to time; give --data")
    say(f"note: {prepared.path} has no validation images; the {len(split)} calibration images are timed")
    return split


def _images(model: TrainedModel, split: PreparedSplit, count: int) -> Tensor:
    """A split's images in random order, normalised; repeated where there are too few."""
    rows = split.rows[np.random.default_rng(0).permutation(len(split))]
    chosen = np.resize(rows, count)
    return build_transform(model.config.data, channels_last=False)(torch.from_numpy(split.read(chosen)))


def _latencies(contenders: Contenders, images: Tensor, count: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of single images, contender after contender for each image; `count` is told of each turn."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    before = dict.fromkeys(contenders, count)
    for number in range(len(images)):
        turns = {name: partial(run, images[number : number + 1]) for name, run in contenders.items()}
        for name, seconds in time_interleaved(turns, 1, before).items():
            found[name] += seconds
    return found


def _seconds(
    contenders: Contenders, images: Tensor, size: int, rounds: int, count: Callable[[], object]
) -> dict[str, list[float]]:
    """Seconds of a batch in each round; small batches are many in a turn, since single images are easy or hard."""
    batches = [images[start : start + size] for start in range(0, max(size, _IMAGES_A_TURN) - size + 1, size)]

    def run_all(run: Callable[[Tensor], object]) -> None:
        for batch in batches:
            run(batch)

    turns = {name: partial(run_all, run) for name, run in contenders.items()}
    timed = time_interleaved(turns, rounds, dict.fromkeys(contenders, count))
    return {name: [each / len(batches) for each in seconds] for name, seconds in timed.items()}


def _spread(seconds: list[float]) -> float:
    """The middle half of some timings over their median."""
    low, middle, high = np.percentile(seconds, [25, 50, 75]).tolist()
    return float((high - low) / middle)


def _joules(meter: EnergyMeter, run: Callable[[], object], seconds: float) -> float | None:
    """Joules of one run, from so many that the meter sees them."""
    repeats = max(1, math.ceil(_METERED_SECONDS / seconds))
    joules = meter.joules(lambda: [run() for _ in range(repeats)])
    return None if joules is None else joules / repeats


def _executed(engine: Engine, network: Any, images: Tensor, exits: Tensor, *, compiled: bool) -> dict[str, Any]:
    """Convolutions and matrix products: what ran beside what the static table says of the same exits."""
    table = [each.gflops for each in count_costs(network, COUNTED_OPERATORS).exits]
    expected = float(np.mean([table[index] for index in exits.tolist()]))
    if compiled:
        return {"gflops": None, "table_gflops": expected}  # compiled code dispatches nothing
    return {"gflops": executed_gflops(lambda: engine.predict(images)) / len(images), "table_gflops": expected}
