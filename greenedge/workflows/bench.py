"""`greenedge bench`: measured latency, throughput and energy, beside what the FLOPs promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from greenedge.cost.executed import COUNTED_OPERATORS, executed_gflops
from greenedge.cost.flops import count_costs
from greenedge.cost.latency import alternate, latency
from greenedge.cost.power import Meter, find_meter
from greenedge.device.precision import Precision, choose_device
from greenedge.exits.policy import ExitPolicy, shared_policy
from greenedge.files import write_json
from greenedge.inference import Engine
from greenedge.reporting.bench_plot import draw_times
from greenedge.reporting.tables import format_table, write_csv
from greenedge.workflows.build import build_transform, place
from greenedge.workflows.policies import PolicyOptions, choose_policy, describe_policy
from greenedge.workflows.report import Report
from greenedge.workflows.trained import TrainedModel, load_model, model_summary, open_data

_IMAGES_A_TURN = 64
_METERED_SECONDS = 2.0  # at least: some meters tell of no less
PLAIN, NONE_LEAVES, POLICY = "plain network", "engine, none leaves", "engine, policy"


@dataclass(frozen=True)
class BenchOptions:
    """What is measured.

    Attributes:
        policy: when images leave.
        precision: of the engine; the plain network runs in float32.
        compiled: the engine's stages through `torch.compile`.
        batches: images a batch.
        rounds: timings of each contender at each batch size.
        singles: single images timed for the latency.
    """

    policy: PolicyOptions
    precision: Precision = "auto"
    compiled: bool = False
    batches: tuple[int, ...] = (1, 8, 64, 256)
    rounds: int = 7
    singles: int = 100


def bench(
    weights: Path, data: Path | None, options: BenchOptions, out: Path | None, say: Callable[[str], None]
) -> Report:
    """Times the plain network, the engine with nothing leaving, and the engine under a policy, in turns.

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
    policy = choose_policy(model, options.policy)
    images = _images(model, weights, data, max(*options.batches, options.singles, _IMAGES_A_TURN))
    device = choose_device("auto")
    network = place(model.network, device, channels_last=False)
    images = images.to(device)
    never = shared_policy(policy.criterion, None, network.num_exits - 1)
    engines = {
        name: Engine(network, each, precision=options.precision, compiled=options.compiled)
        for name, each in ((NONE_LEAVES, never), (POLICY, policy))
    }
    say("measuring the best chunk sizes of this machine, if they are not kept yet")
    for engine in engines.values():
        engine.tune()

    def answer_plain(batch: Tensor) -> Tensor:
        with torch.inference_mode():
            answered: Tensor = network.backbone(batch)
            return answered

    contenders: dict[str, Callable[[Tensor], object]] = {
        PLAIN: answer_plain,
        **{name: engine.answer for name, engine in engines.items()},
    }
    singles = _latencies(contenders, images[: options.singles])
    throughput = {}
    for size in options.batches:
        say(f"timing batches of {size}")
        throughput[size] = _seconds(contenders, images, size, options.rounds)
    cost = count_costs(network)
    answers = engines[POLICY].answer(images)
    spent = float(answers.gflops.mean())
    meter, sentence = find_meter()
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
                name: {"median_s": seconds, "images_per_second": size / seconds, "over_plain": seconds / medians[PLAIN]}
                for name, seconds in medians.items()
            }
            for size, medians in throughput.items()
        },
        "joules_an_image": joules,
        "meter": sentence,
    }
    folder = out or weights.parent
    write_json(folder / "bench.json", result)
    rows = [
        [size, name, each["median_s"], each["images_per_second"], each["over_plain"]]
        for size, each_batch in result["batches"].items()
        for name, each in each_batch.items()
    ]
    write_csv(folder / "bench.csv", ["batch", "contender", "median_s", "images_per_second", "over_plain"], rows)
    ratios = {
        name: [throughput[size][name] / throughput[size][PLAIN] for size in options.batches]
        for name in (NONE_LEAVES, POLICY)
    }
    promised = {NONE_LEAVES: cost.exits[-1].gflops / cost.plain_gflops, POLICY: spent / cost.plain_gflops}
    title = model_summary(model.config.model)
    draw_times(ratios, promised, options.batches, title, folder / "bench.png")
    return Report(_text(title, policy, result, folder), result)


def _images(model: TrainedModel, weights: Path, data: Path | None, count: int) -> Tensor:
    """Validation images in random order, normalised; repeated where there are too few."""
    split = open_data(model, weights, data).split("val")
    rows = split.rows[np.random.default_rng(0).permutation(len(split))]
    chosen = np.resize(rows, count)
    return build_transform(model.config.data, channels_last=False)(torch.from_numpy(split.read(chosen)))


