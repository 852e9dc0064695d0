"""The model card of an export: what it is, what it was made of, what is known of it, and what is not."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenedge.config import RunConfig
from greenedge.errors import printable
from greenedge.exits.bootstrap import Interval
from greenedge.exits.evaluation import PolicyEvaluation
from greenedge.exits.policy import SavedPolicy
from greenedge.exits.precision_comparison import PrecisionComparison
from greenedge.inference.manifest import Manifest
from greenedge.inference.parity_report import ParityReport
from greenedge.reporting.blocks import WIDTH, percent_span, span, wrap
from greenedge.reporting.export import policy_sentence
from greenedge.reporting.int8 import named_predictions, points
from greenedge.reporting.names import exit_name
from greenedge.training.trained import TrainedModel

_SHOWN_CLASSES = 3
_ABSOLUTE_PATH = re.compile(r"(?<=[ '\"])/(?:[^/\n'\"]+/)*([^/\n'\"]+)")


def shortened_paths(text: str) -> str:
    """A config's text in which nothing but the last name is left of absolute paths."""
    return _ABSOLUTE_PATH.sub(r".../\1", text)


@dataclass(frozen=True)
class MeasuredExits:
    """What is known of a network from an evaluation that was kept.

    Attributes:
        split: name of the split.
        data: name of the data set's folder.
        found: under the policy of the export.
        exit_intervals: 95 %, of each exit's accuracy if every image exited there.
    """

    split: str
    data: str
    found: PolicyEvaluation
    exit_intervals: tuple[Interval, ...]


def model_card(
    model: TrainedModel,
    saved: SavedPolicy,
    manifest: Manifest,
    parity: ParityReport,
    measured: MeasuredExits | None,
    int8: PrecisionComparison | None = None,
) -> str:
    """Markdown for people who have the folder, and perhaps nothing else.

    Args:
        model: that was exported.
        saved: the policy of the export.
        manifest: of the export.
        parity: of the export.
        measured: accuracy and exit rates; None: nothing was kept.
        int8: the network in 8 bits beside itself in float32, on the same images; None: it is in float32.
    """
    early, classes = model.num_exits - 1, len(model.classes)
    title = f"{_network(model)} with {_counted(early, 'early exit')}, {classes} classes"
    sections = {
        "What it is": _identity(model, saved, manifest),
        "How to run it": _usage(manifest),
        "Accuracy and cost": [*_accuracy(model, measured), *_beside_float32(int8)],
        "Data and training": _training(model),
        "Limits": _limits(saved, measured),
        "Licences": _licences(model),
        "Checks and versions": _provenance(manifest, parity),
        "Configuration": _configuration(model),
    }
    lines = [f"# {title}", "", *_introduction(early)]
    for heading, body in sections.items():
        lines += ["", f"## {heading}", "", *body]
    return "\n".join(lines) + "\n"


def _network(model: TrainedModel) -> str:
    backbones = [each.model.backbone for each in _members(model)]
    return backbones[0] if len(backbones) == 1 else f"Cascade of {', then '.join(backbones)}"


def _introduction(early: int) -> list[str]:
    if early == 0:
        return ["An image classifier, exported by greenedge to run without it."]
    return _text(
        "An image classifier that stops early: each image exits at the first exit that is confident enough, so that "
        "easy images cost less. Exported by greenedge, to run without it."
    )


def _identity(model: TrainedModel, saved: SavedPolicy, manifest: Manifest) -> list[str]:
    of, px = manifest.preprocessing, manifest.image_size
    names = "; ".join(printable(each.name) for each in model.classes[:_SHOWN_CLASSES])
    more = "; ..." if len(model.classes) > _SHOWN_CLASSES else ""
    resized = "" if of.stored_size == px else f", then resized to {px} x {px} (bicubic, antialiased)"
    done = " (`runner.py` does all this)" if manifest.kind == "onnx" else ""
    return _items(
        f"**Network:** {model.summary}",
        f"**Input:** RGB images, the shorter side scaled and the centre cropped to {of.stored_size} x {of.stored_size} "
        f"pixels (bicubic){resized}; pixels in [0, 1], minus {_numbers(of.mean)}, over {_numbers(of.std)}{done}",
        f"**Classes:** {len(model.classes)} ({names}{more}); all are in `manifest.json`, in the order of the logits",
        f"**Policy:** {_policy(saved)}; `policy.json` may be replaced by another one for this network",
        f"**Arithmetic:** {_arithmetic(manifest)}, batch norms folded into the weights",
    )


