from __future__ import annotations

import csv
import json
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from PIL import Image
from torch import Tensor

from greenedge.cost import benchmark
from greenedge.cost.energy import EnergyMeter
from greenedge.cost.energy_use import EnergyWindows
from greenedge.data.loader import build_transform
from greenedge.data.prepared import open_prepared
from greenedge.device.precision import computes_bf16
from greenedge.device.processor import sums_are_exact
from greenedge.exits.policy import ExitPolicy, SavedPolicy, write_policy
from greenedge.inference import Engine
from greenedge.inference.baseline import Baseline
from greenedge.inference.runtimes import Runtime, is_installed
from greenedge.training.trained import load_model
from greenedge.workflows import bench
from tests.cli.conftest import Cli

BACKBONE = "backbone, best layout, same precision"
FIRST = ["plain network", BACKBONE, "engine, none leaves", "engine, policy"]
# What the engine runs in where nothing is asked for is bf16 where the processor has it, and then float32 is the other.
PRECISIONS = ["pytorch float32"] if computes_bf16(torch.device("cpu")) else []
SHORT = ["--batches", "1,4", "--rounds", "1"]
ENGINE_ALONE = ["--batches", "1", "--rounds", "1", "--only", "engine"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first bench keeps the chunk sizes that it has measured; the others read them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few images a turn: nothing here depends on what is timed being exact."""
    monkeypatch.setattr("greenedge.cost.benchmark.IMAGES_PER_TURN", 4)
    monkeypatch.setattr("greenedge.inference.benchmark.IMAGES_PER_TURN", 4)


def test_contenders_are_timed_at_every_batch_size(cli: Cli, weights: Path) -> None:
    result = cli("bench", "--weights", weights, "--threshold", "1.05", *SHORT, "--json")
    assert result.code == 0
    report = json.loads(result.out)
    assert list(report["batches"]) == ["1", "4"]
    runtimes = [name for name in ("onnxruntime", "openvino") if is_installed(cast(Runtime, name))]
    names = [*PRECISIONS, *(f"{name} float32" for name in runtimes)]
    others = [f"{name}, {ending}" for name in names for ending in ("none leaves", "policy")]
    assert list(report["contenders"]) == list(report["latency"]) == [*FIRST, *others]
    for size, contenders in report["batches"].items():
        assert list(contenders) == [*FIRST, *others]
        for each in contenders.values():
            assert each["images_per_second"] == pytest.approx(int(size) / each["median_s"])
            assert each["over_plain"] == pytest.approx(each["median_s"] / contenders["plain network"]["median_s"])
            assert each["over_backbone"] == pytest.approx(each["median_s"] / contenders[BACKBONE]["median_s"])
    for each in report["latency"].values():
        assert 0 < each["p50_seconds"] <= each["p95_seconds"] <= each["p99_seconds"]
    assert sum(report["exit_shares"]) == pytest.approx(1)
    assert report["executed"]["gflops"] == pytest.approx(report["executed"]["table_gflops"], rel=1e-6)
    assert set(report["joules_an_image"]) == set(report["batches"]["1"])
    assert report["meter"]
    assert json.loads((weights.parent / "bench.json").read_text()) == report
    with (weights.parent / "bench.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * len(report["contenders"])
    with Image.open(weights.parent / "bench.png") as picture:
        assert min(picture.size) > 400


def test_the_promise_of_the_flops_stands_beside_what_was_measured(cli: Cli, weights: Path) -> None:
    result = cli("bench", "--weights", weights, "--threshold", "9", *SHORT, "--only", "engine")
    assert result.code == 0
    assert "exit rates: 100.0, 0.0, 0.0 %" in result.out
    evaluated = json.loads(cli("eval", "--weights", weights, "--threshold", "9", "--json").out)
    predicted = 1 - evaluated["gflops"] / evaluated["plain_gflops"]
    assert f"saving over the backbone: {100 * predicted:.0f} % predicted by FLOPs" in result.out
    assert "p99 (ms)" in result.out
    assert max(map(len, result.raw.splitlines()[:-1])) <= 100  # all but the names of the files


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batches", "0"], "'0' is no list of whole numbers above 0"),
        (["--batches", "a,b"], "'a,b' is no list of whole numbers above 0"),
        (["--batches", ""], "'' is no list of whole numbers above 0"),
        (["--only", "engine,fast"], "there is no contender 'fast'; there are engine, pytorch float32,"),
        (["--only", ""], "there is no contender ''"),
        (["--only", "pytorch float32", "--precision", "float32"], "pytorch float32 cannot be timed: it is the same as"),
        (["--threshold", "x"], "threshold 'x' is not a number"),
        (["--threshold", "1,2,3"], "3 thresholds were given; the network has 2 early exits"),
    ],
)
def test_bad_arguments_are_one_sentence(cli: Cli, weights: Path, arguments: list[str], words: str) -> None:
    result = cli("bench", "--weights", weights, *arguments)
    assert result.code == 2
    assert words in result.sentence
    assert not (weights.parent / "bench.json").exists()


EXITS = ("layer1.1", "layer3.1", "layer4.1")


def test_all_contenders_run_the_validation_images(
    cli: Cli, weights: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[Tensor]] = {"engine": [], "backbone": []}
    answer, run = Engine.predict, Baseline.__call__
    monkeypatch.setattr(
        Engine, "predict", lambda self, images: (seen["engine"].append(images), answer(self, images))[1]
    )
    monkeypatch.setattr(Baseline, "__call__", lambda self, x: (seen["backbone"].append(x), run(self, x))[1])
    assert cli("bench", "--weights", weights, *SHORT, "--only", "engine").code == 0
    split = open_prepared(prepared).split("val")
    transform = build_transform(load_model(weights).config.data, channels_last=False)
    known = transform(torch.from_numpy(split.read(split.rows))).flatten(1)
    for batches in seen.values():
        singles = torch.cat([batch for batch in batches if len(batch) == 1]).flatten(1)
        nearest = torch.cdist(singles, known)
        assert nearest.min(dim=1).values.max() < 0.1  # each is one of them
        assert set(nearest.argmin(dim=1).tolist()) == set(range(len(split)))  # and each of them is run


class _Board:
    """A meter's monitor: every window takes 12 J of the CPU."""

    def begin_window(self, _: str) -> None:
        pass

    def end_window(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(gpu_energy=None, cpu_energy={0: 12.0}, dram_energy=None, soc_energy=None)


def test_energy_is_told_with_its_window_and_what_is_metered(
    cli: Cli, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = EnergyMeter(_Board(), "estimated", ("CPU package",))
    monkeypatch.setattr("greenedge.inference.benchmark.find_energy_meter", lambda: (meter, "joules of the CPU"))
    monkeypatch.setattr(EnergyWindows, "__init__", partialmethod(EnergyWindows.__init__, seconds=0.01))
    result = cli("bench", "--weights", weights, *SHORT, "--only", "engine")
    assert result.code == 0
    report = json.loads((weights.parent / "bench.json").read_text())
    energy = report["energy"]
    assert [energy[key] for key in ("kind", "domains", "batch", "window_s", "repeats")] == [
        *("estimated", ["CPU package"], 4, 0.01, 3)
    ]
    assert energy["idle_watts"]["low"] <= energy["idle_watts"]["mean"] <= energy["idle_watts"]["high"]
    assert list(energy["contenders"]) == list(report["batches"]["1"])
    for name, each in energy["contenders"].items():
        assert report["joules_an_image"][name] == each["joules_an_image"]["mean"] > 0
        assert each["wh_per_1000_images"] == pytest.approx(each["joules_an_image"]["mean"] / 3.6)
        assert each["images_per_second"]["mean"] > 0
    assert "energy in batches of 4, 3 windows of at least 0.01 s each, in turns; idle: " in result.out
    assert "joules of the CPU" in result.out


def test_absent_energy_is_null_and_a_sentence(cli: Cli, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenedge.inference.benchmark.find_energy_meter", lambda: (None, "no energy was measured"))
    result = cli("bench", "--weights", weights, *SHORT, "--only", "engine")
    report = json.loads((weights.parent / "bench.json").read_text())
    assert report["energy"] is None
    assert set(report["joules_an_image"].values()) == {None}
    assert "no energy was measured" in result.out
    assert "J per image" not in result.out


def test_only_limits_what_is_timed(cli: Cli, weights: Path) -> None:
    report = json.loads(cli("bench", "--weights", weights, *SHORT, "--json", "--only", "engine").out)
    assert list(report["batches"]["4"]) == FIRST
    assert report["lead"] == "engine"


def test_machine_fastest_and_advice_are_in_the_result(cli: Cli, weights: Path) -> None:
    result = cli("bench", "--weights", weights, *SHORT, "--only", "engine", "--threshold", "9")
    report = json.loads((weights.parent / "bench.json").read_text())
    assert report["machine"]["threads"] == report["threads"] == torch.get_num_threads()
    assert report["machine"]["versions"]["torch"]
    assert report["machine"]["exact_int8_sums"] is sums_are_exact()
    assert list(report["fastest"]) == ["1", "4"]
    for size, fastest in report["fastest"].items():
        times = {name: each["median_s"] for name, each in report["batches"][size].items()}
        assert fastest["keys"][0] == min(times, key=lambda name: times[name])
    assert report["advice"].startswith("by time alone, deploy here for single images")
    assert report["advice"] in result.out
    assert report["contenders"]["engine, policy"]["exit_shares"] == report["exit_shares"] == [1, 0, 0]
    assert report["contenders"]["engine, none leaves"]["policy"] is None


@pytest.mark.slow
def test_the_baseline_has_the_engines_precision(cli: Cli, weights: Path) -> None:
    arguments = ("bench", "--weights", weights, *ENGINE_ALONE, "--json", "--precision")
    for precision, name in (("float32", "float32"), ("bf16", "bfloat16")):
        result = json.loads(cli(*arguments, precision).out)
        assert (result["precision"], result["baseline"]["precision"]) == (name, name)
        assert result["baseline"]["layout"] in ("NCHW", "channels_last")
        assert result["images"] == {"split": "val", "count": 15}


def test_the_policys_precision_is_used_and_another_is_refused(cli: Cli, weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "chosen.json"
    write_policy(path, SavedPolicy(ExitPolicy("entropy", (1.0, 1.0), precision="bf16"), EXITS))
    arguments = ("bench", "--weights", weights, "--policy", path, *ENGINE_ALONE, "--json")
    assert json.loads(cli(*arguments).out)["precision"] == "bfloat16"
    result = cli(*arguments, "--precision", "float32")
    assert result.code == 2
    assert f"{path}: was chosen in bf16" in result.sentence


@pytest.mark.parametrize(("rounds", "noisy"), [([1.0, 1.0, 1.01], False), ([1.0, 1.0, 2.0], True)])
def test_noise_is_said(
    cli: Cli, weights: Path, rounds: list[float], noisy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(contenders: dict[str, Any], images: Tensor, *_: object) -> dict[str, list[float]]:
        return {name: list(rounds) for name in contenders}

    monkeypatch.setattr(benchmark, "time_batches", timed)
    monkeypatch.setattr(
        benchmark, "time_single_images", lambda contenders, *_: {name: [1.0] * 4 for name in contenders}
    )
    monkeypatch.setattr("greenedge.inference.benchmark.find_energy_meter", lambda: (None, "no energy was measured"))
    result = cli("bench", "--weights", weights, *SHORT, "--only", "engine")
    assert ("timings are noisy" in result.out) == noisy


def test_without_validation_images_the_calibration_images_are_timed(
    cli: Cli, weights: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_prepared(prepared)
    del whole.splits["val"]
    monkeypatch.setattr(bench, "open_data", lambda *_: whole)
    result = cli("bench", "--weights", weights, *SHORT, "--only", "engine", "--json")
    assert result.code == 0
    assert json.loads(result.out)["images"] == {"split": "calibration", "count": 6}
    assert "has no validation images; the 6 calibration images are timed" in result.err
