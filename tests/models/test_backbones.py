from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.errors import ConfigError
from greenedge.models.backbones import BACKBONES, build_backbone, find_family
from greenedge.models.catalog import BACKBONE_FAMILIES
from greenedge.models.exit_heads import EXIT_HEADS
from greenedge.models.multi_exit import build_network

RESNETS = [name for name in BACKBONES if name.startswith("resne")]
SMALLEST = ["mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "convnext_tiny", "densenet121"]
# Of families whose larger members take long, the smallest stand for the arithmetic, and all are cut.
COMPUTED = [
    name for name, family in BACKBONE_FAMILIES.items() if family in ("alexnet", "vgg", "resnet", "efficientnet")
]
COMPUTED += SMALLEST


def seeded(backbone: str, num_classes: int = 5) -> tuple[nn.Module, nn.Module]:
    """Ours and torchvision's, from the same seed."""
    torch.manual_seed(3)
    ours = build_backbone(backbone, num_classes)
    torch.manual_seed(3)
    return ours, torchvision.models.get_model(backbone, weights=None, num_classes=num_classes)


def images(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def run_blocks(backbone: str, net: nn.Module, features: Tensor) -> Tensor:
    family = find_family(backbone)
    for _, block in family.blocks(net):
        features = block(features)
    logits: Tensor = family.classifier(net)(features)
    return logits


@pytest.mark.parametrize("backbone", COMPUTED)
def test_a_backbone_is_torchvisions_bit_for_bit_also_block_by_block(
    backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backbone.startswith("vgg"):  # which draws its large matrices twice, and only the second time counts
        monkeypatch.setattr(nn.Linear, "reset_parameters", lambda _: None)
    ours, theirs = seeded(backbone)
    batch = images(64 if backbone == "alexnet" else 32)
    state, expected_state = ours.state_dict(), theirs.state_dict()  # live tensors, so also of what follows
    assert list(state) == list(expected_state)
    assert [name for name in state if not torch.equal(state[name], expected_state[name])] == []
    with torch.no_grad():
        # In training mode dropout and stochastic depth must draw the same numbers in the same order.
        torch.manual_seed(4)
        expected = theirs.train()(batch)
        torch.manual_seed(4)
        assert torch.equal(run_blocks(backbone, ours.train(), batch), expected)
        assert [name for name in state if not torch.equal(state[name], expected_state[name])] == []
        # In evaluation mode with the statistics that the pass before has left, which are the same in both.
        assert torch.equal(run_blocks(backbone, ours.eval(), batch), theirs.eval()(batch))


@pytest.mark.parametrize("backbone", SMALLEST)
def test_a_backbones_training_step_has_torchvisions_gradients_bit_for_bit(backbone: str) -> None:
    ours, theirs = seeded(backbone)
    for net, run in ((ours, lambda batch: run_blocks(backbone, ours, batch)), (theirs, theirs)):
        torch.manual_seed(4)
        net.train()
        run(images(64)).logsumexp(dim=1).sum().backward()
    gradients = dict(theirs.named_parameters())
    assert [n for n, p in ours.named_parameters() if not torch.equal(p.grad, gradients[n].grad)] == []  # type: ignore[arg-type]


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name not in COMPUTED])
def test_larger_members_are_cut_like_the_smallest(backbone: str) -> None:
    with torch.device("meta"):
        net = build_backbone(backbone, 5).eval()
        assert run_blocks(backbone, net, torch.zeros(1, 3, 64, 64)).shape == (1, 5)
    family = find_family(backbone)
    inside = [p for _, block in family.blocks(net) for p in block.parameters()]
    inside += family.classifier(net).parameters()
    assert sorted(map(id, inside)) == sorted(map(id, net.parameters()))


@pytest.mark.parametrize("backbone", SMALLEST)
def test_every_block_takes_every_head_at_32_pixels(backbone: str) -> None:
    names = [name for name, _ in find_family(backbone).blocks(build_backbone(backbone, 5))]
    for head in EXIT_HEADS:
        exits = tuple(ExitConfig(name, Component(head)) for name in names[:-1])
        with torch.device("meta"):
            network = build_network(ModelConfig(backbone, exits=exits), 5, 32).eval()
            assert [tuple(each.shape) for each in network(torch.zeros(2, 3, 32, 32))] == [(2, 5)] * len(names)


@pytest.mark.parametrize("backbone", ["convnext_tiny", "densenet121"])
def test_images_that_are_too_small_are_refused(backbone: str) -> None:
    with pytest.raises(ConfigError, match=rf"^images of 8 px are too small for {backbone} .*raise data.image_size$"):
        build_network(ModelConfig(backbone), 5, 8)


@pytest.mark.parametrize("backbone", ["alexnet", "vgg11_bn", "efficientnet_b0"])
def test_training_mode_is_random_where_the_network_is(backbone: str) -> None:
    ours = build_backbone(backbone, 5).train()
    batch = images(64)
    outputs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            outputs.append(run_blocks(backbone, ours, batch))
    assert not torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize(
    ("backbone", "names"),
    [
        ("alexnet", ["1", "2", "4", "5", "7", "9", "11", "12"]),
        ("vgg11", ["1", "2", "4", "5", "7", "9", "10", "12", "14", "15", "17", "19", "20"]),
        ("vgg11_bn", ["2", "3", "6", "7", "10", "13", "14", "17", "20", "21", "24", "27", "28"]),
        ("mobilenet_v3_small", [str(number) for number in range(13)]),
        (
            "convnext_tiny",
            f"0 1.0 1.1 1.2 2 3.0 3.1 3.2 4 {' '.join(f'5.{n}' for n in range(9))} 6 7.0 7.1 7.2".split(),
        ),
        (
            "efficientnet_b0",
            [
                "0",
                "1.0",
                "2.0",
                "2.1",
                "3.0",
                "3.1",
                "4.0",
                "4.1",
                "4.2",
                "5.0",
                "5.1",
                "5.2",
                "6.0",
                "6.1",
                "6.2",
                "6.3",
                "7.0",
                "8",
            ],
        ),
    ],
)
def test_plain_and_efficient_networks_are_cut_at_their_finest_natural_blocks(backbone: str, names: list[str]) -> None:
    blocks = find_family(backbone).blocks(build_backbone(backbone, 2))
    assert [name for name, _ in blocks] == [f"features.{name}" for name in names]


def test_regnets_and_densenets_are_cut_at_every_residual_block_and_dense_layer() -> None:
    names = [name for name, _ in find_family("regnet_y_400mf").blocks(build_backbone("regnet_y_400mf", 2))]
    blocks = [f"trunk_output.block{s}.block{s}-{n}" for s, depth in enumerate((1, 3, 6, 6), 1) for n in range(depth)]
    assert names == ["stem", *blocks]
    names = [name for name, _ in find_family("densenet121").blocks(build_backbone("densenet121", 2))]
    assert len(names) == 1 + 6 + 12 + 24 + 16 + 3
    assert names[:2] == ["stem", "features.denseblock1.denselayer1"]
    assert [name for name in names if "layer" not in name] == ["stem", *(f"features.transition{n}" for n in (1, 2, 3))]


@pytest.mark.parametrize(
    ("backbone", "depths"),
    [("resnet18", (2, 2, 2, 2)), ("resnet50", (3, 4, 6, 3)), ("resnet101", (3, 4, 23, 3))],
)
def test_resnets_are_cut_at_the_stem_and_every_residual_block(backbone: str, depths: tuple[int, ...]) -> None:
    blocks = find_family(backbone).blocks(build_backbone(backbone, 2))
    expected = [f"layer{stage}.{i}" for stage, depth in enumerate(depths, start=1) for i in range(depth)]
    assert [name for name, _ in blocks] == ["stem", *expected]


def test_blocks_hold_every_feature_parameter_once_and_nothing_of_their_own() -> None:
    for backbone in ("alexnet", "vgg11_bn", "resnet18", "efficientnet_b0", "mobilenet_v2", "mobilenet_v3_small"):
        net = build_backbone(backbone, 2)
        inside = [id(p) for _, block in find_family(backbone).blocks(net) for p in block.parameters()]
        outside = {id(p) for n, p in net.named_parameters() if n.startswith(("fc.", "classifier."))}
        assert len(inside) == len(set(inside))
        assert set(inside) == {id(p) for p in net.parameters()} - outside


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_classifier_name_is_the_layer_that_gives_the_logits(backbone: str) -> None:
    with torch.device("meta"):  # shapes only
        net = build_backbone(backbone, 7)
    layer = net.get_submodule(find_family(backbone).classifier_name)
    assert isinstance(layer, nn.Linear)
    assert layer.out_features == 7
    assert next(reversed(net.state_dict())) == f"{find_family(backbone).classifier_name}.bias"


@pytest.mark.parametrize("backbone", RESNETS)
def test_a_small_stem_keeps_all_pixels_and_all_else(backbone: str) -> None:
    with torch.device("meta"):
        net = build_backbone(backbone, 5, stem="small")
        usual = torchvision.models.get_model(backbone, weights=None, num_classes=5)
        (_, stem), (_, first), *_ = find_family(backbone).blocks(net)
        features = stem(torch.zeros(1, 3, 24, 24))
        assert features.shape == (1, 64, 24, 24)
        assert first(features).shape[-2:] == (24, 24)
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    usual_shapes = {name: tensor.shape for name, tensor in usual.state_dict().items()}
    assert shapes == usual_shapes | {"conv1.weight": (64, 3, 3, 3)}


def test_a_small_stem_is_initialised_like_every_other_convolution() -> None:
    torch.manual_seed(0)
    weight = build_backbone("resnet18", 5, stem="small").get_parameter("conv1.weight")
    fan_out = 64 * 3 * 3
    assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    assert weight.mean().item() == pytest.approx(0, abs=0.005)


def test_an_unknown_backbone_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"^backbone: there is no 'resnet81'; did you mean 'resnet18'\?$"):
        build_backbone("resnet81", 5)


