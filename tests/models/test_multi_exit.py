from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import Tensor, nn

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.errors import ConfigError
from greenedge.models.backbones import BACKBONES, build_backbone
from greenedge.models.exit_heads import EXIT_HEADS
from greenedge.models.multi_exit import MultiExitNetwork, build_network


def network(backbone: str, *after: str, head: str = "light", size: int = 32, classes: int = 5) -> MultiExitNetwork:
    torch.manual_seed(7)
    exits = tuple(ExitConfig(name, Component(head)) for name in after)
    return build_network(ModelConfig(backbone, exits=exits), classes, size)


def images(size: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def block_names(backbone: str) -> list[str]:
    with torch.device("meta"):
        return [name for name, _ in BACKBONES[backbone].blocks(build_backbone(backbone, 2))]


@pytest.mark.parametrize("backbone", ["resnet18", "vgg11_bn", "alexnet", "efficientnet_b0"])
def test_block_features_are_what_each_block_gives(backbone: str) -> None:
    model = network(backbone, *block_names(backbone)[1:3], size=64).eval()
    positions = range(len(model.blocks) - 1)
    with torch.no_grad():
        kept, logits = model.block_features(images(64), positions, lambda features: features.clone())
        features = images(64)
        for (_, block), found in zip(model.blocks, kept, strict=False):
            features = block(features.clone())
            assert torch.equal(found, features)
        assert torch.equal(logits, model(images(64))[-1])
    assert model.exit_positions == [1, 2]


@pytest.mark.parametrize("head", EXIT_HEADS)
@pytest.mark.parametrize("backbone", ["resnet18", "vgg11_bn", "alexnet", "efficientnet_b0"])
def test_an_exit_after_every_block_answers_and_learns(backbone: str, head: str) -> None:
    names = block_names(backbone)[:-1]
    model = network(backbone, *names, head=head, size=64)
    assert [segment.after for segment in model.segments[:-1]] == names
    logits = model(images(64))
    assert len(logits) == model.num_exits == len(names) + 1
    assert all(each.shape == (2, 5) for each in logits)
    torch.stack(logits).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert all(any(p.grad.any() for p in head.parameters()) for head in model.heads)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("backbone", "after"),
    [
        ("resnet18", ("layer1", "layer3")),
        ("efficientnet_b0", ("features.2", "features.5.1")),
    ],
)
def test_exits_change_neither_the_backbone_nor_its_final_answer(backbone: str, after: tuple[str, ...]) -> None:
    model = network(backbone, *after).eval()
    torch.manual_seed(7)
    plain = torchvision.models.get_model(backbone, weights=None, num_classes=5).eval()
    state = model.backbone.state_dict()
    assert [name for name, tensor in plain.state_dict().items() if not torch.equal(state[name], tensor)] == []
    with torch.no_grad():
        assert torch.equal(model(images(32))[-1], plain(images(32)))


def test_a_network_without_exits_is_torchvisions_also_in_training() -> None:
    model = network("efficientnet_b0")
    torch.manual_seed(7)
    plain = torchvision.models.get_model("efficientnet_b0", weights=None, num_classes=5)
    torch.manual_seed(1)
    (logits,) = model(images(32))
    torch.manual_seed(1)
    assert torch.equal(logits, plain(images(32)))


def test_the_state_dict_names_every_tensor_once() -> None:
    model = network("resnet18", "layer1")
    names = list(model.state_dict())
    assert [n.removeprefix("backbone.") for n in names if n.startswith("backbone.")] == list(
        torchvision.models.resnet18().state_dict()
    )
    assert all(n.startswith(("backbone.", "heads.0.")) for n in names)


def test_building_leaves_every_module_in_training_mode_and_all_statistics_fresh() -> None:
    model = network("resnet18", "layer1", "layer3.0")
    assert all(module.training for module in model.modules())
    means = [buffer for name, buffer in model.named_buffers() if name.endswith("running_mean")]
    assert means
    assert not any(mean.any() for mean in means)


