from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Cli

SHORT = ["--batches", "1,4", "--rounds", "1"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_three_contenders_are_timed_at_every_batch_size(cli: Cli, weights: Path) -> None:
    result = cli("bench", "--weights", weights, "--threshold", "1.05", *SHORT, "--json")
    assert result.code == 0
    report = json.loads(result.out)
    assert list(report["batches"]) == ["1", "4"]
    for size, contenders in report["batches"].items():
        assert list(contenders) == ["plain network", "engine, none leaves", "engine, policy"]
        for each in contenders.values():
            assert each["images_per_second"] == pytest.approx(int(size) / each["median_s"])
            assert each["over_plain"] == pytest.approx(each["median_s"] / contenders["plain network"]["median_s"])
    for each in report["latency"].values():
        assert 0 < each["p50_seconds"] <= each["p95_seconds"] <= each["p99_seconds"]
    assert sum(report["exit_shares"]) == pytest.approx(1)
    assert report["executed"]["gflops"] == pytest.approx(report["executed"]["table_gflops"], rel=1e-6)
    assert set(report["joules_an_image"]) == set(report["batches"]["1"])
    assert report["meter"]
    assert json.loads((weights.parent / "bench.json").read_text()) == report
    with (weights.parent / "bench.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6
    with Image.open(weights.parent / "bench.png") as picture:
        assert min(picture.size) > 400


def test_the_promise_of_the_flops_stands_beside_what_was_measured(cli: Cli, weights: Path) -> None:
    result = cli("bench", "--weights", weights, "--threshold", "9", *SHORT)
    assert result.code == 0
    assert "leaving at the exits: 100.0, 0.0, 0.0 %" in result.out
    evaluated = json.loads(cli("eval", "--weights", weights, "--threshold", "9", "--json").out)
    promised = 1 - evaluated["gflops"] / evaluated["plain_gflops"]
    assert f"saving against the plain network: {100 * promised:.0f} % promised by GFLOPs" in result.out
    assert "p99 (ms)" in result.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batches", "0"], "'0' is no list of whole numbers above 0"),
        (["--batches", "a,b"], "'a,b' is no list of whole numbers above 0"),
        (["--batches", ""], "'' is no list of whole numbers above 0"),
        (["--threshold", "x"], "threshold 'x' is not a number"),
        (["--threshold", "1,2,3"], "3 thresholds were given; the network has 2 early exits"),
    ],
)
def test_bad_arguments_are_one_sentence(cli: Cli, weights: Path, arguments: list[str], words: str) -> None:
    result = cli("bench", "--weights", weights, *arguments)
    assert result.code == 2
    assert words in result.sentence
    assert not (weights.parent / "bench.json").exists()
