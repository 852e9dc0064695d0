"""Every shipped config, and the README's commands."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from greenedge.cli.main import app
from greenedge.config.shipped import shipped_configs
from greenedge.cost.flops import count_costs
from greenedge.data.prepare import prepare
from greenedge.data.synth import SynthOptions, synthesize
from greenedge.models.build import build_model
from greenedge.training.configs import read_config
from greenedge.workflows.train import train
from tests.conftest import REPOSITORY

CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))


def names(path: Path) -> str:
    return path.relative_to(REPOSITORY / "configs").as_posix()


@pytest.mark.parametrize("path", CONFIGS, ids=names)
def test_a_shipped_config_says_its_command_first(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first == f"# greenedge train --config configs/{names(path)}"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images enough for the calibration split of every shipped config: 30 of each of 3 classes."""
    base = tmp_path_factory.mktemp("generated")
    synthesize(base / "source", SynthOptions(classes=3, per_class=30, val_per_class=4))
    prepare([base / "source"], base / "data")
    return base / "data"


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=names)
def test_a_shipped_config_trains_with_its_shipped_values(path: Path, generated: Path, tmp_path: Path) -> None:
    """But for the length, the images, and weights and classifiers that are not to be had offline."""
    few = [f"data.path={generated}", "data.train_fraction=0.4", "train.epochs=1"]
    settings = [*few, "model.weights=null", "model.classifier=new"]
    outcome = train(path, settings, tmp_path / "run")
    assert len(outcome.history) == 1
    shipped, run = read_config(path), read_config(outcome.out / "config.yaml")
    assert (run.augment, run.sweep, run.train.batch_size) == (shipped.augment, shipped.sweep, shipped.train.batch_size)
    assert run.data.calibration_per_class == shipped.data.calibration_per_class
    assert (outcome.out / "best.safetensors").exists()
    shutil.rmtree(outcome.out)  # a VGG leaves 2 GB


@pytest.mark.parametrize("path", CONFIGS, ids=names)
def test_early_exits_of_a_shipped_config_cost_less_than_the_plain_network(path: Path) -> None:
    config = read_config(path)
    torch.manual_seed(0)
    cost = count_costs(build_model(config, 200))
    if config.model.exits:
        assert cost.exits[0].gflops < cost.plain_gflops
    else:
        assert [exit.gflops for exit in cost.exits] == [cost.plain_gflops]


_GUIDES = ("tutorial", "data", "speed", "networks")
_DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(f"docs/{name}.md" for name in _GUIDES))


def documented_commands() -> list[str]:
    blocks = [
        block
        for document in _DOCUMENTS
        for block in re.findall(r"```sh\n(.*?)```", (REPOSITORY / document).read_text(), flags=re.DOTALL)
    ]
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


@pytest.mark.parametrize("command", documented_commands())
def test_documents_name_commands_options_and_configs_that_exist(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *arguments = shlex.split(command.rpartition("| ")[2])  # what comes before a pipe is the shell's
    if program != "greenedge":
        assert program == "pip" or (REPOSITORY / program).is_file()
        return
    words = [word for word in arguments[:2] if not word.startswith("-")]
    group = words if words[0] in ("data", "list", "configs", "config", "augment", "labels") else words[:1]
    app([*group, "--help"], standalone_mode=False)
    shown = capsys.readouterr().out
    for argument, value in itertools.zip_longest(arguments, arguments[1:]):
        if argument.startswith("--"):
            assert argument in shown
        if argument == "--config" and not value.endswith(".yaml"):
            assert value in shipped_configs()
