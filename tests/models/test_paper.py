from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from greenedge.errors import CheckpointError
from greenedge.models.paper import EarlyExitCustomNet64, EarlyExitCustomNet128, translate_published
from tests.models.published import Published, answer_one_by_one, predictions_at, published, telling_thresholds


def some_images(count: int, size: int) -> Tensor:
    scale = torch.linspace(0.2, 3, count).view(-1, 1, 1, 1)
    return scale * torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def named_by_part(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`f1.4.0.x` -> `f1.layer1.0.x`: the other way in which such a file may name its tensors."""
    last = ("layer4", "avgpool")
    parts = {"f1": ("conv1", "bn1", "relu", "maxpool", "layer1"), "f2": ("layer2", "layer3")}
    parts |= {"f3": last, "exit3.0": last}
    renamed = {}
    for name, tensor in state.items():
        for prefix, names in parts.items():
            if name.startswith(f"{prefix}."):
                number, _, rest = name.removeprefix(f"{prefix}.").partition(".")
                name = f"{prefix}.{names[int(number)]}.{rest}"
        renamed[name] = tensor
    return renamed


@pytest.mark.parametrize(
    ("build", "resnext", "size"),
    [(EarlyExitCustomNet64, True, 64), (EarlyExitCustomNet64, False, 64), (EarlyExitCustomNet128, True, 128)],
)
def test_a_published_state_dict_loads_unchanged_and_predicts_the_same(
    build: Callable[..., nn.Module], resnext: bool, size: int
) -> None:
    theirs = published(resnext, size)
    ours = build("cpu", resnext=resnext)
    ours.load_state_dict(theirs.state_dict())
    ours.eval()
    images = some_images(8, size)
    logits = answer_one_by_one(theirs, images)
    routes = set()
    for threshold in telling_thresholds(logits):
        ours.T = threshold
        found = ours(images)
        assert found.dtype == torch.int64
        assert found.tolist() == predictions_at(logits, threshold)
        routes.add(tuple(found.tolist()))
    assert len(routes) > 2  # the threshold matters


def test_names_by_part_are_admitted_too() -> None:
    state = published().state_dict()
    ours = EarlyExitCustomNet64("cpu")
    ours.load_state_dict(named_by_part(state))
    assert all(torch.equal(tensor, state[name]) for name, tensor in ours.state_dict().items())
    assert translate_published(named_by_part(state)).tensors.keys() == translate_published(state).tensors.keys()


def test_the_names_of_the_state_dict_are_the_published_ones() -> None:
    ours, theirs = EarlyExitCustomNet64("cpu", True, 0.5).state_dict(), Published(resnext=True, size=64).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(ours[name].shape == theirs[name].shape for name in ours)


def test_training_mode_gives_the_logits_of_all_exits() -> None:
    network = EarlyExitCustomNet64("cpu", resnext=False)
    logits = network.train()(torch.zeros(2, 3, 64, 64))
    assert [tuple(each.shape) for each in logits] == [(2, 200)] * 3


def test_no_images_give_no_predictions() -> None:
    network = EarlyExitCustomNet64("cpu", resnext=False, T=1.0).eval()
    assert network(torch.zeros(0, 3, 64, 64)).tolist() == []


def test_translation_finds_out_network_and_size() -> None:
    for resnext, size, name in ((True, 64, "resnext50_32x4d"), (False, 128, "resnet50")):
        found = translate_published(Published(resnext, size).state_dict())
        assert (found.backbone, found.image_size) == (name, size)


def test_names_of_one_tensor_that_differ_are_refused() -> None:
    state = dict(Published(resnext=False, size=64).state_dict())
    state["f1.0.weight"] = state["f1.0.weight"] + 1
    with pytest.raises(CheckpointError, match=r"f1\.0\.weight differs from the same tensor under another of its names"):
        translate_published(state)


def test_other_state_dicts_are_refused() -> None:
    with pytest.raises(CheckpointError, match="is no state dict of the published networks"):
        translate_published({"model.conv1.weight": torch.zeros(1)})
