"""Heads that see the logits of the exit before, against the same arithmetic by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from greenedge.api import create_model
from greenedge.config import Component, ExitConfig, ModelConfig
from greenedge.cost.flops import count_costs
from greenedge.cost.table import NetworkCost
from greenedge.errors import ConfigError
from greenedge.models.cascade import Cascade
from greenedge.models.gradients import HeadGradient
from greenedge.models.multi_exit import MultiExitNetwork, build_network
from tests.models.test_multi_exit import images

CLASSES = 5
LAYERS = ("layer1", "layer2", "layer3")


def network(*former: int, head: str = "light", trained: bool = True) -> MultiExitNetwork:
    """ResNet-18 with three early exits; `former` are those that see the logits of the exit before."""
    torch.manual_seed(7)
    exits = tuple(ExitConfig(name, Component(head), index in former) for index, name in enumerate(LAYERS))
    made = build_network(ModelConfig("resnet18", exits=exits), CLASSES, 32)
    if trained:
        for each in made.formers.values():
            nn.init.normal_(each.linear.weight)  # type: ignore[union-attr, arg-type]
    return made


def by_hand(model: MultiExitNetwork) -> list[Tensor]:
    """Logits of all exits: of the heads alone, then with those of the exit before, normalised by hand."""
    batch = images(32, 4)
    features, _ = model.block_features(batch, model.exit_positions, lambda each: each.clone())
    found = [head(each) for head, each in zip(model.heads, features, strict=True)]
    for index in range(1, len(found)):
        if str(index) in model.formers:
            before = found[index - 1].detach()
            centred = before - before.mean(dim=1, keepdim=True)
            normalised = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
            found[index] = found[index] + normalised @ model.formers[str(index)].linear.weight.T  # type: ignore[union-attr, operator]
    return found


@pytest.mark.parametrize("former", [(1,), (2,), (1, 2)])
def test_forward_with_former_logits_equals_a_computation_by_hand(former: tuple[int, ...]) -> None:
    model, plain = network(*former).eval(), network().eval()
    with torch.no_grad():
        *early, final = model(images(32, 4))
        expected, alone = by_hand(model), plain(images(32, 4))
    for index in range(3):
        torch.testing.assert_close(early[index], expected[index], rtol=1e-4, atol=1e-5)
        assert torch.equal(early[index], alone[index]) == (index not in former)
    assert torch.equal(final, alone[-1])


def test_former_logits_begin_as_a_network_without_them() -> None:
    model, plain = network(1, 2, trained=False).eval(), network().eval()
    own, theirs = model.state_dict(), plain.state_dict()
    assert set(own) - set(theirs) == {"formers.1.linear.weight", "formers.2.linear.weight"}
    assert all(torch.equal(own[name], each) for name, each in theirs.items())
    with torch.no_grad():
        for one, other in zip(model(images(32)), plain(images(32)), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("head_gradient", ["full", "equilibrium", "detached"])
def test_no_gradient_reaches_an_exit_through_former_logits(head_gradient: HeadGradient) -> None:
    """What exit 1 alone teaches: its own head, its former part, and the backbone, but nothing of exit 0."""
    model = network(1, 2).double().eval()
    model(images(32).double(), [1], head_gradient)[0].square().sum().backward()
    taught = {name.rpartition(".")[0] for name, each in model.named_parameters() if each.grad is not None}
    assert "formers.1.linear" in taught
    assert any(name.startswith("heads.1.") for name in taught)
    assert not any(name.startswith(("heads.0.", "heads.2.", "formers.2.")) for name in taught)
    # The backbone learns what the head's own features teach it: the logits of exit 0 are constants to it.
    twin = network(1, 2).double().eval()
    twin.segments[1].former.register_forward_pre_hook(lambda _, inputs: (inputs[0].clone().detach(),))  # type: ignore[union-attr]
    twin(images(32).double(), [1])[0].square().sum().backward()
    for one, other in zip(model.backbone_parameters(), twin.backbone_parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        assert one.grad is None or torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("exits", [(0, 1, 2, 3), (0, 2, 3), (1, 3), (1, 2)])
def test_equilibrium_scales_blocks_by_the_exits_whose_loss_counts(exits: tuple[int, ...]) -> None:
    """A head that runs for the sake of the next one alone does not count among the exits behind a block."""
    model = network(1, 2).double().eval()

    def gradients(wanted: tuple[int, ...], mode: HeadGradient) -> Tensor:
        model.zero_grad()
        torch.stack([each.square().mean() for each in model(images(32).double(), wanted, mode)]).sum().backward()
        return model.backbone.conv1.weight.grad.clone()  # type: ignore[union-attr, operator]

    alone = [gradients((each,), "full") for each in exits]
    torch.testing.assert_close(gradients(exits, "full"), torch.stack(alone).sum(0))
    torch.testing.assert_close(gradients(exits, "equilibrium"), torch.stack(alone).mean(0))


@pytest.mark.parametrize("former", [(), (1,), (2,), (1, 2)])
@pytest.mark.parametrize("exits", [(2,), (1, 3), (0, 2), (3,)])
def test_forward_of_some_exits_gives_theirs_and_runs_no_head_in_vain(
    former: tuple[int, ...], exits: tuple[int, ...]
) -> None:
    model = network(*former).eval()
    needed = set(exits)
    for index in (2, 1):  # downwards, as exit 2 may need exit 1, and that exit 0
        needed |= {index - 1} if index in former and index in needed else set()
    ran: list[int] = []
    with torch.no_grad():
        whole = model(images(32))
        for index, head in enumerate(model.heads):
            head.register_forward_hook(lambda *_, index=index: ran.append(index))
        some = model(images(32), exits)
    assert ran == sorted(needed - {3})
    assert len(some) == len(exits)
    assert all(torch.equal(each, whole[index]) for each, index in zip(some, exits, strict=True))


def test_heads_that_see_former_logits_are_no_part_of_the_backbone_and_stay_float32() -> None:
    model = network(1)
    linear = model.formers["1"].linear
    assert not any(linear.weight is each for each in model.backbone_parameters())  # type: ignore[union-attr]
    assert linear in model.logit_layers()
    assert len(model.logit_layers()) == 5
    twin = copy.deepcopy(model)
    assert twin.segments[1].former is twin.formers["1"]
    assert twin.segments[1].former is not model.formers["1"]


def test_split_leaves_former_logits_to_the_part_that_ends_at_the_exit() -> None:
    model = network(2)
    parts = [part for segment in model.segments for part in segment.split()]
    assert [part.reads_logits for part in parts] == [part.exit_index == 2 for part in parts]


def test_count_costs_of_former_logits_equals_a_count_by_hand() -> None:
    classes = 200
    exits = [{"after": name, "former_logits": index > 0} for index, name in enumerate(LAYERS)]
    model = create_model("resnet18", exits, num_classes=classes, image_size=64)
    plain = create_model("resnet18", LAYERS, num_classes=classes, image_size=64)
    found, without = count_costs(model), count_costs(plain)
    # fvcore: four operations a number for a norm without weights.
    added = (classes * classes + 4 * classes) / 1e9
    assert [
        one.head_gflops - other.head_gflops for one, other in zip(found.exits, without.exits, strict=True)
    ] == pytest.approx([0, added, added, 0], abs=1e-12)
    assert [each.trunk_gflops for each in found.exits] == [each.trunk_gflops for each in without.exits]
    heads = [each.head_gflops for each in found.exits]
    blocks = [each.alone_gflops - each.head_gflops for each in without.exits]
    # An exit alone pays for the heads whose logits it sees; the final one sees none.
    sums = [heads[0], sum(heads[:2]), sum(heads[:3]), heads[3]]
    expected = [block + own for block, own in zip(blocks, sums, strict=True)]
    assert [each.alone_gflops for each in found.exits] == pytest.approx(expected)
    assert found.plain_gflops == pytest.approx(without.plain_gflops)
    assert found.exits[-1].parameters == sum(each.numel() for each in model.parameters())
    assert found.exits[-1].parameters - without.exits[-1].parameters == 2 * classes**2


def test_former_logits_of_the_first_exit_are_refused() -> None:
    with torch.device("meta"), pytest.raises(ConfigError) as raised:
        network(0)
    assert raised.value.key == "exits.0.former_logits"
    assert str(raised.value) == ("exits.0.former_logits: is true, and no exit comes before the first one; leave it out")


def test_a_cascade_hands_no_logits_from_member_to_member() -> None:
    """Each member's exits see former logits of their own, and the first of a later member sees none."""
    from greenedge.data.loader import InputTransform

    members = [network(1, 2).eval(), network(2).eval()]
    transform = InputTransform(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    cascade = Cascade(copy.deepcopy(members), [transform, transform], image_size=32)
    cascade.eval()
    assert [index for index, segment in enumerate(cascade.segments) if segment.reads_logits] == [1, 2, 6]
    batch = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        expected = [each for member in members for each in member((batch - 0.5) / 0.5)]
        for one, other in zip(cascade(batch), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        (some,) = cascade(batch, [6])
    torch.testing.assert_close(some, expected[6], rtol=1e-4, atol=1e-5)

    def alone(cost: NetworkCost) -> list[float]:
        return [each.alone_gflops for each in cost.exits]

    own = [cost for member in members for cost in alone(count_costs(member))]
    assert alone(count_costs(cascade)) == pytest.approx(own)
