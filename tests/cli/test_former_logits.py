"""`former_logits` from the config to checkpoints, later trainings and cascades."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from greenedge.data.loader import build_transform
from greenedge.training.trained import load_model
from greenedge.workflows.train import train
from tests.cli.conftest import RECIPE, Cli

TINY = RECIPE.replace("backbone: resnet18", "backbone: timm/test_resnet").replace("epochs: 2", "epochs: 1")
SEEING = (
    "model.exits=[{after: stem, head: linear}, {after: layer1, head: pooled}, "
    "{after: layer2, head: pooled, former_logits: true}]"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """A trained run, of which the third exit sees the logits of the second."""
    pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("former")
    (folder / "base.yaml").write_text(TINY.format(data=prepared))
    train(folder / "base.yaml", [SEEING, "train.epochs=2"], folder / "run")
    return folder / "run"


def logits_of(weights: Path, pixels: Tensor) -> Tensor:
    model = load_model(weights)
    with torch.no_grad():
        return torch.stack(model.network(build_transform(model.config.data, channels_last=False)(pixels)))


def test_former_logits_are_trained_and_kept_in_the_checkpoint(cli: Cli, base: Path, tmp_path: Path) -> None:
    state = load_file(base / "best.safetensors")
    assert [name for name in state if name.startswith("formers.")] == ["formers.2.linear.weight"]
    assert state["formers.2.linear.weight"].any()
    assert load_model(base / "best.safetensors").config.model.exits[2].former_logits
    result = cli("eval", "--weights", base / "best.safetensors", "--threshold", "0.6")
    assert result.code == 0, result.err


def test_former_logits_of_the_first_exit_are_refused_by_the_command(
    cli: Cli, tiny_config: Path, tmp_path: Path
) -> None:
    setting = ["--set", "model.exits.0.former_logits=true"]
    result = cli("train", "--config", tiny_config, *setting, "--out", tmp_path / "run")
    assert result.code == 2
    assert "model.exits.0.former_logits: is true, and no exit comes before the first one" in result.sentence
    assert not (tmp_path / "run").exists()


def test_heads_on_kept_features_with_former_logits_are_resumed_to_the_same_bits(
    cli: Cli, base: Path, prepared: Path, tmp_path: Path
) -> None:
    path = tmp_path / "heads.yaml"
    path.write_text(TINY.format(data=prepared))
    new = "model.exits=[{after: layer1, head: linear}, {after: layer2, head: linear, former_logits: true}]"
    settings = [
        new,
        "train.kept_features=1",
        "augment=[]",
        f"model.weights={base}",
        "train.objective=self_distillation",
    ]
    arguments = ["train", "--config", path, *(text for each in settings for text in ("--set", each))]
    assert cli(*arguments, "--set", "train.epochs=2", "--out", tmp_path / "whole").code == 0
    assert cli(*arguments, "--out", tmp_path / "parts").code == 0
    assert cli(*arguments, "--set", "train.epochs=2", "--out", tmp_path / "parts", "--resume").code == 0
    whole, parts = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert whole["formers.1.linear.weight"].any()


@pytest.mark.parametrize(
    ("exits", "loaded"),
    [
        (SEEING, "stem, layer1, layer2"),
        # Without the exit that it saw, or without seeing it, the last head is another one.
        ("model.exits=[{after: stem, head: linear}, {after: layer2, head: pooled, former_logits: true}]", "stem"),
        ("model.exits=[{after: layer1, head: linear}, {after: layer2, head: pooled, former_logits: true}]", None),
        ("model.exits=[{after: layer1, head: pooled}, {after: layer2, head: pooled}]", "layer1"),
        (
            "model.exits=[{after: layer1, head: pooled}, {after: layer2, head: pooled, former_logits: true}]",
            "layer1, l",
        ),
        # A head that saw nothing may begin to see.
        (
            "model.exits=[{after: stem, head: linear}, {after: layer1, head: pooled, former_logits: true}]",
            "stem, layer1",
        ),
    ],
)
def test_heads_come_along_with_the_former_logits_that_they_were_made_for(
    cli: Cli, base: Path, prepared: Path, tmp_path: Path, exits: str, loaded: str | None
) -> None:
    path = tmp_path / "second.yaml"
    path.write_text(TINY.format(data=prepared))
    still = ["--set", "train.optimizer={sgd: {lr: 1e-30}}", "--set", exits, "--set", f"model.weights={base}"]
    result = cli("train", "--config", path, *still, "--out", tmp_path / "run")
    assert result.code == 0, result.err
    assert ("all heads are new" if loaded is None else f"heads of exits {loaded}") in result.err
    first, second = load_file(base / "best.safetensors"), load_file(tmp_path / "run" / "last.safetensors")
    formers = [each for name, each in second.items() if name.startswith("formers.")]
    if loaded is not None and "layer1, l" in loaded:
        assert torch.allclose(formers[0], first["formers.2.linear.weight"])
    else:
        assert all(float(each.abs().max()) < 1e-9 for each in formers)


def test_cascade_keeps_an_exit_with_the_one_whose_logits_it_sees(
    cli: Cli, base: Path, prepared: Path, tmp_path: Path
) -> None:
    (tmp_path / "large.yaml").write_text(TINY.format(data=prepared).replace("image_size: 32", "image_size: 48"))
    train(tmp_path / "large.yaml", [], tmp_path / "large")
    pixels = torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8)
    stored = load_model(base / "best.safetensors").stored_size
    pixels = pixels[:, :, :stored, :stored]
    own = logits_of(base / "best.safetensors", pixels)
    blocks = load_model(base / "best.safetensors").exits

    for exits, kept in (("layer1,layer2", [1, 2, 3]), ("layer1", [1, 3]), ("stem", [0, 3]), ("final", [3])):
        out = tmp_path / exits
        result = cli("cascade", f"{base}:{exits}", tmp_path / "large", "--out", out)
        assert result.code == 0, result.err
        found = logits_of(out / "best.safetensors", pixels)
        torch.testing.assert_close(found[: len(kept)], own[kept], rtol=1e-3, atol=1e-4)

    for exits in ("layer2", "stem,layer2"):
        result = cli("cascade", f"{base}:{exits}", tmp_path / "large", "--out", tmp_path / "refused")
        assert result.code == 2
        assert (
            f"{base}:{exits}: the exit after {blocks[2]!r} sees the logits of the one after {blocks[1]!r}, which is "
            "left out; name both, or neither"
        ) in result.sentence
        assert not (tmp_path / "refused").exists()
