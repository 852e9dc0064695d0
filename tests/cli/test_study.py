"""`greenedge study` on two small runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from greenedge.workflows.train import train
from tests.cli.conftest import RECIPE, Cli


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> list[Path]:
    pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("runs")
    text = RECIPE.replace("backbone: resnet18", "backbone: timm/test_resnet").replace("head: light", "head: linear")
    (folder / "base.yaml").write_text(text.format(data=prepared))
    train(folder / "base.yaml", ["train.epochs=1", "model.exits=[]"], folder / "plain")
    train(folder / "base.yaml", ["train.epochs=1"], folder / "early")
    return [folder / "plain", folder / "early"]


def test_study_writes_what_it_shows(cli: Cli, runs: list[Path], tmp_path: Path) -> None:
    result = cli("study", *runs, "--out", tmp_path, "--images", 12, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.raw)
    assert found == json.loads((tmp_path / "study.json").read_text())
    assert (found["reference"], found["split"], found["images"]) == ("plain", "val", 12)
    plain, early = found["runs"]
    assert plain["similarity"] == pytest.approx([1] * len(found["blocks"]))
    assert [each["after"] for each in early["gradients"]] == ["layer1.0", "layer3.0", "layer4.0"]
    first = early["gradients"][0]
    assert [each is None for each in first["norms"]] == [name not in ("stem", "layer1.0") for name in found["blocks"]]
    told = json.loads(cli("eval", "--weights", runs[1] / "best.safetensors", "--json").raw)
    if told["images"] == 12:
        assert early["accuracy"] == pytest.approx([each["accuracy"] for each in told["exits"]])
    rows = list(csv.DictReader((tmp_path / "study.csv").read_text().splitlines()))
    assert len(rows) == 2 * len(found["blocks"])
    with Image.open(tmp_path / "study.png") as figure:
        assert figure.width > 900

    text = cli("study", *runs, "--out", tmp_path, "--images", 12)
    assert "linear CKA with plain after each block" in text.out
    assert "early: norm of each exit's gradient by block" in text.out
    assert max(map(len, text.raw.splitlines()[:-1])) <= 100


def test_study_refuses_what_it_cannot_compare(cli: Cli, runs: list[Path], weights: Path, tmp_path: Path) -> None:
    other = cli("study", runs[0], weights, "--out", tmp_path)
    assert other.code == 2
    assert "network 2 does not have the blocks of the first one" in other.sentence
    missing = cli("study", tmp_path / "none")
    assert missing.code == 1
    assert "none" in missing.sentence
    assert cli("study").code == 2
    assert not (tmp_path / "study.json").exists()
