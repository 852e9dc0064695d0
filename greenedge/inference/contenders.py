"""What `greenedge bench` can time: the table of contenders, which of them run here, and what runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor

from greenedge.cost.table import NetworkCost
from greenedge.device.precision import Precision, RunPrecision, choose_autocast, computes_bf16
from greenedge.errors import GreenedgeError, UsageError
from greenedge.exits.policy import ExitPolicy
from greenedge.inference.backend import Backend
from greenedge.inference.engine import Engine
from greenedge.inference.exported import ExportedNetwork, float_graph, open_graphs
from greenedge.inference.optimized import optimize_for_inference
from greenedge.inference.runtimes import Runtime, runtime_version
from greenedge.models.multi_exit import MultiExitNetwork

if TYPE_CHECKING:
    import onnx

Runs = Literal["backbone", "pytorch", "onnxruntime", "openvino", "export"]
NamedExport = tuple[str, ExportedNetwork, ExitPolicy]


@dataclass(frozen=True)
class Contender:
    """One thing that is timed.

    Attributes:
        key: in bench.json.
        name: of what runs, with or without early exit; what `--only` takes.
        shown: for people.
        runs: the backbone without exits, or the engine over PyTorch, over a runtime, or over an export.
        precision: that it runs in; None: the one asked for, or an export's own.
        early_exit: whether images exit as the policy says; False: none exits early.
    """

    key: str
    name: str
    shown: str
    runs: Runs
    precision: RunPrecision | None = None
    early_exit: bool = False


def _both(name: str, runs: Runs, precision: RunPrecision | None = None) -> tuple[Contender, Contender]:
    """Without early exit, and under the policy."""
    without = Contender(f"{name}, none leaves", name, f"{name}, no early exit", runs, precision)
    return without, Contender(f"{name}, policy", name, f"{name}, policy", runs, precision, early_exit=True)


ENGINE = "engine"
PLAIN = Contender("plain network", "plain network", "backbone, as trained", "backbone", "float32")
BACKBONE = Contender("backbone, best layout, same precision", "backbone", "backbone, best layout", "backbone")

# `engine` is PyTorch in the precision that was asked for, compiled where that was; `pytorch ...` are not compiled.
CONTENDERS: tuple[Contender, ...] = (
    PLAIN,
    BACKBONE,
    *_both(ENGINE, "pytorch"),
    *_both("pytorch float32", "pytorch", "float32"),
    *_both("pytorch bf16", "pytorch", "bf16"),
    *_both("onnxruntime float32", "onnxruntime", "float32"),
    *_both("openvino float32", "openvino", "float32"),
)


@dataclass(frozen=True)
class Request:
    """What the engine is to run as, and what is to be timed.

    Attributes:
        precision: of `engine` and of the backbone that it is compared with.
        compiled: whether `engine` is.
        only: names of contenders beside the backbone; None: all that run here.
    """

    precision: Precision = "auto"
    compiled: bool = False
    only: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Entrant:
    """A contender that is ready to run.

    Attributes:
        contender: what it is.
        engine: that runs it; None: of the backbones.
        chosen_in: the precision that its thresholds were chosen in; None: any, or there are none.
        backbone: from images to logits; None: of the engines, and of a backbone that is still to be made.
    """

    contender: Contender
    engine: Engine | None = None
    chosen_in: str | None = None
    backbone: Callable[[Tensor], object] | None = None

    @property
    def run(self) -> Callable[[Tensor], object]:
        """What is timed."""
        run = self.backbone if self.engine is None else self.engine.predict
        assert run is not None
        return run


def resolve_dtype(network: MultiExitNetwork, policy: ExitPolicy, precision: Precision) -> torch.dtype:
    """The type that `engine` runs in: what the policy was chosen in, where nothing else is asked for."""
    chosen_in = policy.precision if precision == "auto" and policy.precision != "int8" else None
    return choose_autocast(chosen_in or precision, network, _device(network)) or torch.float32


def make_entrants(
    network: MultiExitNetwork,
    policy: ExitPolicy,
    cost: NetworkCost,
    request: Request,
    exports: Sequence[NamedExport] = (),
) -> tuple[tuple[Entrant, ...], dict[str, str]]:
    """Makes all contenders ready to run.

    A contender that runs in another precision than the policy was chosen in keeps the thresholds all the same. One that
    cannot be made here is left out, unless it was asked for by name.

    Args:
        network: on the device to measure.
        policy: when images exit.
        cost: of its exits.
        request: what is to run.
        exports: name, segments and policy of each export.

    Returns:
        Those that run, the backbones first, and name -> why it does not run here of the others.

    Raises:
        UsageError: a contender that was asked for does not exist or cannot run here, two exports have one name, or the
            policy does not fit.
        InstallationError: the engine was to be compiled, and no compiler works.
    """
    table = (*CONTENDERS, *(each for name, _, _ in exports for each in _both(name, "export")))
    _check_names(table, request.only, " (the backbone always runs)")
    named = {name: (backend, own) for name, backend, own in exports}
    makers = _Makers(network, policy, cost, request)

    ready = [Entrant(each) for each in table if each.runs == "backbone"]
    left_out: dict[str, str] = {}
    engines = [each for each in table if each.runs != "backbone"]
    # The two of a name stand side by side in the table, and share what computes.
    for without, under in zip(engines[::2], engines[1::2], strict=True):
        name = under.name
        if request.only is not None and name not in request.only:
            continue
        backend: Backend
        try:
            if under.runs == "export":
                backend, own = named[name]
                chosen_in = own.precision
            else:
                backend, own, chosen_in = makers.backend(under), makers.policy(under), policy.precision
        except GreenedgeError as error:
            if name == ENGINE:
                raise
            if request.only is not None:
                raise UsageError(f"{name} cannot be timed: {error}") from error
            left_out[name] = str(error)
            continue
        ready.append(Entrant(without, Engine(backend, own.without_early_exit())))
        ready.append(Entrant(under, Engine(backend, own), chosen_in))
    return tuple(ready), left_out


def make_export_entrants(
    exports: Sequence[NamedExport], backbones: Sequence[Callable[[Tensor], object]], only: tuple[str, ...] | None
) -> tuple[Entrant, ...]:
    """Makes exports ready to run, each as its backbone alone, without early exit, and under its policy.

    Args:
        exports: name, segments and policy of each.
        backbones: of each, from images to logits.
        only: names of those to time; None: all.

    Raises:
        UsageError: a name that was asked for is none of them, two have one name, or a policy does not fit.
    """
    names = [name for name, _, _ in exports]
    _check_names(tuple(each for name in names for each in _both(name, "export")), only, "")
    ready = []
    for (name, backend, own), backbone in zip(exports, backbones, strict=True):
        if only is not None and name not in only:
            continue
        alone = Contender(f"{name}, backbone", name, f"backbone in {name}", "backbone", backend.precision)
        without, under = _both(name, "export")
        ready.append(Entrant(alone, backbone=backbone))
        ready.append(Entrant(without, Engine(backend, own.without_early_exit())))
        ready.append(Entrant(under, Engine(backend, own), own.precision))
    return tuple(ready)


@dataclass(eq=False)
class _Makers:
    """Makes what runs; the graph of the runtimes is made once."""

    network: MultiExitNetwork
    chosen: ExitPolicy
    cost: NetworkCost
    request: Request
    graph: onnx.ModelProto | None = None

    def backend(self, contender: Contender) -> Backend:
        """What computes the segments.

        Raises:
            UsageError: it is no other than `engine`, or makes no sense on this device.
            InstallationError: a package is missing.
        """
        dtype = resolve_dtype(self.network, self.chosen, self.request.precision)
        engine_precision: Precision = "float32" if dtype == torch.float32 else "bf16"
        if contender.name == ENGINE:
            return optimize_for_inference(
                self.network, engine_precision, compiled=self.request.compiled, cost=self.cost
            )
        if contender.runs == "pytorch":
            precision = cast(Precision, contender.precision)
            if precision == engine_precision and not self.request.compiled:
                raise UsageError("it is the same as engine")
            if precision == "bf16" and not computes_bf16(_device(self.network)):
                raise UsageError("this processor does not compute in bf16")
            return optimize_for_inference(self.network, precision, compiled=False, cost=self.cost)
        return self._runtime(cast(Runtime, contender.runs))

    def policy(self, contender: Contender) -> ExitPolicy:
        """The policy; for others than `engine` whatever precision it was chosen in."""
        other = contender.name != ENGINE and self.chosen.precision != contender.precision
        return replace(self.chosen, precision=None) if other else self.chosen

    def _runtime(self, runtime: Runtime) -> ExportedNetwork:
        if _device(self.network).type != "cpu":
            raise UsageError(f"it runs on the CPU, and the network is on {_device(self.network)}")
        runtime_version(runtime)  # or a sentence, before the graph is made
        if self.graph is None:
            self.graph = float_graph(self.network)
        gflops = torch.tensor([each.gflops for each in self.cost.exits], dtype=torch.float64)
        return open_graphs(self.graph, self.network, gflops, "float32", runtime)


def _check_names(table: Sequence[Contender], only: tuple[str, ...] | None, besides: str) -> None:
    keys = [each.key for each in table]
    if len(set(keys)) < len(keys):
        twice = next(each.name for each in table if keys.count(each.key) > 1)
        raise UsageError(f"two contenders are called {twice!r}; give exports names of their own")
    names = list(dict.fromkeys(each.name for each in table if each.runs != "backbone"))
    for name in only or ():
        if name not in names:
            raise UsageError(f"there is no contender {name!r}; there are {', '.join(names)}{besides}")


def _device(network: MultiExitNetwork) -> torch.device:
    return next(network.parameters()).device
