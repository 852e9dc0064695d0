"""Times the engine against the paper's own class on validation images, with the same weights and thresholds.

`published` is `EarlyExitCustomNet64/128` in evaluation mode, float32, batches of 250, at one threshold after another;
`engine_float32` and `engine_auto` stream the same batches. In float32, predictions must be equal except for images
within 1e-4 of the threshold; how many differ in bf16 is printed. With `--export`, ONNX exports of the same weights, in
int8 perhaps, stream them at the same thresholds too. What each gets right is printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import harness
import numpy as np
import torch
from allocation import return_freed_memory
from torch import Tensor

from greenedge.data.loader import build_transform
from greenedge.data.prepared import open_prepared
from greenedge.device.memory import disable_malloc_trim
from greenedge.exits.policy import shared_policy
from greenedge.inference import Engine
from greenedge.inference.exported import ExportedNetwork
from greenedge.models.entropy import entropy
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.paper import EarlyExitCustomNet64, EarlyExitCustomNet128
from greenedge.training.trained import load_model
from greenedge.workflows.models import ExportedModel, open_model

BATCH = 250


def main() -> None:
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("--weights", type=Path, required=True, help="a checkpoint with the paper's exits and heads")
    parser.add_argument("--data", type=Path, required=True, help="a prepared data set")
    parser.add_argument("--thresholds", default="0.63,2,3.26", help="entropies in nats")
    parser.add_argument("--export", type=Path, action="append", default=[], help="an ONNX export of the weights")
    parser.add_argument("--images", type=int, default=10_000, help="number of validation images, from the first")
    options = parser.parse_args()

    model = load_model(options.weights)
    split = open_prepared(options.data).split("val")
    rows = split.rows[: options.images]
    pixels, labels = torch.from_numpy(split.read(rows)), torch.from_numpy(split.labels[rows])
    transform = build_transform(model.config.data, channels_last=False)
    batches = [transform(batch) for batch in pixels.split(BATCH)]
    network = model.network
    exported = dict(map(open_export, options.export))
    theirs = published(network, resnext="resnext" in model.config.model.backbone)

    contests = []
    predictions: dict[str, Tensor] = {}
    for threshold in map(float, options.thresholds.split(",")):
        policy = shared_policy("entropy", threshold, 2)
        engines = {f"engine_{p}/T{threshold:g}": Engine(network, policy, precision=p) for p in ("float32", "auto")}
        engines |= {f"{name}/T{threshold:g}": Engine(backend, policy) for name, backend in exported.items()}
        for engine in engines.values():
            engine.autotune()
        theirs.T = threshold
        published_name = f"published/T{threshold:g}"
        contenders = {published_name: lambda: run_published(theirs, batches)}
        contenders |= {name: lambda engine=engine: run_engine(engine, batches) for name, engine in engines.items()}
        recording = {
            name: lambda name=name, run=run: predictions.update({name: run()}) for name, run in contenders.items()
        }
        memory = {n: return_freed_memory if n == published_name else disable_malloc_trim for n in contenders}
        contests.append(harness.time_interleaved(recording, options.rounds, memory))

        near = near_threshold(network, batches, threshold)
        for name in engines:
            compare(name, predictions[published_name], predictions[name], near)
        for name, found in predictions.items():
            if name.endswith(f"/T{threshold:g}"):
                print(f"{name}: {100 * (found == labels).float().mean():.2f} % right", file=sys.stderr)
    harness.report(*contests, images=len(pixels), as_json=options.json)


def open_export(folder: Path) -> tuple[str, ExportedNetwork]:
    """The name and the segments of an export, in ONNX Runtime."""
    export = open_model(folder)
    assert isinstance(export, ExportedModel)
    return f"onnxruntime_{export.manifest.precision}", export.backend


def published(network: MultiExitNetwork, *, resnext: bool) -> torch.nn.Module:
    """Builds the paper's class with the same weights."""
    kind = EarlyExitCustomNet64 if network.image_size == 64 else EarlyExitCustomNet128
    theirs = kind("cpu", resnext=resnext).eval()
    backbone = network.backbone.state_dict()
    theirs.exit3[2].load_state_dict({name: backbone.pop(f"fc.{name}") for name in ("weight", "bias")})
    theirs.model.load_state_dict(backbone, strict=False)  # all but its own fc, which is not used
    theirs.exit1.load_state_dict(network.heads[0].state_dict())
    theirs.exit2.load_state_dict(network.heads[1].state_dict())
    return theirs


def run_published(theirs: torch.nn.Module, batches: list[Tensor]) -> Tensor:
    with torch.inference_mode():
        return torch.cat([theirs(batch) for batch in batches])


def run_engine(engine: Engine, batches: list[Tensor]) -> Tensor:
    return torch.cat([output.predictions for output in engine.stream(batches)])


def near_threshold(network: MultiExitNetwork, batches: list[Tensor], threshold: float) -> np.ndarray:
    """Marks the images whose entropy at an early exit lies within 1e-4 of the threshold, bool (N,)."""
    with torch.inference_mode():
        scores = torch.cat([torch.stack([entropy(each) for each in network(batch)[:2]], 1) for batch in batches])
    exits = scores < threshold
    first, second = exits[:, 0].float().mean(), (~exits[:, 0] & exits[:, 1]).float().mean()
    print(f"T {threshold:g}: exit rates of the early exits {100 * first:.1f} and {100 * second:.1f} %", file=sys.stderr)
    return ((scores - threshold).abs() < 1e-4).any(dim=1).numpy()


def compare(name: str, expected: Tensor, predictions: Tensor, near: np.ndarray) -> None:
    differ = (predictions != expected).numpy()
    print(
        f"{name}: {differ.sum()} of {len(differ)} predictions differ, {(differ & ~near).sum()} of them further than "
        "1e-4 from the threshold",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
