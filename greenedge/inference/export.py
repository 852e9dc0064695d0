"""A network as files that run without greenedge: one graph a segment, one of the whole, and what a runner must know."""

from __future__ import annotations

import copy
import importlib.util
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from greenedge import __version__
from greenedge.config.records import RecordError, digest_of, parse_json
from greenedge.cost.flops import count_costs
from greenedge.data.layouts import ClassInfo
from greenedge.errors import UsageError
from greenedge.exits.confidence import CRITERIA, GAIN
from greenedge.exits.gain import gain_criterion
from greenedge.exits.policy import SavedPolicy, write_policy
from greenedge.files import write_bytes, write_json, write_text
from greenedge.inference.folding import fold_batch_norms
from greenedge.inference.member_graph import replace_member_inputs
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.segments import Segment

FORMAT = "greenedge-export/1"
MANIFEST, POLICY, RUNNER, RUNNER_CRITERIA = "manifest.json", "policy.json", "runner.py", "runner_criteria.py"
Kind = Literal["onnx", "torch"]

_SUFFIXES: dict[Kind, str] = {"onnx": ".onnx", "torch": ".pt2"}
_ONNX_BYTES = 2_000_000_000  # a protobuf message ends at 2 GiB
_EXAMPLES = 2  # images, since torch takes a batch of one for a constant


@dataclass(frozen=True)
class ExportMetadata:
    """What goes into a network and comes out of it, for those who have its graphs alone.

    Attributes:
        mean: of each channel, pixels in [0, 1]; subtracted.
        std: likewise; divided by.
        stored_size: pixels per side that images are cut to, before they are resized to the network's image size.
        classes: in the order of the logits.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    stored_size: int
    classes: tuple[ClassInfo, ...]


class _Chain(nn.Module):
    """Segments in a row, with the outputs that an exported graph has.

    Args:
        segments: each ends at an exit.
        hands_on: whether the last features are among the outputs.
    """

    def __init__(self, segments: Sequence[Segment], *, hands_on: bool) -> None:
        super().__init__()
        self.segments = nn.ModuleList(segments)
        self.hands_on = hands_on

    def forward(self, features: Tensor, former_logits: Tensor | None = None) -> tuple[Tensor, ...]:
        """The last features (N, C, H, W), if they are handed on, then the logits (N, classes) of each exit."""
        found = []
        images, logits = features, former_logits
        for segment in self.segments:
            features, logits = segment(images if segment.reads_images else features, logits)
            found.append(logits)
        return (features, *found) if self.hands_on else tuple(found)


@dataclass(frozen=True, eq=False)
class _Graph:
    """What becomes one file.

    Attributes:
        path: of the file.
        module: with no weights but those it uses.
        example: what it reads.
        reads: the names of that.
        gives: the names of its outputs.
    """

    path: Path
    module: nn.Module
    example: tuple[Tensor, ...]
    reads: tuple[str, ...]
    gives: tuple[str, ...]


def export_network(
    network: MultiExitNetwork, saved: SavedPolicy, metadata: ExportMetadata, folder: Path, kind: Kind
) -> None:
    """Writes a network's graphs, its policy and a manifest into a folder.

    `segment-0`, `segment-1`, ... read `features` (N, C, H, W), for the first of them normalised images, and give
    `next_features`, to be handed on, and `logits` (N, classes); the last gives logits alone. Where the manifest says
    `reads_images`, as it does for each member of a cascade, a segment reads the images again; where it says
    `reads_logits`, it also reads `former_logits` (N, classes), those of the exit before. `network` reads `images` and
    gives the logits of all exits. All are float32 with batch norms folded, for any N. ONNX comes with `runner.py`
    and `runner_criteria.py`, which predict under the policy and need neither torch nor greenedge.

    Costs in the manifest are those of the network; a runner adds what the policy itself costs, `ExitPolicy.own_gflops`,
    so that another policy may take its place.

    Args:
        network: in any mode, on any device; it is not changed.
        saved: when images exit, how that was chosen, and which network it is for.
        metadata: of inputs and outputs, for the manifest.
        folder: exists; files of these names are replaced.
        kind: `onnx`, or `torch` for programs of `torch.export`.

    Raises:
        UsageError: a package is missing, the network is too large for the format, or the policy was chosen in bf16.
        OSError: a file cannot be written.
    """
    check_exporter(kind)
    if saved.policy.precision not in (None, "float32"):
        raise UsageError(
            f"the policy was chosen in {saved.policy.precision}, and exported graphs run in float32, where other "
            "images would exit; tune again with --precision float32"
        )
    gflops = [cost.gflops for cost in count_costs(network).exits]
    graphs = _graphs(network, folder, _SUFFIXES[kind])
    if kind == "onnx":
        _check_size(graphs[-1])
    for graph in graphs:
        write_bytes(graph.path, _CONTENT[kind](graph))
    if kind == "onnx":
        for name, source in ((RUNNER, "onnx_runner.py"), (RUNNER_CRITERIA, RUNNER_CRITERIA)):
            write_text(folder / name, Path(__file__).with_name(source).read_text(encoding="utf-8"))
    write_policy(folder / POLICY, saved)
    files = [graph.path.name for graph in graphs]
    # In place of the features before it: each member of a cascade but the first.
    reads_again = [index > 0 and segment.reads_images for index, segment in enumerate(network.segments)]
    exits = [
        {"after": segment.after, "gflops": cost, "file": file}
        | ({"reads_images": True} if again else {})
        | ({"reads_logits": True} if segment.reads_logits else {})
        for segment, cost, file, again in zip(network.segments, gflops, files[:-1], reads_again, strict=True)
    ]
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "image_size": network.image_size,
        **asdict(metadata),
        "exits": exits,
        "network": files[-1],
        "files": {graph.path.name: digest_of(graph.path.read_bytes()) for graph in graphs},
        # Of every criterion, so that another policy of the same network can take the place of this one.
        "leaves_below": {name: each.exit_if_below for name, each in {**CRITERIA, GAIN: gain_criterion(())}.items()},
        "versions": {"greenedge": __version__, "torch": torch.__version__},
    }
    write_json(folder / MANIFEST, manifest, sealed=True)  # last: what has a manifest is complete


def is_export(folder: Path) -> bool:
    """Whether a folder holds an export, of this format or of whatever version."""
    try:
        manifest = parse_json((folder / MANIFEST).read_bytes())
    except (OSError, RecordError):
        return False
    return isinstance(manifest, dict) and str(manifest.get("format")).startswith("greenedge-export/")


def is_export_file(name: str) -> bool:
    """Whether a file of that name is one of an export's, and replaced by the next."""
    graphs = [f"{stem}{suffix}" for suffix in _SUFFIXES.values() for stem in ("segment-*", "network")]
    return any(fnmatchcase(name, pattern) for pattern in (MANIFEST, POLICY, RUNNER, RUNNER_CRITERIA, *graphs))


