"""A network as a folder that runs without greenedge: graphs, what a runner must know, and the runner itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from greenedge import __version__
from greenedge.config.records import digest_of
from greenedge.cost.flops import count_costs
from greenedge.data.layouts import ClassInfo
from greenedge.errors import UsageError
from greenedge.exits.confidence import CRITERIA, GAIN
from greenedge.exits.gain import gain_criterion
from greenedge.exits.policy import SavedPolicy, write_policy
from greenedge.files import write_bytes
from greenedge.inference.graphs import SUFFIXES, check_exporter, check_size, onnx_files, onnx_opset, torch_files
from greenedge.inference.manifest import (
    FORMAT,
    MANIFEST,
    POLICY,
    ExportedExit,
    ExportPrecision,
    Kind,
    Manifest,
    Preprocessing,
    write_manifest,
)
from greenedge.models.multi_exit import MultiExitNetwork

if TYPE_CHECKING:
    import onnx

RUNNER, PARITY, CARD = "runner.py", "parity.json", "README.md"

# What comes with ONNX graphs -> the file of this package that it is a copy of.
RUNNER_FILES = {RUNNER: "onnx_runner.py"} | {
    name: name for name in ("runner_criteria.py", "runner_files.py", "runner_images.py")
}


# What eval and sweep write beside the manifest.
_RESULTS = (
    "outputs-*.npz",
    "eval-*.json",
    "eval-*.csv",
    "predictions-*.csv",
    "sweep*.json",
    "sweep*.csv",
    "sweep*.png",
)


@dataclass(frozen=True)
class ExportMetadata:
    """What goes into a network and comes out of it, for those who have its graphs alone.

    Attributes:
        mean: of each channel, pixels in [0, 1]; subtracted.
        std: likewise; divided by.
        stored_size: pixels per side that images are cut to, before they are resized to the network's image size.
        classes: in the order of the logits.
        weights: SHA-256 of the checkpoint; empty where there is none.
        trained: that checkpoint's own metadata, texts by key.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stored_size: int
    classes: tuple[ClassInfo, ...]
    weights: str = ""
    trained: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedExport:
    """A network in 8 bits.

    Attributes:
        graph: as `onnx_graphs.whole_graph` makes it, quantised.
        record: how, and what that costs, for the manifest.
    """

    graph: onnx.ModelProto
    record: Mapping[str, Any]