def _policy(saved: SavedPolicy) -> str:
    text = policy_sentence(saved.policy)
    goal, images, split = (saved.chosen.get(key) for key in ("goal", "images", "choose_on"))
    if isinstance(goal, str) and isinstance(images, int):
        text += f"; chosen as {printable(goal)}, on {images:,} {printable(str(split or ''))} images"
    return text


def _usage(manifest: Manifest) -> list[str]:
    if manifest.kind == "torch":
        lead = (
            "With PyTorch, on normalised float32 images (N, 3, S, S); every exit's logits come out, and the policy is "
        )
        code = ["import torch", "", f'logits = torch.export.load("{manifest.network}").module()(images)']
        return [*_text(lead + "yours to apply:"), "", "```python", *code, "```"]
    return [
        "With numpy, onnxruntime and (for image files) Pillow, from this folder:",
        "",
        "```",
        "python runner.py . photo.jpg another.png",
        "```",
        "",
        "prints each image's class, exit (from 1), confidence and file. In Python:",
        "",
        "```python",
        "from runner import Runner",
        "",
        'runner = Runner(".")',
        'found = runner.predict(runner.read("photo.jpg", "another.png"))',
        'print([runner.manifest["classes"][index]["name"] for index in found.predictions], found.confidence)',
        "```",
        "",
        *_text(
            f"`segment-*.onnx` are the parts between exits, which the runner routes images through; "
            f"`{manifest.network}` is the whole in one graph, which gives the logits of all exits."
        ),
    ]


def _accuracy(model: TrainedModel, measured: MeasuredExits | None) -> list[str]:
    exits, plain = model.cost.exits, model.cost.plain_gflops
    names = [exit_name(index, len(exits)) for index in range(len(exits))]
    costs = _text(
        f"GFLOPs are per image that exits there, as fvcore counts them (one multiply-add is 1); {_backbone(model)} "
        f"without exits costs {plain:.4f}. Seconds and joules depend on the machine."
    )
    if measured is None:
        rows = [[name, f"`{each.after}`", f"{each.gflops:.4f}"] for name, each in zip(names, exits, strict=True)]
        lead = _text(
            "Accuracy and exit rates: not measured; `greenedge eval` measures them, and an export after it says them "
            "here."
        )
        return [*lead, "", *_table(["exit", "after", "GFLOPs"], rows), "", *costs]

    found = measured.found
    columns = (found.exit_accuracies, measured.exit_intervals, found.point.exit_shares)
    rows = [
        [
            name,
            f"`{each.after}`",
            f"{100 * accuracy:.2f} ({percent_span(interval.low, interval.high)})",
            f"{each.gflops:.4f}",
            f"{100 * rate:.1f}",
        ]
        for name, each, accuracy, interval, rate in zip(names, exits, *columns, strict=True)
    ]
    accuracy, gflops = found.accuracy_interval, found.gflops_interval
    return [
        *_text(
            f"On the {len(found.exit_indices):,} images of the split `{measured.split}` of "
            f"`{printable(measured.data)}`, with 95 % intervals over images:"
        ),
        "",
        *_text(
            f"**{100 * found.accuracy:.2f} %** ({percent_span(accuracy.low, accuracy.high)}) at **{found.gflops:.4f} "
            f"GFLOPs** per image ({span(gflops.low, gflops.high, 4)}) under the policy: {found.policy}."
        ),
        "",
        *_table(["exit", "after", "accuracy if all exited here (%)", "GFLOPs", "exit rate (%)"], rows),
        "",
        *costs,
    ]


def _arithmetic(manifest: Manifest) -> str:
    if manifest.quantization is None:
        return manifest.precision
    bits, floats = manifest.quantization["weight_bits"], len(manifest.quantization["float_layers"])
    weights = "weights of 8" if bits == 8 else f"weights of {bits} (of depthwise convolutions 8)"
    left = f" and {floats} of the convolutions" if floats else ""
    return f"int8 (activations of 8 bits, {weights}, per channel; what gives logits{left} in float32)"


def _beside_float32(int8: PrecisionComparison | None) -> list[str]:
    if int8 is None:
        return []
    rows = [
        [name, f"{100 * each.exact_accuracy:.2f}", points(each.difference), f"{100 * each.same_predictions.value:.1f}"]
        for name, each in named_predictions(int8)
    ]
    sentence = (
        "In float32 the same network, under the policy that was chosen there, gives on the same images (differences "
        "are paired, with 95 % intervals; GFLOPs count int8 and float32 operations alike):"
    )
    headers = ["exit", "float32 (%)", "int8 minus float32 (points)", "same predictions (%)"]
    return ["", *_text(sentence), "", *_table(headers, rows)]


