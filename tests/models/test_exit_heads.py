from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from greenedge.config import Component, ExitConfig, ModelConfig, instantiate
from greenedge.errors import ConfigError
from greenedge.models.exit_heads import EXIT_HEADS, Shape
from greenedge.models.multi_exit import build_network

shapes = st.tuples(st.sampled_from([1, 3, 24, 64, 130, 256, 257, 300, 1024]), st.integers(1, 9), st.integers(1, 9))


def multiply_adds(head: nn.Module, shape: Shape) -> int:
    """Of the convolutions and the linear layer, by the textbook's formula."""
    _, height, width = shape
    total = 0
    for layer in head.children():
        if isinstance(layer, nn.Conv2d):
            (kernel, _), (stride, _), (padding, _) = layer.kernel_size, layer.stride, layer.padding  # type: ignore[misc]
            height = (height + 2 * padding - kernel) // stride + 1
            width = (width + 2 * padding - kernel) // stride + 1
            total += layer.in_channels * layer.out_channels * kernel * kernel * height * width
        elif isinstance(layer, nn.Linear):
            total += layer.in_features * layer.out_features
    return total


@pytest.mark.parametrize("name", EXIT_HEADS)
@settings(max_examples=25, deadline=None)
@given(shape=shapes, num_classes=st.integers(1, 9))
def test_every_head_fits_every_shape(name: str, shape: Shape, num_classes: int) -> None:
    with torch.device("meta"):  # shapes only
        head = EXIT_HEADS[name](shape, num_classes)
        assert head(torch.zeros(2, *shape)).shape == (2, num_classes)


@pytest.mark.parametrize(("image_size", "first", "second"), [(64, 16384, 4096), (128, 65536, 16384)])
def test_the_paper_heads_on_resnet50_are_the_published_ones(image_size: int, first: int, second: int) -> None:
    exits = (ExitConfig("layer1", Component("paper")), ExitConfig("layer3", Component("paper")))
    with torch.device("meta"):
        heads = build_network(ModelConfig("resnet50", exits=exits), 200, image_size).heads
    shapes = [{name: tuple(p.shape) for name, p in head.named_parameters()} for head in heads]
    for parameters, convs, inputs in (
        (shapes[0], ((256, 256, 3, 3), (256, 256, 3, 3)), first),
        (shapes[1], ((512, 1024, 3, 3), (256, 512, 3, 3)), second),
    ):
        assert (
            parameters
            == {  # positions 0, 1, 3, 4, 7 as in the published state dict
                "0.weight": convs[0],
                "0.bias": convs[0][:1],
                "1.weight": convs[0][:1],
                "1.bias": convs[0][:1],
                "3.weight": convs[1],
                "3.bias": convs[1][:1],
                "4.weight": convs[1][:1],
                "4.bias": convs[1][:1],
                "7.weight": (200, inputs),
                "7.bias": (200,),
            }
        )
    strides = [[layer.stride for layer in head if isinstance(layer, nn.Conv2d)] for head in heads]  # type: ignore[union-attr]
    assert strides == [[(1, 1), (2, 2)], [(1, 1), (1, 1)]]


def test_the_light_head_costs_at_most_a_third_of_the_papers() -> None:
    shape = (256, 16, 16)
    light, paper = (multiply_adds(EXIT_HEADS[name](shape, 200), shape) for name in ("light", "paper"))
    assert paper == 256 * 256 * 9 * (16 * 16 + 8 * 8) + 16384 * 200
    assert 3 * light <= paper


@settings(max_examples=40, deadline=None)
@given(shape=shapes, width=st.integers(1, 300), max_width=st.integers(1, 300), grid=st.integers(1, 6))
def test_the_light_head_keeps_to_its_limits(shape: Shape, width: int, max_width: int, grid: int) -> None:
    with torch.device("meta"):
        head = EXIT_HEADS["light"](shape, 3, width=width, max_width=max_width, grid=grid)
        *features, _, linear = head
        out = nn.Sequential(*features)(torch.zeros(2, *shape))
    convs = [layer for layer in head if isinstance(layer, nn.Conv2d)]
    assert max(out.shape[2:]) <= grid
    assert linear.in_features == out.shape[1] * out.shape[2] * out.shape[3]
    assert any(conv.kernel_size == (3, 3) for conv in convs)
    wide = [conv for conv in convs if conv.kernel_size == (3, 3)]
    assert all(conv.in_channels <= max(width, max_width) for conv in wide)
    assert all(conv.out_channels <= max(conv.in_channels, max_width) for conv in wide)
    assert all(conv.out_channels >= conv.in_channels for conv in wide)
    assert all(conv.bias is None for conv in convs)


def test_the_light_head_is_a_pyramid_by_default() -> None:
    convs = [layer for layer in EXIT_HEADS["light"]((256, 16, 16), 10) if isinstance(layer, nn.Conv2d)]  # type: ignore[attr-defined]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in convs] == [
        (256, 128, 1, 1),
        (128, 256, 3, 2),
        (256, 256, 3, 2),
    ]


def test_the_linear_head_is_one_matrix_on_the_mean_over_pixels() -> None:
    head = EXIT_HEADS["linear"]((6, 5, 4), 3)
    features = torch.randn(2, 6, 5, 4)
    weight, bias = head.parameters()
    expected = features.mean(dim=(2, 3)) @ weight.T + bias
    torch.testing.assert_close(head(features), expected)


def test_an_unknown_head_and_an_unknown_option_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"there is no 'lite'; did you mean 'light'\?"):
        instantiate(Component("lite"), EXIT_HEADS, (8, 4, 4), 3)
    with pytest.raises(ConfigError, match=r"light\.gird: unknown key; did you mean 'grid'\?"):
        instantiate(Component("light", {"gird": 3}), EXIT_HEADS, (8, 4, 4), 3)
    with pytest.raises(ConfigError, match=r"light\.grid: .*at least 1"):
        instantiate(Component("light", {"grid": 0}), EXIT_HEADS, (8, 4, 4), 3)
