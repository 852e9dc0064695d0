"""`greenedge place` on a small trained run, and the training that its config starts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from greenedge.cost.flops import count_costs
from greenedge.models.multi_exit import MultiExitNetwork
from greenedge.reporting.page.kept import KeptPlacement, read_kept
from greenedge.training.candidates import candidate_network
from greenedge.training.configs import read_config
from greenedge.training.trained import load_model
from greenedge.workflows.train import train
from tests.cli.conftest import RECIPE, Cli
from tests.cli.helpers import with_calibration

LINEAR = ["--head", "linear"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("run")
    text = RECIPE.replace("backbone: resnet18", "backbone: timm/test_resnet").replace("per_class: 2", "per_class: 6")
    (folder / "base.yaml").write_text(text.format(data=prepared))
    train(folder / "base.yaml", ["train.epochs=1"], folder / "run")
    return folder / "run"


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Eighteen calibration images are enough, but for the tests of that rule."""
    if "too_few" not in request.node.name:
        monkeypatch.setattr("greenedge.exits.placement.MIN_IMAGES", 18)


def test_place_writes_what_it_shows(cli: Cli, run: Path, tmp_path: Path) -> None:
    arguments = ["place", "--weights", run, "--max-exits", "2", *LINEAR, "--out", tmp_path]
    result = cli(*arguments, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.raw)
    assert found == json.loads((tmp_path / "place.json").read_text())
    kept = read_kept(tmp_path / "place.json", KeptPlacement)  # as a report reads it
    assert kept is not None
    assert [each.after for each in kept.blocks] == [each["after"] for each in found["blocks"]]
    assert (found["images"], found["train_images"], found["head"]) == (18, 18, "linear")
    assert 1 <= len(found["chosen"]["after"]) <= 2
    with Image.open(tmp_path / "place.png") as figure:
        assert figure.width > 500
    rows = list(csv.DictReader((tmp_path / "place.csv").read_text().splitlines()))
    assert [row["after"] for row in rows] == [block["after"] for block in found["blocks"]]
    assert [row["after"] for row in rows if row["chosen"] == "True"] == found["chosen"]["after"]
    network = load_model(run / "best.safetensors").network
    assert [row["after"] for row in rows] == [name for name, _ in network.blocks][:-1]

    again = cli(*arguments)
    assert again.code == 0
    assert "probes of these weights on these images are kept there; the network need not run" in again.err
    assert "chosen: " in again.out
    assert "config that trains the heads" in again.out


def test_place_config_trains_the_heads_it_chose(cli: Cli, run: Path, tmp_path: Path) -> None:
    found = json.loads(cli("place", "--weights", run, "--max-exits", "1", *LINEAR, "--out", tmp_path, "--json").raw)
    config = read_config(tmp_path / "place.yaml")
    assert [exit.after for exit in config.model.exits] == found["chosen"]["after"]
    result = cli("train", "--config", tmp_path / "place.yaml", "--out", tmp_path / "heads", "--set", "train.epochs=1")
    assert result.code == 0, result.err
    former, ours = load_file(run / "best.safetensors"), load_file(tmp_path / "heads" / "last.safetensors")
    assert all(torch.equal(each, ours[name]) for name, each in former.items() if name.startswith("backbone."))
    assert any(name.startswith("heads.0.") for name in ours)


def test_place_keeps_within_a_budget(cli: Cli, run: Path, tmp_path: Path) -> None:
    arguments = ["place", "--weights", run, *LINEAR, "--out", tmp_path, "--json"]
    plain = json.loads(cli(*arguments, "--max-exits", "1").raw)["plain_gflops"]
    found = json.loads(cli(*arguments, "--budget", 0.8 * plain).raw)
    assert found["goal"] == {"budget_gflops": 0.8 * plain, "max_exits": 3}
    cheapest = min(block["alone_gflops"] for block in found["blocks"])
    result = cli(*arguments, "--budget", 0.9 * cheapest)
    assert result.code == 2
    assert f"no exit keeps within {0.9 * cheapest:g} GFLOPs per image: the cheapest, after" in result.sentence


def test_candidate_network_costs_are_those_of_a_network_with_these_exits(run: Path) -> None:
    model = load_model(run / "best.safetensors")
    network = candidate_network(model, "light")
    costs = {cost.after: cost for cost in count_costs(network).exits}
    assert len(costs) == len(network.blocks)
    own = model.cost.exits[0]  # a light head after layer1
    assert costs[own.after].alone_gflops == pytest.approx(own.alone_gflops)
    assert costs[model.cost.exits[-1].after].alone_gflops == pytest.approx(model.cost.plain_gflops)
    assert isinstance(network, MultiExitNetwork)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images)[-1], model.network(images)[-1])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "say what to place exits for: --budget GFLOPS, --max-exits NUMBER, or both"),
        (["--budget", "-1"], 2, "--budget must be a number of GFLOPs above 0, found -1"),
        (["--max-exits", "1", "--head", "lite"], 2, "--head: there is no 'lite'"),
    ],
)
def test_place_refuses_what_makes_no_sense(
    cli: Cli, run: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    result = cli("place", "--weights", run, "--out", tmp_path / "out", *arguments)
    assert result.code == code
    assert words in result.sentence
    assert not (tmp_path / "out").exists()


def test_place_with_too_few_images_says_so_at_once(cli: Cli, run: Path, tmp_path: Path) -> None:
    weights = with_calibration(run / "best.safetensors", tmp_path / "other" / "best.safetensors", 6)
    result = cli("place", "--weights", weights, "--max-exits", "1", *LINEAR)
    assert result.code == 2
    assert "18 calibration images are too few to place exits by, which takes 200; set more aside" in result.sentence
    assert [path.name for path in weights.parent.iterdir()] == ["best.safetensors"]
