from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.conftest import REPOSITORY

RECIPE = REPOSITORY / "configs" / "resnet50-paper.yaml"
KEYS = {"after", "head", "trunk_gflops", "head_gflops", "gflops", "parameters"}


@pytest.fixture(scope="module")
def finished() -> subprocess.CompletedProcess[str]:
    """The command as its own process, so that nothing the libraries print escapes notice."""
    command = [sys.executable, "-m", "greenedge", "flops", "--config", str(RECIPE), "--classes", "200", "--json"]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)


@pytest.fixture
def report(finished: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    counted: dict[str, Any] = json.loads(finished.stdout)
    return counted


def test_json_is_all_that_is_printed(finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.stderr == ""
    assert finished.returncode == 0
    assert json.loads(finished.stdout)["image_size"] == 64


def test_every_exit_is_counted_and_the_final_one_is_last(report: dict[str, Any]) -> None:
    assert all(each.keys() >= KEYS for each in report["exits"])
    assert [(each["after"], each["head"]) for each in report["exits"]] == [
        ("layer1.2", "paper"),
        ("layer3.5", "paper"),
        ("layer4.2", "final"),
    ]


def test_cumulative_costs_are_the_sums_of_their_parts(report: dict[str, Any]) -> None:
    spent = trunk = 0.0
    for each in report["exits"]:
        trunk += each["trunk_gflops"]
        spent += each["trunk_gflops"] + each["head_gflops"]
        assert each["gflops"] == pytest.approx(spent, rel=1e-12)
        assert each["alone_gflops"] == pytest.approx(trunk + each["head_gflops"], rel=1e-12)
    assert report["plain_gflops"] == pytest.approx(trunk + report["exits"][-1]["head_gflops"], rel=1e-12)
    parameters = [each["parameters"] for each in report["exits"]]
    assert parameters == sorted(parameters)


def test_the_plain_network_has_the_documented_size(report: dict[str, Any]) -> None:
    documented = 25_557_032  # torchvision's ResNet-50, for 1000 classes
    assert report["plain_parameters"] == documented - 800 * (2048 + 1)
    assert report["exits"][-1]["parameters"] > report["plain_parameters"]


def test_twice_the_image_size_is_four_times_the_trunk(cli: Cli, report: dict[str, Any]) -> None:
    result = cli("flops", "--config", RECIPE, "--classes", 200, "--json", "--set", "data.image_size=128")
    assert (result.code, result.err) == (0, "")
    larger = json.loads(result.out)
    assert larger["image_size"] == 128
    for one, four in zip(report["exits"], larger["exits"], strict=True):
        assert four["trunk_gflops"] == pytest.approx(4 * one["trunk_gflops"], rel=1e-9)
        assert four["gflops"] > 3.9 * one["gflops"]


def test_the_table_says_what_is_not_counted(cli: Cli, report: dict[str, Any]) -> None:
    result = cli("flops", "--config", RECIPE, "--classes", 200)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "resnet50 with exits after layer1 (paper), layer3 (paper); 64 px, 200 classes"
    assert "fvcore has no count for: " in lines[-1]
    assert "add_ (16)" in lines[-1]  # ResNet-50 has 3 + 4 + 6 + 3 residual additions
    rows = {line.split("  ")[0]: line.split() for line in lines}
    for name, each in zip(("exit 1", "exit 2", "final exit"), report["exits"], strict=True):
        cumulative, alone, parameters = rows[name][-3:]
        assert cumulative == f"{each['gflops']:.4f}"
        assert alone == f"{each['alone_gflops']:.4f}"
        assert parameters.replace(",", "") == str(each["parameters"])
    assert rows["backbone without exits"][-2] == f"{report['plain_gflops']:.4f}"


def test_files_hold_what_is_printed(cli: Cli, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "costs"
    result = cli("flops", "--config", config, "--out", out, "--json")
    printed = json.loads(result.out)
    assert json.loads((out / "flops.json").read_text()) == printed
    with (out / "flops.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{key: str(value) for key, value in each.items()} for each in printed["exits"]]
    assert sorted(path.name for path in out.iterdir()) == ["flops.csv", "flops.json"]


def test_the_classes_are_the_data_sets_or_tinyimagenets_or_as_said(cli: Cli, config: Path) -> None:
    def counted(*arguments: object) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(cli("flops", "--config", config, "--json", *arguments).out)
        return report

    own, none, said = counted(), counted("--set", "data.path=nowhere"), counted("--classes", 17)
    assert [report["classes"] for report in (own, none, said)] == [3, 200, 17]
    assert said["plain_parameters"] - own["plain_parameters"] == 14 * (512 + 1)


def test_a_config_without_early_exits_is_the_plain_network(cli: Cli, config: Path) -> None:
    report = json.loads(cli("flops", "--config", config, "--json", "--set", "model.exits=[]").out)
    assert [each["after"] for each in report["exits"]] == ["layer4.1"]
    assert report["exits"][0]["gflops"] == report["plain_gflops"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "absent.yaml"], "absent.yaml: cannot be read"),
        (
            ["--config", RECIPE, "--set", "data.image_size=0"],
            "data.image_size: expected a number at least 8 and at most 2048, found 0",
        ),
        (["--config", RECIPE, "--set", "model.exits.0.after=layer9"], "there is no block 'layer9'"),
    ],
)
def test_what_cannot_be_counted_is_one_sentence(cli: Cli, arguments: list[object], words: str) -> None:
    result = cli("flops", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.sentence
