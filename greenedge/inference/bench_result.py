"""What `greenedge bench` measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from greenedge.cost.benchmark import Timings
from greenedge.cost.energy_use import EnergyResult
from greenedge.device.machine import Machine
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.contenders import Contender


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
        plain: the key of the backbone as trained; of exports alone, of the first one's backbone.
        backbone: the key of the backbone that the others are measured against; of exports alone, the same.
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
        table_gflops: of the same operators and exits, by the static table; None where there is no PyTorch network.
    """

    policy: ExitPolicy
    contenders: Mapping[str, TimedContender]
    left_out: Mapping[str, str]
    plain: str
    backbone: str
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
    table_gflops: float | None

    @property
    def lead_keys(self) -> tuple[str, str]:
        """The lead without early exit, and under the policy."""
        own = [key for key, each in self.contenders.items() if each.contender.name == self.lead]
        return own[-2], own[-1]

    @property
    def threads(self) -> int:
        """Of PyTorch and of the runtimes made here."""
        return self.machine.threads

    def __repr__(self) -> str:
        size = self.timings.largest_batch
        ratio = self.timings.ratio(size, self.lead_keys[1], self.backbone)
        return f"BenchResult({ratio:.3f} of the backbone's time at batch {size})"
