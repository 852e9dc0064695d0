"""The same ResNet-50 as others run it: what the engine is measured against."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor

from greenedge.models.entropy import entropy
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.models.paper import EarlyExitCustomNet64, EarlyExitCustomNet128

CLASSES = 200


def plain() -> Callable[[Tensor], object]:
    """torchvision's own network in float32."""
    network = torchvision.models.resnet50(num_classes=CLASSES).eval()

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            return network(images)

    return run


def careful(network: MultiExitNetwork, thresholds: tuple[float, ...]) -> Callable[[Tensor], object]:
    """What a careful user would write: float32, the survivors of each exit as one dense batch."""
    network.eval()

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            places = torch.arange(len(images))
            predictions = torch.empty(len(images), dtype=torch.int64)
            features = images
            for index, segment in enumerate(network.segments):
                features, logits = segment(features)
                if index == network.num_exits - 1:
                    predictions[places] = logits.argmax(1)
                    break
                leaves = entropy(logits) < thresholds[index]
                predictions[places[leaves]] = logits[leaves].argmax(1)
                places, features = places[~leaves], features[~leaves]
                if len(places) == 0:
                    break
            return predictions

    return run


def published(images: Tensor, image_size: int) -> Callable[[Tensor], object]:
    """The report's class in evaluation mode, with the threshold at which half of `images` leave at its first exit."""
    kind = EarlyExitCustomNet64 if image_size == 64 else EarlyExitCustomNet128
    network = kind("cpu", resnext=False).eval()
    with torch.inference_mode():
        network.T = float(entropy(network.exit1(network.f1(images))).median())

    def run(batch: Tensor) -> object:
        with torch.inference_mode():
            return network(batch)

    return run


def earlyon(images: Tensor) -> Callable[[Tensor], object] | None:
    """The package's ResNet-50 (exits after layer1, layer2, layer3), half of `images` sure enough at its first exit.

    Single images leave one by one; a batch leaves as a whole or not at all, as the package does it. None where it is
    not installed.
    """
    try:
        from earlyon.models.resnet_ee import resnet50_ee
    except ImportError:
        print("earlyon is not installed (pip install earlyon); it is left out", file=sys.stderr)
        return None
    network = resnet50_ee(CLASSES, pretrained=False).eval()
    net = network.backbone
    with torch.inference_mode():
        features = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(images)))))
        confidence = torch.softmax(network.exit_heads["e0"](features), dim=1).amax(dim=1)
    network.config.confidence_thresholds = [float(confidence.median()), 1.0, 1.0]

    def run(batch: Tensor) -> object:
        return network(batch) if len(batch) == 1 else network.forward_inference_batched(batch)

    return run
