from __future__ import annotations

import re
from pathlib import Path

import pytest

from greenedge.config import config_from_text
from greenedge.cost.flops import count_costs
from greenedge.data.layouts import ClassInfo
from greenedge.errors import ConfigError, UsageError
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.policy import ExitPolicy, SavedPolicy, write_policy
from greenedge.models.build import build_model
from greenedge.training.checkpoint import Checkpoint, CheckpointInfo
from greenedge.training.trained import TrainedModel
from greenedge.workflows.policies import PolicyOptions, resolve_policy

DIGEST = "0123" * 16
RECIPE = """\
data: {{path: unused, image_size: 32}}
model:
  backbone: resnet18
  exits: [{exits}]
train: {{epochs: 1}}
sweep: {{criterion: margin}}
"""


def model(*after: str) -> TrainedModel:
    exits = ", ".join(f"{{after: {block}, head: linear}}" for block in after)
    config = config_from_text(RECIPE.format(exits=exits), "config")
    classes = tuple(ClassInfo(name, name) for name in "abc")
    network = build_model(config, 3)
    info = CheckpointInfo(RECIPE.format(exits=exits), classes, 1, 32, cost=count_costs(network))
    return TrainedModel(Path("best.safetensors"), Checkpoint(network.state_dict(), info, DIGEST), config)


@pytest.fixture(scope="module")
def two_exits() -> TrainedModel:
    return model("layer1", "layer3")


@pytest.fixture(scope="module")
def no_exits() -> TrainedModel:
    return model()


def test_without_a_word_nothing_leaves_early_by_the_criterion_of_the_config(two_exits: TrainedModel) -> None:
    assert resolve_policy(two_exits, PolicyOptions()) == ExitPolicy("margin", (1.0, 1.0))


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
def test_never_is_never_by_any_criterion(two_exits: TrainedModel, criterion: str) -> None:
    policy = resolve_policy(two_exits, PolicyOptions(criterion=criterion))
    assert policy == ExitPolicy(criterion, (CRITERIA[criterion].never_exit_threshold,) * 2)


def test_one_threshold_is_shared_and_two_are_each_exits_own(two_exits: TrainedModel) -> None:
    for thresholds, expected in [((0.25,), (0.25, 0.25)), ((0.25, 0.75), (0.25, 0.75)), ((0.0,), (0.0, 0.0))]:
        options = PolicyOptions(thresholds=thresholds, criterion="entropy")
        assert resolve_policy(two_exits, options) == ExitPolicy("entropy", expected)


def test_a_number_of_thresholds_that_does_not_fit_is_refused(two_exits: TrainedModel) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_policy(two_exits, PolicyOptions(thresholds=(1, 2, 3)))
    assert str(caught.value) == (
        "3 thresholds were given; the network has 2 early exits, so give one for all, or one for each"
    )


def test_a_network_without_early_exits_has_nothing_to_decide(no_exits: TrainedModel) -> None:
    for thresholds in (None, (0.5,)):
        policy = resolve_policy(no_exits, PolicyOptions(thresholds=thresholds))
        assert policy == ExitPolicy("margin", ())
    with pytest.raises(UsageError, match="2 thresholds were given; the network has no early exit that could use them"):
        resolve_policy(no_exits, PolicyOptions(thresholds=(0.5, 0.5)))


def test_an_unknown_criterion_is_refused(two_exits: TrainedModel) -> None:
    for thresholds in (None, (1.0,), (1.0, 2.0)):
        with pytest.raises(ConfigError, match="there is no 'entropie'; did you mean 'entropy'"):
            resolve_policy(two_exits, PolicyOptions(thresholds=thresholds, criterion="entropie"))


def test_a_file_says_all_of_it(two_exits: TrainedModel, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    policy = ExitPolicy("entropy", (0.5, 1 / 3), (1.5, 2.5, 0.1))
    exits, digest = two_exits.exits, two_exits.digest
    for known_weights in (digest, ""):
        write_policy(path, SavedPolicy(policy, exits, known_weights))
        assert resolve_policy(two_exits, PolicyOptions(policy=path)) == policy


@pytest.mark.parametrize(
    "more", [{"thresholds": (0.5,)}, {"criterion": "entropy"}, {"thresholds": (1.0, 2.0), "criterion": "margin"}]
)
def test_nothing_else_may_be_said_beside_a_file(
    two_exits: TrainedModel, tmp_path: Path, more: dict[str, object]
) -> None:
    exits, digest = two_exits.exits, two_exits.digest
    write_policy(tmp_path / "policy.json", SavedPolicy(ExitPolicy("margin", (0.5, 0.5)), exits, digest))
    with pytest.raises(UsageError, match="--policy says criterion and thresholds itself"):
        resolve_policy(two_exits, PolicyOptions(tmp_path / "policy.json", **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("exits", "digest", "thresholds", "words"),
    [
        (("layer1.1", "layer4.1"), None, (0.5,), "has 1 thresholds, the network has 2 early exits; tune again"),
        (
            ("layer2.1", "layer3.1", "layer4.1"),
            None,
            (0.5, 0.5),
            "is for a network with exits after layer2.1, layer3.1, layer4.1, not layer1.1, layer3.1, layer4.1",
        ),
        (None, "0" * 64, (0.5, 0.5), "was chosen for other weights of this network; tune again"),
    ],
)
def test_the_policy_of_another_network_is_refused(
    two_exits: TrainedModel,
    tmp_path: Path,
    exits: tuple[str, ...] | None,
    digest: str | None,
    thresholds: tuple[float, ...],
    words: str,
) -> None:
    own_exits, own_digest = two_exits.exits, two_exits.digest
    path = tmp_path / "policy.json"
    write_policy(path, SavedPolicy(ExitPolicy("margin", thresholds), exits or own_exits, digest or own_digest))
    with pytest.raises(UsageError, match=re.escape(f"{path}: {words}")):
        resolve_policy(two_exits, PolicyOptions(policy=path))