def check_exporter(kind: Kind) -> None:
    """Whether what writes this format is installed.

    Raises:
        UsageError: it is not.
    """
    needed = ("onnx", "onnxscript") if kind == "onnx" else ()
    if any(importlib.util.find_spec(name) is None for name in needed):
        raise UsageError("--format onnx needs onnx and onnxscript; pip install 'greenedge[onnx]'")


def _graphs(network: MultiExitNetwork, folder: Path, suffix: str) -> list[_Graph]:
    """What becomes files: each segment, then the whole."""
    own = copy.deepcopy(network).eval().requires_grad_(requires_grad=False).float().cpu()
    fold_batch_norms(own)
    replace_member_inputs(own.segments)

    graphs = []
    for index, segment in enumerate(own.segments):
        last = index == own.num_exits - 1
        gives: tuple[str, ...] = ("logits",) if last else ("next_features", "logits")
        module = _Chain([segment], hands_on=not last).eval()
        example = (_blank(segment), *segment.blank_logits(_EXAMPLES))
        reads = ("features", "former_logits")[: len(example)]
        graphs.append(_Graph(folder / f"segment-{index}{suffix}", module, example, reads, gives))

    whole = _Chain(own.segments, hands_on=False).eval()
    gives = tuple(f"logits_{index}" for index in range(own.num_exits))
    return [*graphs, _Graph(folder / f"network{suffix}", whole, (_blank(own.segments[0]),), ("images",), gives)]


def _blank(segment: Segment) -> Tensor:
    """What a segment reads."""
    return torch.zeros(_EXAMPLES, *segment.input_shape)


def _check_size(whole: _Graph) -> None:
    size = sum(tensor.nbytes for tensor in whole.module.state_dict().values())
    if size > _ONNX_BYTES:
        raise UsageError(
            f"{size / 1e9:.1f} GB of weights are more than the 2 GB that one ONNX file holds; use --format torch"
        )


def _onnx_content(graph: _Graph) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its insides
        program = torch.onnx.export(
            graph.module,
            graph.example,
            dynamo=True,
            dynamic_shapes=_dynamic_shapes(graph),
            input_names=graph.reads,
            output_names=graph.gives,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces of this machine
    # Not its own `save`, which puts more than 1.5 GB into a second file.
    content: bytes = program.model_proto.SerializeToString()
    return content


def _torch_content(graph: _Graph) -> memoryview:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its insides
        program = torch.export.export(graph.module, graph.example, dynamic_shapes=_dynamic_shapes(graph))
        # By way of memory: torch's own writer reports a full disk as an error of its program.
        content = io.BytesIO()
        torch.export.save(program, content)
    return content.getbuffer()


_CONTENT: dict[Kind, Callable[[_Graph], bytes | memoryview]] = {"onnx": _onnx_content, "torch": _torch_content}


def _dynamic_shapes(graph: _Graph) -> tuple[dict[int, torch.export.Dim], ...]:
    """Any number of images."""
    return ({0: torch.export.Dim("batch", min=1)},) * len(graph.reads)