def test_asking_exit_by_exit_gives_what_forward_gives_and_what_the_layers_give_by_hand() -> None:
    model = network("resnet18", "stem", "layer2").eval()
    net = model.backbone
    with torch.no_grad():
        batch = images(32)
        stem = net.maxpool(net.relu(net.bn1(net.conv1(batch))))  # type: ignore[operator]
        middle = net.layer2(net.layer1(stem))  # type: ignore[operator]
        pooled = net.layer4(net.layer3(middle)).mean(dim=(2, 3))  # type: ignore[operator]
        expected = [model.heads[0](stem), model.heads[1](middle), net.fc(pooled)]  # type: ignore[operator]
        logits = model(batch)
        features = batch
        for index, hand in enumerate(expected):
            features, here = model.segments[index](features)
            assert torch.equal(here, logits[index])
            torch.testing.assert_close(logits[index], hand)


@pytest.mark.parametrize(
    ("backbone", "stage", "block"),
    [
        ("resnet18", "layer1", "layer1.1"),
        ("resnet34", "layer3", "layer3.5"),
        ("efficientnet_b0", "features.4", "features.4.2"),
    ],
)
def test_a_stage_means_after_its_last_block(backbone: str, stage: str, block: str) -> None:
    model, same = network(backbone, stage), network(backbone, block)
    assert model.segments[0].after == block
    with torch.no_grad():
        for one, other in zip(model.eval()(images(32)), same.eval()(images(32)), strict=True):
            assert torch.equal(one, other)


def test_a_copy_works_and_is_independent() -> None:
    model = network("resnet18", "layer2").eval()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        before = torch.stack(model(images(32)))
        assert torch.equal(torch.stack(twin(images(32))), before)
        for parameter in twin.parameters():
            parameter.zero_()  # logits of the copy are all 0 if it runs its own weights
        assert not torch.stack(twin(images(32))).any()
        assert torch.equal(torch.stack(model(images(32))), before)
    twin.train()(images(32))
    assert not any(isinstance(m, nn.BatchNorm2d) and m.training for m in model.modules())


def test_the_small_stem_gives_the_first_head_more_pixels() -> None:
    exits = (ExitConfig("layer1", Component("paper")),)
    small = build_network(ModelConfig("resnet18", stem="small", exits=exits), 5, 32)
    assert small.heads[0][-1].in_features == 64 * 16 * 16  # type: ignore[index]
    assert small.eval()(images(32))[-1].shape == (2, 5)


@pytest.mark.parametrize(
    ("backbone", "after", "sentence"),
    [
        (
            "resnet18",
            ["layer1.2"],
            r"exits.0.after: there is no block 'layer1.2'; did you mean 'layer1.\d'\?",
        ),
        (
            "resnet18",
            ["layer1", "layr2"],
            r"exits.1.after: there is no block 'layr2'; did you mean 'layer2'\?",
        ),
        (
            "alexnet",
            ["qqq"],
            r"exits.0.after: there is no block 'qqq'; the blocks are features.1, .*features.12",
        ),
        ("resnet18", ["layer1"] * 2, r"exits.1.after: there is already an exit after 'layer1.1'; .*"),
        ("resnet18", ["layer1", "layer1.1"], r"exits.1.after: there is already an exit after 'layer1.1'; .*"),
        ("resnet18", ["layer2", "layer1"], r"exits.1.after: 'layer1' comes before the exit above it; .*"),
        ("resnet18", ["layer4"], r"exits.0.after: 'layer4' is the last block, where the final classifier .*"),
        ("efficientnet_b0", ["features.8"], r"exits.0.after: 'features.8' is the last block, .*"),
    ],
)
def test_an_impossible_exit_is_refused_in_one_sentence(backbone: str, after: list[str], sentence: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=rf"^{sentence}$"):
        network(backbone, *after, size=64)


@pytest.mark.parametrize(("backbone", "size"), [("alexnet", 16), ("vgg11", 16)])
def test_images_too_small_for_the_backbone_are_refused_in_one_sentence(backbone: str, size: int) -> None:
    sentence = rf"images of {size} px are too small for {backbone} \(.*\); raise data\.image_size"
    with torch.device("meta"), pytest.raises(ConfigError, match=rf"^{sentence}$"):
        network(backbone, size=size)