def test_a_backbone_like_no_other_is_refused_with_all_names() -> None:
    with pytest.raises(ConfigError) as caught:
        find_family("zzzzzzzzzzzzz")
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in BACKBONES)


@pytest.mark.parametrize("backbone", ["alexnet", "vgg11", "efficientnet_b0", "densenet121"])
def test_a_small_stem_is_refused_where_there_is_none(backbone: str) -> None:
    with pytest.raises(ConfigError, match=rf"^stem: {backbone} has no small stem; only the ResNet family has$"):
        build_backbone(backbone, 5, stem="small")


@pytest.mark.parametrize("backbone", ["efficientnet_b0", "convnext_tiny"])
def test_stochastic_depth_is_what_torchvision_makes_of_it(backbone: str) -> None:
    for rate in (0.0, 0.6):
        ours = build_backbone(backbone, 5, stochastic_depth=rate)
        theirs = torchvision.models.get_model(backbone, num_classes=5, stochastic_depth_prob=rate)
        found, expected = (
            [each.p for each in net.modules() if isinstance(each, StochasticDepth)] for net in (ours, theirs)
        )
        assert found == expected
        assert max(found) == pytest.approx(rate, rel=0.1)
    assert len(found) > 10


@pytest.mark.parametrize("backbone", ["timm/test_resnet", "timm/test_efficientnet", "timm/test_vit"])
def test_stochastic_depth_of_timm_is_its_drop_path(backbone: str) -> None:
    pytest.importorskip("timm")
    size = {"image_size": 64} if backbone == "timm/test_vit" else {}
    net = build_backbone(backbone, 5, stochastic_depth=0.5, **size)
    assert max(getattr(each, "drop_prob", 0.0) or 0.0 for each in net.modules()) == pytest.approx(0.5, abs=0.13)
    plain = build_backbone(backbone, 5, stochastic_depth=0.0, **size)
    assert not any(getattr(each, "drop_prob", 0.0) for each in plain.modules())


def test_stochastic_depth_is_refused_where_there_is_none() -> None:
    with pytest.raises(
        ConfigError, match=r"^stochastic_depth: resnet18 is built without stochastic depth; leave it out$"
    ):
        build_backbone("resnet18", 5, stochastic_depth=0.2)


def test_a_network_without_stochastic_depth_trains_as_it_is_evaluated_but_for_its_norms() -> None:
    network = build_network(ModelConfig("efficientnet_b0", stochastic_depth=0.0), 5, 32).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout):
            module.eval()
    batch = images(32)
    with torch.no_grad():
        first = network(batch)[0]
        assert torch.equal(first, network(batch)[0])
        torch.testing.assert_close(network.eval()(batch)[0], first)