def _latencies(contenders: dict[str, Callable[[Tensor], object]], images: Tensor) -> dict[str, list[float]]:
    """Seconds of single images, contender after contender for each image."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(len(images)):
        turns = {name: partial(run, images[number : number + 1]) for name, run in contenders.items()}
        for name, seconds in alternate(turns, rounds=1).items():
            found[name] += seconds
    return found


def _seconds(
    contenders: dict[str, Callable[[Tensor], object]], images: Tensor, size: int, rounds: int
) -> dict[str, float]:
    """Median seconds of a batch; small batches are many in a turn, since single images are easy or hard."""
    batches = [images[start : start + size] for start in range(0, max(size, _IMAGES_A_TURN) - size + 1, size)]

    def run_all(run: Callable[[Tensor], object]) -> None:
        for batch in batches:
            run(batch)

    turns = {name: partial(run_all, run) for name, run in contenders.items()}
    return {name: median(seconds) / len(batches) for name, seconds in alternate(turns, rounds).items()}


def _joules(meter: Meter, run: Callable[[], object], seconds: float) -> float | None:
    """Joules of one run, from so many that the meter sees them."""
    repeats = max(1, round(_METERED_SECONDS / seconds))
    joules = meter.joules(lambda: [run() for _ in range(repeats)])
    return None if joules is None else joules / repeats


def _executed(engine: Engine, network: Any, images: Tensor, exits: Tensor, *, compiled: bool) -> dict[str, Any]:
    """Convolutions and matrix products: what ran beside what the static table says of the same exits."""
    table = [each.gflops for each in count_costs(network, COUNTED_OPERATORS).exits]
    expected = float(np.mean([table[index] for index in exits.tolist()]))
    if compiled:
        return {"gflops": None, "table_gflops": expected}  # compiled code dispatches nothing
    return {"gflops": executed_gflops(lambda: engine.answer(images)) / len(images), "table_gflops": expected}


def _text(title: str, policy: ExitPolicy, result: dict[str, Any], folder: Path) -> str:
    sizes = list(result["batches"])
    rows = []
    for name in (PLAIN, NONE_LEAVES, POLICY):
        single = result["latency"][name]
        joules = result["joules_an_image"][name]
        rows.append(
            [
                name,
                *(f"{1000 * single[f'p{percent}_seconds']:.2f}" for percent in (50, 95, 99)),
                *(f"{result['batches'][size][name]['images_per_second']:.0f}" for size in sizes),
                *(f"{result['batches'][size][name]['over_plain']:.3f}" for size in sizes),
                "" if joules is None else f"{joules:.3f}",
            ]
        )
    headers = [
        "contender",
        *(f"p{percent} (ms)" for percent in (50, 95, 99)),
        *(f"images/s at {size}" for size in sizes),
        *(f"time over plain at {size}" for size in sizes),
        "J an image",
    ]
    largest = max(sizes, key=int)
    timed = result["batches"][largest]
    against_full = timed[POLICY]["median_s"] / timed[NONE_LEAVES]["median_s"]
    executed = result["executed"]
    lines = [
        f"{title}; {result['precision']}{', compiled' if result['compiled'] else ''} on {result['device']}, "
        f"{result['threads']} threads; chunks {', '.join(map(str, result['chunks']))}",
        format_table(headers, rows),
        f"{describe_policy(policy)}; leaving at the exits: {_percent(result['exit_shares'])} %",
        f"saving against the plain network: {_saved(result['gflops'] / result['plain_gflops'])} promised by GFLOPs, "
        f"{_saved(timed[POLICY]['over_plain'])} measured at batch {largest}; against the engine where none leaves: "
        f"{_saved(result['gflops'] / result['full_gflops'])} promised, {_saved(against_full)} measured",
    ]
    if executed["gflops"] is not None:
        lines.append(
            f"convolutions and matrix products: {executed['gflops']:.4f} GFLOPs an image ran, "
            f"{executed['table_gflops']:.4f} by the table"
        )
    return "\n".join([*lines, result["meter"], f"table and picture: {folder / 'bench'}.csv, .json and .png"])


def _percent(shares: Sequence[float]) -> str:
    return ", ".join(f"{100 * share:.1f}" for share in shares)


def _saved(ratio: float) -> str:
    return f"{100 * (1 - ratio):.0f} %"
