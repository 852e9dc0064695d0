"""Classifiers that are attached after a block.

A head is a function of the block's output shape (C, H, W) and the number of classes; options follow `*`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from greenedge.config.convert import Count
from greenedge.models.segments import Shape


def linear_head(shape: Shape, num_classes: int) -> nn.Module:
    """Global average pooling and a linear layer: the cheapest head there is.

    Args:
        shape: (C, H, W) of the block's output.
        num_classes: outputs.
    """
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(shape[0], num_classes))


def pooled_head(shape: Shape, num_classes: int, *, width: Count = 640) -> nn.Module:
    """A 1x1 convolution, global average pooling and a linear layer, as the classifiers of mobile networks.

    For late exits, whose features are nearly what the final classifier reads: some hundredths of what a 3x3
    convolution costs there. It does not depend on the size of the images.

    Args:
        shape: (C, H, W) of the block's output.
        num_classes: outputs.
        width: channels that are pooled.
    """
    layers = _conv_norm_relu(shape[0], width, kernel_size=1, stride=1)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))


def paper_head(shape: Shape, num_classes: int) -> nn.Module:
    """The head of the GreenEdge report (2024): two 3x3 convolutions with bias, then a linear layer over all pixels.

    The report defines it for 256 channels (256 -> 256, then 256 -> 256 with stride 2) and for 1024 (1024 -> 512 ->
    256, both stride 1). Here up to 256 channels keep their number and the second convolution has stride 2; more are
    halved (to no less than 256), then brought to 256, at full resolution.

    Args:
        shape: (C, H, W) of the block's output.
        num_classes: outputs.
    """
    channels, height, width = shape
    if channels <= 256:
        hidden, out, stride = channels, channels, 2
    else:
        hidden, out, stride = max(channels // 2, 256), 256, 1
    height, width = _strided(height, stride), _strided(width, stride)
    return nn.Sequential(
        nn.Conv2d(channels, hidden, kernel_size=3, padding=1),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, out, kernel_size=3, stride=stride, padding=1),
        nn.BatchNorm2d(out),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(out * height * width, num_classes),
    )


def light_head(
    shape: Shape, num_classes: int, *, width: Count = 128, max_width: Count = 256, grid: Count = 4
) -> nn.Module:
    """A short pyramid: narrow, then trade resolution for channels, then classify with the places kept apart.

    More than `width` channels are first narrowed to `width` by a 1x1 convolution. Then 3x3 convolutions of stride 2,
    each doubling the channels up to `max_width`, bring the features to at most `grid` x `grid` (at least one 3x3
    convolution in any case). The linear layer sees every place of that grid: pooling it away costs more accuracy
    than it saves energy.

    Args:
        shape: (C, H, W) of the block's output.
        num_classes: outputs.
        width: channels that the 3x3 convolutions start from.
        max_width: channels they grow to.
        grid: positions per side that the linear layer sees.
    """
    channels, height, spread = shape
    layers: list[nn.Module] = []
    if channels > width:
        layers += _conv_norm_relu(channels, width, kernel_size=1, stride=1)
        channels = width
    while True:
        stride = 2 if max(height, spread) > grid else 1
        out = max(channels, min(2 * channels, max_width))
        layers += _conv_norm_relu(channels, out, kernel_size=3, stride=stride)
        channels, height, spread = out, _strided(height, stride), _strided(spread, stride)
        if max(height, spread) <= grid:
            break
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * spread, num_classes))


def _conv_norm_relu(channels: int, out: int, kernel_size: int, stride: int) -> list[nn.Module]:
    padding = kernel_size // 2
    conv = nn.Conv2d(channels, out, kernel_size, stride=stride, padding=padding, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


def _strided(size: int, stride: int) -> int:
    """Pixels per side after a padded 3x3 convolution."""
    return (size + stride - 1) // stride


EXIT_HEADS: dict[str, Callable[..., nn.Module]] = {
    "light": light_head,
    "linear": linear_head,
    "paper": paper_head,
    "pooled": pooled_head,
}
