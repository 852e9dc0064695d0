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
from greenedge.device.machine import Machine, describe_machine
from greenedge.device.precision import Precision
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.baseline import as_trained, best_layout
from greenedge.inference.contenders import (
    BACKBONE,
    ENGINE,
    PLAIN,
    Contender,
    Entrant,
    NamedExport,
    Request,
    make_entrants,
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


@dataclass(frozen=True)
class TimedContender:
    """A contender and what it did.

    Attributes:
        contender: what it is.
        precision: that it ran in: `float32`, `bf16` or `int8`.
        compiled: whether it was.
        policy: when images exited; None: no image exits early.
        chosen_in: the precision that the thresholds were chosen in; None: they do not say, or there are none.
        exit_rates: (E,), of the images; None likewise.
    """

    contender: Contender
    precision: str
    compiled: bool = False
    policy: ExitPolicy | None = None
    chosen_in: str | None = None
    exit_rates: tuple[float, ...] | None = None


@dataclass(frozen=True, repr=False)
class BenchResult:
    """What was measured.

    Attributes:
        policy: when images exit.
        contenders: key -> what ran, in order.
        left_out: name of a contender -> why it did not run here.
        lead: the name of the contender that `precision`, `compiled`, `chunks`, `exit_rates` and GFLOPs are of:
            `engine`, or, where that is not timed, the first other one.
        timings: of all contenders.
        energy: at the largest batch; None where no meter could be read.
        meter: a sentence on the meter.
        machine: the machine.
        precision: of the lead, such as `bfloat16`.
        compiled: whether its stages are.
        device: where the network lies.
        baseline_layout: that the backbone was faster in.
        baseline_precision: of the backbone.
        chunks: images at a time of each stage.
        exit_rates: (E,), of the images, under the policy.
        gflops: mean per image, under the policy.
        backbone_gflops: of the backbone without exits.
        full_gflops: of running everything.
        executed_gflops: per image, of convolutions and matrix products that ran; None where PyTorch does not dispatch
            them one by one, as in compiled code and in other runtimes.
        table_gflops: of the same operators and exits, by the static table.
    """

    policy: ExitPolicy
    contenders: Mapping[str, TimedContender]
    left_out: Mapping[str, str]
    lead: str
    timings: Timings
    energy: EnergyResult | None
    meter: str
    machine: Machine
    precision: str
    compiled: bool
    device: str
    baseline_layout: str
    baseline_precision: str
    chunks: tuple[int, ...]
    exit_rates: tuple[float, ...]
    gflops: float
    backbone_gflops: float
    full_gflops: float
    executed_gflops: float | None
    table_gflops: float

    @property
    def lead_keys(self) -> tuple[str, str]:
        """The lead without early exit, and under the policy."""
        without, under = (key for key, each in self.contenders.items() if each.contender.name == self.lead)
        return without, under

    @property
    def threads(self) -> int:
        """Of PyTorch and of the runtimes made here."""
        return self.machine.threads

    def __repr__(self) -> str:
        size = self.timings.largest_batch
        ratio = self.timings.ratio(size, self.lead_keys[1], BACKBONE.key)
        return f"BenchResult({ratio:.3f} of the backbone's time at batch {size})"


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
    engines = {each.contender.key: each.engine for each in entrants if each.engine is not None}
    _log.info("measuring the best chunk sizes of this machine, if they are not kept yet")
    for engine in engines.values():
        engine.autotune()
    dtype = resolve_dtype(network, policy, options.precision)
    baseline = best_layout(network.backbone, dtype, images[:IMAGES_PER_TURN])
    contenders: dict[str, Callable[[Tensor], object]] = {
        PLAIN.key: as_trained(network.backbone),
        BACKBONE.key: baseline,
        **{key: engine.predict for key, engine in engines.items()},
    }

    timings = _time(contenders, images, options)
    machine = describe_machine()  # now, while the clocks are those of work
    energy, meter = _measure_energy(contenders, images[: timings.largest_batch], options.windows)

    exits = {key: engine.predict(images) for key, engine in engines.items()}
    timed = {
        each.contender.key: _timed(each, exits, "float32" if dtype == torch.float32 else "bf16", options.compiled)
        for each in entrants
    }
    lead = next(each for each in timed.values() if each.policy is not None)
    engine, predictions = engines[lead.contender.key], exits[lead.contender.key]
    executed = None
    if isinstance(engine.network, OptimizedNetwork) and not lead.compiled:
        executed = executed_gflops(lambda: engine.predict(images)) / len(images)
    return BenchResult(
        policy=engine.policy,
        contenders=timed,
        left_out=left_out,
        lead=lead.contender.name,
        timings=timings,
        energy=energy,
        meter=meter,
        machine=machine,
        precision=lead.precision.replace("bf16", "bfloat16"),
        compiled=lead.compiled,
        device=str(images.device),
        baseline_layout=baseline.layout,
        baseline_precision=str(baseline.dtype).removeprefix("torch."),
        chunks=engine.chunks,
        exit_rates=_exit_rates(predictions, network.num_exits),
        gflops=float(predictions.gflops.mean()),
        backbone_gflops=cost.plain_gflops,
        full_gflops=cost.exits[-1].gflops,
        executed_gflops=executed,
        table_gflops=_table_gflops(network, predictions.exits),
    )


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


def _timed(
    entrant: Entrant, predictions: Mapping[str, Predictions], backbone_precision: str, compiled: bool
) -> TimedContender:
    contender, engine = entrant.contender, entrant.engine
    if engine is None:
        return TimedContender(contender, contender.precision or backbone_precision)
    own = TimedContender(contender, engine.network.precision, compiled and contender.name == ENGINE)
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
