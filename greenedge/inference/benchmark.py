"""The engine under a policy, without early exit, and the backbone alone, timed in turns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from greenedge.cost import benchmark
from greenedge.cost.benchmark import IMAGES_PER_TURN, Timings, measure_joules
from greenedge.cost.energy import find_energy_meter
from greenedge.cost.executed import COUNTED_OPERATORS, executed_gflops
from greenedge.cost.flops import count_costs
from greenedge.device.precision import Precision
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.baseline import as_trained, best_layout
from greenedge.inference.engine import Engine
from greenedge.models.multi_exit import MultiExitNetwork

# Names of the contenders, which are keys of bench.json.
PLAIN, BACKBONE = "plain network", "backbone, best layout, same precision"
NO_EARLY_EXIT, POLICY = "engine, none leaves", "engine, policy"

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class BenchOptions:
    """How contenders are timed.

    Attributes:
        precision: of the engine and of the backbone that it is compared with.
        compiled: the engine's stages through `torch.compile`.
        batches: images per batch.
        rounds: timings of each contender at each batch size.
        singles: single images timed for the latency.
    """

    precision: Precision = "auto"
    compiled: bool = False
    batches: tuple[int, ...] = (1, 8, 64, 256)
    rounds: int = 5
    singles: int = 100

    @property
    def images(self) -> int:
        """How many images are needed."""
        return max(*self.batches, self.singles, IMAGES_PER_TURN)


@dataclass(frozen=True, repr=False)
class BenchResult:
    """What was measured.

    Attributes:
        policy: when images exit.
        timings: of the contenders `PLAIN`, `BACKBONE`, `NO_EARLY_EXIT` and `POLICY`.
        joules_per_image: contender -> joules at the largest batch; None where no meter could be read.
        meter: a sentence on the meter.
        precision: of the engine, such as `bfloat16`.
        compiled: whether its stages are.
        device: where it ran.
        threads: of PyTorch.
        baseline_layout: that the backbone was faster in.
        baseline_precision: of the backbone.
        chunks: images at a time of each stage.
        exit_rates: (E,), of the images, under the policy.
        gflops: mean per image, under the policy.
        backbone_gflops: of the backbone without exits.
        full_gflops: of running everything.
        executed_gflops: per image, of convolutions and matrix products that ran; None for compiled code.
        table_gflops: of the same operators and exits, by the static table.
    """

    policy: ExitPolicy
    timings: Timings
    joules_per_image: Mapping[str, float | None]
    meter: str
    precision: str
    compiled: bool
    device: str
    threads: int
    baseline_layout: str
    baseline_precision: str
    chunks: tuple[int, ...]
    exit_rates: tuple[float, ...]
    gflops: float
    backbone_gflops: float
    full_gflops: float
    executed_gflops: float | None
    table_gflops: float

    def __repr__(self) -> str:
        size = self.timings.largest_batch
        return f"BenchResult({self.timings.ratio(size, POLICY, BACKBONE):.3f} of the backbone's time at batch {size})"


def benchmark_policy(
    network: MultiExitNetwork, policy: ExitPolicy, images: Tensor, options: BenchOptions
) -> BenchResult:
    """Times the backbone, the engine without early exit, and the engine under a policy, in turns.

    The backbone runs twice: as it was trained, and in the layout that is faster here and the engine's precision, so
    that what layout and precision save is not taken for what exits save. All share TF32's setting and the allocator.

    Args:
        network: on the device to measure.
        policy: when images exit.
        images: float (N, 3, S, S), normalised, at least `options.images`.
        options: how.
    """
    cost = count_costs(network)
    never = policy.without_early_exit()
    engines = {
        name: Engine(network, each, precision=options.precision, compiled=options.compiled, cost=cost)
        for name, each in ((NO_EARLY_EXIT, never), (POLICY, policy))
    }
    _log.info("measuring the best chunk sizes of this machine, if they are not kept yet")
    for engine in engines.values():
        engine.autotune()
    engine = engines[POLICY]
    dtype = torch.float32 if engine.network.precision == "float32" else torch.bfloat16
    baseline = best_layout(network.backbone, dtype, images[:IMAGES_PER_TURN])
    contenders: dict[str, Callable[[Tensor], object]] = {
        PLAIN: as_trained(network.backbone),
        BACKBONE: baseline,
        **{name: each.predict for name, each in engines.items()},
    }

    turns = ((options.rounds + 1) * len(options.batches) + 2 * options.singles) * len(contenders)
    with tqdm(total=turns, desc="timing", unit=" turns", disable=None, leave=False) as bar:
        timings = benchmark.time_contenders(
            contenders,
            images,
            options.batches,
            rounds=options.rounds,
            singles=options.singles,
            count=partial(bar.update, 1),
        )
    joules, meter = _joules_per_image(contenders, timings, images)

    predictions = engine.predict(images)
    executed = None  # compiled code dispatches nothing that could be counted
    if not options.compiled:
        executed = executed_gflops(lambda: engine.predict(images)) / len(images)
    return BenchResult(
        policy=policy,
        timings=timings,
        joules_per_image=joules,
        meter=meter,
        precision=str(dtype).removeprefix("torch."),
        compiled=options.compiled,
        device=str(images.device),
        threads=torch.get_num_threads(),
        baseline_layout=baseline.layout,
        baseline_precision=str(baseline.dtype).removeprefix("torch."),
        chunks=engine.chunks,
        exit_rates=tuple((predictions.exits.bincount(minlength=network.num_exits) / len(images)).tolist()),
        gflops=float(predictions.gflops.mean()),
        backbone_gflops=cost.plain_gflops,
        full_gflops=cost.exits[-1].gflops,
        executed_gflops=executed,
        table_gflops=_table_gflops(network, predictions.exits),
    )


def _joules_per_image(
    contenders: Mapping[str, Callable[[Tensor], object]], timings: Timings, images: Tensor
) -> tuple[dict[str, float | None], str]:
    """Joules of each contender at the largest batch, None without a meter, and a sentence on the meter."""
    meter, sentence = find_energy_meter()
    size = timings.largest_batch
    joules: dict[str, float | None] = {}
    for name, run in contenders.items():
        seconds = timings.batches[size][name].median_s
        spent = None if meter is None else measure_joules(meter, partial(run, images[:size]), seconds)
        joules[name] = None if spent is None else spent / size
    return joules, sentence


def _table_gflops(network: MultiExitNetwork, exits: Tensor) -> float:
    """Convolutions and matrix products per image, by the static table."""
    table = [each.gflops for each in count_costs(network, COUNTED_OPERATORS).exits]
    return float(np.mean([table[index] for index in exits.tolist()]))