def export_network(
    network: MultiExitNetwork,
    saved: SavedPolicy,
    metadata: ExportMetadata,
    folder: Path,
    kind: Kind,
    quantized: QuantizedExport | None = None,
) -> Manifest:
    """Writes a network's graphs, its policy and a manifest into a folder.

    `segment-0`, `segment-1`, ... read `features` (N, C, H, W), for the first of them normalised images, and give
    `next_features`, to be handed on, and `logits` (N, classes); the last gives logits alone. Where the manifest says
    `reads_images`, as it does for each member of a cascade, a segment reads the images again; where it says
    `reads_logits`, it also reads `former_logits` (N, classes), those of the exit before. `network` reads `images` and
    gives the logits of all exits. Batch norms are folded, and N is any number. Inputs and logits are float32; of a
    network in 8 bits, features between segments are integers. ONNX comes with `runner.py` and the files that it uses,
    which predict under the policy and need neither torch nor greenedge.

    Costs in the manifest are those of the network; a runner adds what the policy itself costs, `ExitPolicy.own_gflops`,
    so that another policy may take its place.

    Args:
        network: in any mode, on any device; it is not changed.
        saved: when images exit, how that was chosen, and which network it is for.
        metadata: of inputs and outputs, for the manifest.
        folder: exists; files of these names are replaced.
        kind: `onnx`, or `torch` for programs of `torch.export`.
        quantized: the network in 8 bits, for ONNX; None: in float32.

    Returns:
        The manifest, as it was written; `complete_export` adds what is known only of a folder that is whole.

    Raises:
        UsageError: a package is missing, the network is too large for the format, or the policy was chosen in another
            precision.
        OSError: a file cannot be written.
    """
    check_exporter(kind)
    if kind == "onnx":
        check_size(network)
    precision: ExportPrecision = "float32" if quantized is None else "int8"
    if saved.policy.precision not in (None, precision):
        raise UsageError(
            f"the policy was chosen in {saved.policy.precision}, and these graphs run in {precision}, where other "
            "images would exit; tune again with --precision float32"
        )
    gflops = [cost.gflops for cost in count_costs(network).exits]
    versions, files = _versions(kind), {}
    graphs = onnx_files(network, None if quantized is None else quantized.graph) if kind == "onnx" else None
    for name, content in graphs or torch_files(network):  # one at a time: all may not fit into memory
        write_bytes(folder / name, content)
        files[name] = digest_of(content)
        if kind == "onnx" and "opset" not in versions:  # all are cut from one graph
            versions["opset"] = onnx_opset(content)
    *segments, whole = files
    # In place of the features before it: each member of a cascade but the first.
    reads_again = [index > 0 and segment.reads_images for index, segment in enumerate(network.segments)]
    exits = [
        ExportedExit(segment.after, cost, file, again, segment.reads_logits)
        for segment, cost, file, again in zip(network.segments, gflops, segments, reads_again, strict=True)
    ]
    if kind == "onnx":
        for name, source in RUNNER_FILES.items():
            content = Path(__file__).with_name(source).read_bytes()
            write_bytes(folder / name, content)
            files[name] = digest_of(content)
    write_policy(folder / POLICY, saved)
    manifest = Manifest(
        format=FORMAT,
        kind=kind,
        precision=precision,
        image_size=network.image_size,
        preprocessing=Preprocessing(metadata.stored_size, metadata.mean, metadata.std),
        classes=metadata.classes,
        exits=tuple(exits),
        network=whole,
        files=files,
        # Of every criterion, so that another policy of the same network can take the place of this one.
        leaves_below={name: each.exit_if_below for name, each in {**CRITERIA, GAIN: gain_criterion(())}.items()},
        versions=versions,
        weights=metadata.weights,
        trained=dict(metadata.trained),
        quantization=None if quantized is None else dict(quantized.record),
    )
    write_manifest(folder, manifest)  # last: what has a manifest is complete
    return manifest


def complete_export(folder: Path, manifest: Manifest, texts: Mapping[str, str]) -> Manifest:
    """Writes further files of an export, such as its model card, and a manifest that knows them.

    Args:
        folder: of the export.
        manifest: of what is there.
        texts: name of the file -> content.

    Raises:
        OSError: a file cannot be written.
    """
    contents = {name: text.encode("utf-8") for name, text in texts.items()}
    for name, content in contents.items():
        write_bytes(folder / name, content)
    digests = {name: digest_of(content) for name, content in contents.items()}
    complete = replace(manifest, files={**manifest.files, **digests})
    write_manifest(folder, complete)
    return complete


def is_export_result(name: str) -> bool:
    """Whether a file of that name is what a command found of an export, which does not hold for the next one."""
    return any(fnmatchcase(name, pattern) for pattern in _RESULTS)


def is_export_file(name: str) -> bool:
    """Whether a file of that name is one of an export's, and replaced by the next."""
    graphs = [f"{stem}{suffix}" for suffix in SUFFIXES.values() for stem in ("segment-*", "network")]
    others = (MANIFEST, POLICY, PARITY, CARD, *RUNNER_FILES)
    return name in others or any(fnmatchcase(name, pattern) for pattern in graphs)


def _versions(kind: Kind) -> dict[str, str]:
    """Of what made the graphs."""
    found = {"greenedge": __version__, "torch": torch.__version__, "numpy": np.__version__}
    return found | ({name: version(name) for name in ("onnx", "onnxruntime")} if kind == "onnx" else {})
