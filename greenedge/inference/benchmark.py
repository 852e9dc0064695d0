"""The backbone and the engine over each runtime, with and without early exit, timed in turns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from greenedge.cost import benchmark
from greenedge.cost.benchmark import IMAGES_PER_TURN, Timings
from greenedge.cost.energy import find_energy_meter
from greenedge.cost.energy_use import EnergyResult, EnergyWindows, measure_energy
from greenedge.cost.executed import COUNTED_OPERATORS, executed_gflops
from greenedge.cost.flops import count_costs
from greenedge.cost.table import NetworkCost
from greenedge.device.machine import describe_machine
from greenedge.device.precision import Precision
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.baseline import as_trained, best_layout
from greenedge.inference.bench_result import BenchResult, TimedContender
from greenedge.inference.contenders import (
    BACKBONE,
    ENGINE,
    PLAIN,
    Entrant,
    NamedExport,
    Request,
    make_entrants,
    make_export_entrants,
    resolve_dtype,
)
from greenedge.inference.optimized import OptimizedNetwork
from greenedge.inference.scheduler import Predictions
from greenedge.models.multi_exit import MultiExitNetwork

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class BenchOptions:
    """How contenders are timed.

    Attributes:
        precision: of the engine and of the backbone that it is compared with.
        compiled: the engine's stages through `torch.compile`.
        only: names of contenders beside the backbone (`inference/contenders.py`); None: all that run here.
        batches: images per batch.
        rounds: timings of each contender at each batch size.
        singles: single images timed for the latency.
        windows: how energy is measured, where there is a meter.
    """

    precision: Precision = "auto"
    compiled: bool = False
    only: tuple[str, ...] | None = None
    batches: tuple[int, ...] = (1, 8, 64, 256)
    rounds: int = 5
    singles: int = 100
    windows: EnergyWindows = field(default_factory=EnergyWindows)

    @property
    def images(self) -> int:
        """How many images are needed."""
        return max(*self.batches, self.singles, IMAGES_PER_TURN)


def benchmark_policy(
    network: MultiExitNetwork,
    policy: ExitPolicy,
    images: Tensor,
    options: BenchOptions,
    exports: Sequence[NamedExport] = (),
) -> BenchResult:
    """Times the backbone and the engine over each runtime, without early exit and under a policy, in turns.

    The backbone runs twice: as it was trained, and in the layout that is faster here and the engine's precision, so
    that what layout and precision save is not taken for what exits save. All share TF32's setting and the allocator.

    Args:
        network: on the device to measure.
        policy: when images exit.
        images: float (N, 3, S, S), normalised, at least `options.images`.
        options: how.
        exports: name (such as `onnxruntime int8`), segments and policy of each export that is timed too.

    Raises:
        UsageError: a contender that was asked for does not exist or cannot run here, or a policy does not fit.
        InstallationError: a package that was asked for is missing or does not work.
    """
    cost = count_costs(network)
    request = Request(options.precision, options.compiled, options.only)
    entrants, left_out = make_entrants(network, policy, cost, request, exports)
    dtype = resolve_dtype(network, policy, options.precision)
    best = best_layout(network.backbone, dtype, images[:IMAGES_PER_TURN])
    backbones = {PLAIN.key: as_trained(network.backbone), BACKBONE.key: best}
    entrants = tuple(replace(each, backbone=backbones.get(each.contender.key)) for each in entrants)
    lineup = _Lineup(
        entrants=entrants,
        left_out=left_out,
        plain=PLAIN.key,
        backbone=BACKBONE.key,
        layout=best.layout,
        precision="float32" if dtype == torch.float32 else "bf16",
        compiled=options.compiled,
        cost=cost,
    )
    return _benchmark(lineup, images, options, network)


def benchmark_exports(
    exports: Sequence[NamedExport],
    backbones: Sequence[Callable[[Tensor], object]],
    cost: NetworkCost,
    images: Tensor,
    options: BenchOptions,
) -> BenchResult:
    """Times exports, each as its backbone alone, without early exit and under its policy, in turns; runs no PyTorch.

    Args:
        exports: name (such as `onnxruntime int8`), segments and policy of each; ratios are over the first one's
            backbone.
        backbones: of each, from images to logits.
        cost: of the exits.
        images: float (N, 3, S, S), normalised, at least `options.images`.
        options: how; `precision` and `compiled` do not matter.

    Raises:
        UsageError: a contender that was asked for does not exist, or a policy does not fit.
    """
    entrants = make_export_entrants(exports, backbones, options.only)
    first = entrants[0].contender
    lineup = _Lineup(
        entrants=entrants,
        left_out={},
        plain=first.key,
        backbone=first.key,
        layout="NCHW",
        precision=str(first.precision),
        compiled=False,
        cost=cost,
    )
    return _benchmark(lineup, images, options, None)


@dataclass(frozen=True)
class _Lineup:
    """All that is timed, ready to run.

    Attributes:
        entrants: in order.
        left_out: name -> why it does not run here.
        plain: the key of the first backbone that ratios are over.
        backbone: of the second; it may be the same.
        layout: of the second.
        precision: of the second.
        compiled: whether the engine over PyTorch is.
        cost: of the exits.
    """

    entrants: tuple[Entrant, ...]
    left_out: Mapping[str, str]
    plain: str
    backbone: str
    layout: str
    precision: str
    compiled: bool
    cost: NetworkCost


def _benchmark(lineup: _Lineup, images: Tensor, options: BenchOptions, network: MultiExitNetwork | None) -> BenchResult:
    """Times a line-up; `network`: whose operators are counted where PyTorch runs them."""
    engines = {each.contender.key: each.engine for each in lineup.entrants if each.engine is not None}
    _log.info("measuring the best chunk sizes of this machine, if they are not kept yet")
    for engine in engines.values():
        engine.autotune()
    contenders = {each.contender.key: each.run for each in lineup.entrants}

    timings = _time(contenders, images, options)
    machine = describe_machine()  # now, while the clocks are those of work
    energy, meter = _measure_energy(contenders, images[: timings.largest_batch], options.windows)

    exits = {key: engine.predict(images) for key, engine in engines.items()}
    timed = {each.contender.key: _timed(each, exits, lineup) for each in lineup.entrants}
    lead = next(each for each in timed.values() if each.policy is not None)
    engine, predictions = engines[lead.contender.key], exits[lead.contender.key]
    executed = None
    if isinstance(engine.network, OptimizedNetwork) and not lead.compiled:
        executed = executed_gflops(lambda: engine.predict(images)) / len(images)
    return BenchResult(
        policy=engine.policy,
        contenders=timed,
        left_out=lineup.left_out,
        plain=lineup.plain,
        backbone=lineup.backbone,
        lead=lead.contender.name,
        timings=timings,
        energy=energy,
        meter=meter,
        machine=machine,
        precision=_torch_name(lead.precision),
        compiled=lead.compiled,
        device=str(images.device),
        baseline_layout=lineup.layout,
        baseline_precision=_torch_name(lineup.precision),
        chunks=engine.chunks,
        exit_rates=_exit_rates(predictions, len(lineup.cost.exits)),
        gflops=float(predictions.gflops.mean()),
        backbone_gflops=lineup.cost.plain_gflops,
        full_gflops=lineup.cost.exits[-1].gflops,
        executed_gflops=executed,
        table_gflops=None if network is None else _table_gflops(network, predictions.exits),
    )


def _torch_name(precision: str) -> str:
    return precision.replace("bf16", "bfloat16")


def _time(contenders: Mapping[str, Callable[[Tensor], object]], images: Tensor, options: BenchOptions) -> Timings:
    turns = ((options.rounds + 1) * len(options.batches) + 2 * options.singles) * len(contenders)
    with tqdm(total=turns, desc="timing", unit=" turns", disable=None, leave=False) as bar:
        return benchmark.time_contenders(
            contenders,
            images,
            options.batches,
            rounds=options.rounds,
            singles=options.singles,
            count=partial(bar.update, 1),
        )


def _measure_energy(
    contenders: Mapping[str, Callable[[Tensor], object]], batch: Tensor, windows: EnergyWindows
) -> tuple[EnergyResult | None, str]:
    """The energy of each contender on a batch, None without a meter, and a sentence on the meter."""
    meter, sentence = find_energy_meter()
    if meter is None:
        return None, sentence
    total = windows.repeats * (len(contenders) + 1)
    with tqdm(total=total, desc="metering", unit=" windows", disable=None, leave=False) as bar:
        runs = {name: partial(run, batch) for name, run in contenders.items()}
        return measure_energy(meter, runs, len(batch), windows, partial(bar.update, 1)), sentence


def _timed(entrant: Entrant, predictions: Mapping[str, Predictions], lineup: _Lineup) -> TimedContender:
    contender, engine = entrant.contender, entrant.engine
    if engine is None:
        return TimedContender(contender, contender.precision or lineup.precision)
    own = TimedContender(contender, engine.network.precision, lineup.compiled and contender.name == ENGINE)
    if not contender.early_exit:
        return own
    rates = _exit_rates(predictions[contender.key], len(engine.policy.thresholds) + 1)
    return replace(own, policy=engine.policy, chosen_in=entrant.chosen_in, exit_rates=rates)


def _exit_rates(predictions: Predictions, exits: int) -> tuple[float, ...]:
    """(E,): the share of the images that exits at each exit."""
    return tuple((predictions.exits.bincount(minlength=exits) / len(predictions.exits)).tolist())


def _table_gflops(network: MultiExitNetwork, exits: Tensor) -> float:
    """Convolutions and matrix products per image, by the static table."""
    table = [each.gflops for each in count_costs(network, COUNTED_OPERATORS).exits]
    return float(np.mean([table[index] for index in exits.tolist()]))
