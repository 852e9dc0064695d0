"""A trained network in integers of 8 bits: which layers, what it costs, and the policy fitted anew."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch

from greenedge.data.loader import InputTransform, build_transform
from greenedge.data.prepared import PreparedSplit
from greenedge.device.processor import NO_VNNI, sums_are_exact
from greenedge.errors import UsageError
from greenedge.exits.bootstrap import bootstrap_weights, difference_interval
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import SavedPolicy, shared_policy
from greenedge.exits.policy_choice import PER_EXIT, SHARED
from greenedge.exits.precision_comparison import PrecisionComparison, compare_precisions, refit_policy
from greenedge.inference import Engine
from greenedge.inference.collect import map_split
from greenedge.inference.exported import float_graph, open_graphs
from greenedge.inference.layer_search import QuantizedGraph, quantize_within
from greenedge.inference.quantization import Quantizer, WeightBits
from greenedge.training.trained import TrainedModel, open_data
from greenedge.workflows.calibration_parts import divide_calibration
from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs, open_images

_log = logging.getLogger("greenedge")


@dataclass(frozen=True)
class Int8Options:
    """What may be given for speed.

    Attributes:
        max_loss: of accuracy, by any exit, in (0, 1); a network that loses more is refused.
        max_float_share: of the multiply-adds, in [0, 1], that may stay in float32 to lose less.
        data: a prepared data set; None: the one trained on.

    Raises:
        UsageError: a number out of range.
    """

    max_loss: float = 0.01
    max_float_share: float = 0.1
    data: Path | None = None

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if not 0 < self.max_loss < 1:
            raise UsageError(f"--max-loss must lie between 0 and 1 (0.01 is one point), found {self.max_loss:g}")
        if not 0 <= self.max_float_share <= 1:
            raise UsageError(f"--max-float must lie between 0 and 1, found {self.max_float_share:g}")


@dataclass(frozen=True, eq=False)
class Int8Network:
    """A network in 8 bits.

    Attributes:
        graph: the whole network, and what of it stayed in float32.
        weight_bits: of convolutions that are not depthwise.
        saved: when images exit; fitted anew where it was chosen on images.
        refitted: whether it was.
        comparison: with float32.
        split: that the comparison is on.
        outputs: in 8 bits, on that.
        range_images: how many the ranges of activations were taken from.
        search_images: how many other ones layers were chosen on.
    """

    graph: QuantizedGraph
    weight_bits: WeightBits
    saved: SavedPolicy
    refitted: bool
    comparison: PrecisionComparison
    split: PreparedSplit
    outputs: ExitOutputs
    range_images: int
    search_images: int


def quantize_model(model: TrainedModel, saved: SavedPolicy, options: Int8Options) -> Int8Network:
    """Quantises a network and compares it with itself in float32.

    The calibration images are divided: some give the ranges of activations, some say which layers are sensitive, and
    on the others the loss is judged and the policy fitted anew, within the mean cost of the former one.

    Args:
        model: a checkpoint's.
        saved: when images exit in float32; thresholds that were not chosen on images are kept.
        options: what may be given for speed.

    Raises:
        UsageError: int8 costs more accuracy than it may, or there are too few calibration images.
        DataError: the data cannot be used.
    """
    calibration = open_images(model, PassOptions(options.data, "calibration"))
    ranges, search, rest = divide_calibration(calibration)
    transform = build_transform(model.config.data, channels_last=False)
    bits: WeightBits = 8 if sums_are_exact() else 7
    if bits == 7:
        _log.warning(
            "note: %s; weights take 7 bits (depthwise ones 8), which is right on every processor and loses a little",
            NO_VNNI,
        )

    threads = torch.get_num_threads()
    graph = float_graph(model.network)
    with Quantizer(graph, _read(ranges, transform), bits) as quantizer:
        found = quantize_within(
            graph,
            quantizer,
            _read(search, transform),
            search.labels[search.rows],
            max_loss=options.max_loss,
            max_float_share=options.max_float_share,
            threads=threads,
        )

    def outputs_on(split: PreparedSplit) -> ExitOutputs:
        return _outputs(model, found.model, split, transform)

    fitted_on = outputs_on(rest)
    everything = load_or_compute_outputs(model, PassOptions(options.data, "calibration")).outputs
    exact = everything.subset(np.flatnonzero(np.isin(calibration.rows, rest.rows)))
    _check_loss(exact, fitted_on, found, options)

    refitted = bool(saved.chosen or saved.policy.precision) and model.num_exits > 1
    fresh = saved
    if refitted:
        kind = SHARED if saved.chosen.get("kind") == SHARED else PER_EXIT
        policy = refit_policy(saved.policy, exact, fitted_on, "int8", kind)
        fresh = replace(saved, policy=policy, chosen=_how(rest, kind, saved))

    split, other = rest, fitted_on
    if "val" not in open_data(model, options.data).splits:
        _log.warning("note: there are no validation images, so the numbers are those of images that were fitted on")
    else:
        shown = load_or_compute_outputs(model, PassOptions(options.data, "val"))
        split, exact, other = shown.split, shown.outputs, outputs_on(shown.split)
    comparison = compare_precisions(exact, saved.policy, other, fresh.policy)
    return Int8Network(found, bits, fresh, refitted, comparison, split, other, len(ranges), len(search))


def _read(split: PreparedSplit, transform: InputTransform) -> np.ndarray:
    pixels: np.ndarray = transform(torch.from_numpy(split.read(split.rows))).numpy()
    return pixels


def _outputs(
    model: TrainedModel, graph: onnx.ModelProto, split: PreparedSplit, transform: InputTransform
) -> ExitOutputs:
    gflops = np.array([each.gflops for each in model.cost.exits])
    backend = open_graphs(graph, model.network, torch.from_numpy(gflops), "int8", "onnxruntime")
    engine = Engine(backend, shared_policy("entropy", None, model.num_exits - 1))
    logits = map_split(engine.logits, split, transform, engine.network.device)
    return ExitOutputs(logits, split.labels[split.rows], gflops)


def _check_loss(exact: ExitOutputs, found: ExitOutputs, graph: QuantizedGraph, options: Int8Options) -> None:
    """Judged on images that nothing was chosen on.

    Raises:
        UsageError: an exit loses more than it may.
    """
    images = len(exact.labels)
    if 1 / images > options.max_loss:
        _log.warning("note: the loss is judged on %d images, of which one is %.1f points", images, 100 / images)
    right, found_right = exact.correct().astype(np.float32), found.correct().astype(np.float32)
    losses = right.mean(axis=1) - found_right.mean(axis=1)
    worst = int(losses.argmax())
    if losses[worst] > options.max_loss:
        resampled = bootstrap_weights(images) @ (right[worst] - found_right[worst])
        low, high = difference_interval(resampled, images).ends
        before, after = 100 * right[worst].mean(), 100 * found_right[worst].mean()
        left = f", with {100 * graph.float_share:.0f} % of the arithmetic left in float32" if graph.keep_float else ""
        raise UsageError(
            f"int8 costs {100 * losses[worst]:.1f} points (95 %: {100 * low:.1f} to {100 * high:.1f}) at exit "
            f"{worst + 1} of {len(losses)}, {before:.1f} to {after:.1f} % on {images} calibration images{left}, more "
            f"than the {100 * options.max_loss:g} of --max-loss; no export was written"
        )


def _how(rest: PreparedSplit, kind: str, saved: SavedPolicy) -> dict[str, object]:
    """How the policy was fitted anew; what was said of the former one does not hold for it."""
    return {
        "goal": "the best within the mean cost of the policy in float32",
        "kind": kind,
        "choose_on": rest.name,
        "images": len(rest),
        "precision": "int8",
        "former": dict(saved.chosen),
    }
