"""Times the paper's eleven submitted points: one pass and arithmetic against one pass per point.

The network is ResNeXt-50 with the paper's exits, seven thresholds at 64 px and four at 128 px, random weights and
images. `one_pass_a_point` runs the paper's class at each threshold. `sweep_float32` and `sweep_auto` run each network
once, as `greenedge sweep --precision` does (an engine computes the logits of every exit), and sweep.
"""

from __future__ import annotations

import harness
import numpy as np
import torch
from allocation import return_freed_memory

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.data.layouts import ClassInfo
from greenedge.data.loader import InputTransform
from greenedge.data.prepared import PreparedSplit
from greenedge.device.memory import disable_malloc_trim
from greenedge.device.precision import Precision
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.outputs import ExitOutputs
from greenedge.exits.policy import shared_policy
from greenedge.exits.sweep import score_outputs, sweep_thresholds
from greenedge.inference import Engine
from greenedge.inference.collect import map_split
from greenedge.models.multi_exit import build_network
from greenedge.models.paper import EarlyExitCustomNet64, EarlyExitCustomNet128

THRESHOLDS = {64: (0, 0.63, 1.26, 2, 2.63, 3.26, 3.9), 128: (0, 0.63, 1.26, 2)}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("--images", type=int, default=500)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    count = options.images
    classes = tuple(ClassInfo(str(index), str(index)) for index in range(200))
    pixels = random.integers(0, 256, (count, 3, 64, 64), dtype=np.uint8)
    split = PreparedSplit("val", pixels, random.integers(0, 200, count), np.arange(count), classes)
    heads = tuple(ExitConfig(stage, Component("paper")) for stage in ("layer1", "layer3"))
    networks = {size: build_network(ModelConfig("resnext50_32x4d", exits=heads), 200, size) for size in THRESHOLDS}
    theirs = {64: EarlyExitCustomNet64("cpu").eval(), 128: EarlyExitCustomNet128("cpu").eval()}

    def sweep(precision: Precision) -> None:
        for size, thresholds in THRESHOLDS.items():
            engine = Engine(networks[size], shared_policy("entropy", None, 2), precision=precision)
            transform = InputTransform(size, MEAN, STD, channels_last=True)
            logits = map_split(engine.logits, split, transform, torch.device("cpu"))
            outputs = ExitOutputs(logits, split.labels, np.array([0.25, 0.56, 0.64]))
            assert len(sweep_thresholds(score_outputs(outputs, CRITERIA["entropy"]), thresholds)) == len(thresholds)

    def one_pass_a_point() -> None:
        for size, thresholds in THRESHOLDS.items():
            transform = InputTransform(size, MEAN, STD)
            for threshold in thresholds:
                theirs[size].T = threshold
                with torch.inference_mode():
                    for batch in torch.from_numpy(pixels).split(250):
                        theirs[size](transform(batch))

    contenders = {
        "sweep_float32": lambda: sweep("float32"),
        "sweep_auto": lambda: sweep("auto"),
        "one_pass_a_point": one_pass_a_point,
    }
    memory = {n: return_freed_memory if n == "one_pass_a_point" else disable_malloc_trim for n in contenders}
    harness.report(harness.time_interleaved(contenders, options.rounds, memory), as_json=options.json)


if __name__ == "__main__":
    main()