def _training(model: TrainedModel) -> list[str]:
    names = sorted({Path(each.data.path).name for each in _members(model)})
    images = "" if model.seen is None else f"; {len(model.seen.trained):,} different training images"
    items = [
        f"**Data:** {' and '.join(f'`{printable(name)}`' for name in names)}, {len(model.classes)} classes{images}"
    ]
    for index, each in enumerate(_members(model)):
        train = each.train
        epochs = train.epochs if model.members else model.epoch
        lead = f"Member {index + 1}" if model.members else "Training"
        items.append(
            f"**{lead}:** {each.model.backbone}, {_counted(epochs, 'epoch')} at {each.data.input_size} px, batches of "
            f"{train.batch_size}, {train.optimizer.name}, seed {train.seed_text}; {_start(each)}"
        )
    return _items(*items)


def _start(config: RunConfig) -> str:
    weights = config.model.weights
    if weights is None:
        return "from random weights"
    return (
        "from weights pre-trained on ImageNet" if weights == "imagenet" else f"from the weights of `{_name(weights)}`"
    )


def _limits(saved: SavedPolicy, measured: MeasuredExits | None) -> list[str]:
    tested = "Nothing here says on which images it was tested"
    if measured is not None:
        tested = f"It was tested on no other images than those of `{printable(measured.data)}`"
    calibrated = "Confidences are the network's own, and were not calibrated"
    if saved.policy.temperatures is not None:
        calibrated = "Confidences are calibrated by a temperature for each exit"
    return _items(
        f"{tested}; on images of another kind (other cameras, sizes, lighting, damage) accuracy and exit rates will "
        "differ, and it is not known how much.",
        f"{calibrated}; thresholds and confidences mean what they say only on images like those they were chosen on.",
        "It knows its own classes alone: an image of anything else is given one of them, perhaps with confidence.",
        "Each image is predicted by itself: what else is in the batch changes its result by rounding only.",
        "It was not examined for bias, for attacks, or for any use where a wrong prediction does harm.",
    )


def _licences(model: TrainedModel) -> list[str]:
    text = (
        "The weights and the data that they were trained on have licences of their own, which this folder does not "
        "record: ask whoever gave you the weights, and the source of the data. The runner is part of greenedge (MIT)."
    )
    starts = {each.model.weights for each in _members(model)}
    if "imagenet" in starts:
        text += (
            " The training began with weights pre-trained on ImageNet, as torchvision or timm distribute them under "
            "licences of their own; ImageNet's terms of access allow non-commercial research and education."
        )
    others = sorted(f"`{_name(each)}`" for each in starts - {None, "imagenet"} if each)
    if others:
        text += f" The training began with the weights of {', '.join(others)}, whose own origin is not recorded here."
    return _text(text)


def _provenance(manifest: Manifest, parity: ParityReport) -> list[str]:
    where = {"random": "images made from a seed", "val": "validation images"}.get(parity.source, "calibration images")
    versions = ", ".join(f"{name} {number}" for name, number in manifest.versions.items())
    return _items(
        f"**Parity:** on {parity.images} {where}, the logits differ from the network's by at most "
        f"{parity.relative:.1g} of their scale (allowed: {parity.tolerance:g}); "
        f"{100 * parity.equal_predictions:.4g} % of the predictions and {100 * parity.equal_exits:.4g} % of the exits "
        "are equal (`parity.json`)",
        f"**Weights:** SHA-256 `{manifest.weights or 'unknown'}`",
        f"**Made with:** {versions}",
        "**To verify this folder:** `greenedge export --check FOLDER`",
    )


def _configuration(model: TrainedModel) -> list[str]:
    texts = model.checkpoint.info.members or (model.checkpoint.info.config,)
    lines = ["As it was trained; of absolute paths, the last name is left."]
    for text in texts:
        lines += ["", "```yaml", shortened_paths(text).replace("```", "'''").rstrip(), "```"]
    return lines


def _text(paragraph: str) -> list[str]:
    return textwrap.wrap(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)


def _items(*texts: str) -> list[str]:
    return [line for text in texts for line in wrap(f"- {text}")]


def _backbone(model: TrainedModel) -> str:
    return "the last member's backbone" if model.members else "the backbone"


def _members(model: TrainedModel) -> tuple[RunConfig, ...]:
    return model.members or (model.config,)


def _name(path: str) -> str:
    return printable(Path(path).name)


def _numbers(values: Sequence[float]) -> str:
    return f"({', '.join(f'{each:g}' for each in values)})"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count or 'no'} {noun}s"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headers, ["---"] * 2 + ["--:"] * (len(headers) - 2), *rows]
    return [f"| {' | '.join(each)} |" for each in lines]
