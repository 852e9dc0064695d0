from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from greenedge.data.prepare import prepare
from greenedge.exits.areas import dominated_area
from greenedge.exits.bootstrap import bootstrap_weights
from tests.cli.conftest import Cli
from tests.cli.helpers import (
    all_points,
    changed_checkpoint,
    contents,
    kept_outputs,
    with_other_answers,
)
from tests.conftest import write_image, write_official_layout


@pytest.fixture(scope="module")
def runs(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders `a/run` and `b/run` of the same weights, and `other` of weights that answer otherwise."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("a/run", "b/run"):
        (folder / name).mkdir(parents=True)
        shutil.copy(trained / "best.safetensors", folder / name)
    with_other_answers(trained / "best.safetensors", folder / "other" / "best.safetensors")
    return folder


def compared(cli: Cli, out: Path, *arguments: object) -> dict[str, Any]:
    result = cli("compare", "--out", out, "--json", *arguments)
    assert result.code == 0, result.err
    report: dict[str, Any] = json.loads(result.out)
    return report


def test_the_same_weights_are_no_different(cli: Cli, runs: Path, tmp_path: Path) -> None:
    result = cli("compare", runs / "a" / "run", runs / "b" / "run" / "best.safetensors", "--out", tmp_path)
    assert result.code == 0
    report = json.loads((tmp_path / "compare.json").read_text())
    assert [record.pop("run") for record in report["runs"]] == ["a/run", "b/run"]
    assert report["runs"][0] == report["runs"][1]
    (pair,) = report["pairs"]
    assert (pair["first"], pair["second"]) == ("a/run", "b/run")
    for key in ("accuracy", "dominated_area"):
        assert (pair[key], pair[f"{key}_interval"], pair[f"{key}_first_is_better"]) == (0, [0, 0], 0.5)
    assert result.out.count("no difference that these images show") == 2
    assert "a real difference" not in result.out
    assert "a/run minus b/run, final accuracy: +0.000 points" in result.out


def test_each_run_has_the_numbers_of_its_kept_answers(cli: Cli, runs: Path, tmp_path: Path) -> None:
    report = compared(cli, tmp_path, runs / "a" / "run", runs / "other")
    assert (report["split"], report["images"]) == ("val", 15)
    outputs = [kept_outputs(runs / name, "val") for name in ("a/run", "other")]
    assert report["reference_gflops"] == max(each.gflops[-1] for each in outputs)
    for record, kept in zip(report["runs"], outputs, strict=True):
        points = list(all_points(kept, "entropy", shared=True))
        costs, accuracies = (np.array([getattr(point, key) for point in points]) for key in ("gflops", "accuracy"))
        assert record["accuracy"] == pytest.approx(kept.exit_accuracies()[-1])
        assert record["gflops"] == kept.gflops[-1]
        assert record["plain_gflops"] < record["gflops"]
        order = np.lexsort((accuracies, costs))
        assert record["area"] == pytest.approx(np.trapezoid(100 * accuracies[order], costs[order]))
        grid = np.linspace(0, report["reference_gflops"], 20_001)
        heights = [max(accuracies[costs <= cost * (1 + 1e-9)], default=0) for cost in grid]
        area = 100 * np.mean(heights) * report["reference_gflops"]
        assert record["dominated_area"] == pytest.approx(area, rel=1e-3)
        for key in ("accuracy", "area", "dominated_area"):
            low, high = record[f"{key}_interval"]
            assert low <= record[key] <= high
            assert low < high


def test_runs_differ_by_what_the_same_resamples_of_both_show(cli: Cli, runs: Path, tmp_path: Path) -> None:
    report = compared(cli, tmp_path, runs / "a" / "run", runs / "other")
    (pair,) = report["pairs"]
    first, second = (kept_outputs(runs / name, "val") for name in ("a/run", "other"))
    shares = bootstrap_weights(15)
    right = [each.logits[-1].argmax(axis=1) == each.labels for each in (first, second)]
    differences = [float((share * right[0]).sum() - (share * right[1]).sum()) for share in shares]
    assert any(differences)
    assert pair["accuracy_interval"] == pytest.approx(list(np.quantile(differences, [0.025, 0.975])), abs=1e-5)

    areas = []
    for kept in (first, second):
        routes = {tuple(point.exits) for point in all_points(kept, "entropy", shared=True)}
        correct = kept.logits.argmax(axis=2) == kept.labels
        found = []
        for share in shares:
            points = [((share * kept.gflops[list(r)]).sum(), share[correct[list(r), range(15)]].sum()) for r in routes]
            costs, accuracies = np.array(points, dtype=np.float64).T
            found.append(dominated_area(costs, accuracies, report["reference_gflops"] * (1 + 1e-6)))
        areas.append(np.array(found))
    interval = np.quantile(areas[0] - areas[1], [0.025, 0.975])
    assert pair["dominated_area_interval"] == pytest.approx(list(interval), abs=1e-3)


def test_resamples_on_which_both_are_equal_count_half(cli: Cli, runs: Path, tmp_path: Path) -> None:
    report = compared(cli, tmp_path, runs / "a" / "run", runs / "other")
    right = [kept_outputs(runs / name, "val").correct()[-1].astype(int) for name in ("a/run", "other")]
    counts = (bootstrap_weights(15) * 15).round().astype(int)
    differences = counts @ right[0] - counts @ right[1]
    expected = np.mean((differences > 0) + 0.5 * (differences == 0))
    assert report["pairs"][0]["accuracy_first_is_better"] == pytest.approx(expected, abs=1e-9)


def test_a_difference_is_that_of_the_two_numbers_in_the_table(cli: Cli, runs: Path, tmp_path: Path) -> None:
    report = compared(cli, tmp_path, runs / "a" / "run", runs / "other")
    (pair,) = report["pairs"]
    first, second = report["runs"]
    for key in ("accuracy", "dominated_area"):
        assert pair[key] == pytest.approx(first[key] - second[key], abs=1e-6)


def test_the_other_order_gives_the_other_sign(cli: Cli, runs: Path, tmp_path: Path) -> None:
    ahead = compared(cli, tmp_path, runs / "a" / "run", runs / "other")["pairs"][0]
    back = compared(cli, tmp_path, runs / "other", runs / "a" / "run")["pairs"][0]
    assert (ahead["first"], ahead["second"]) == (back["second"], back["first"])
    for key in ("accuracy", "dominated_area"):
        assert ahead[key] == pytest.approx(-back[key], abs=1e-6)
        assert ahead[f"{key}_interval"] == pytest.approx([-end for end in back[f"{key}_interval"][::-1]], abs=1e-6)


def test_three_runs_make_three_pairs_and_files_that_can_be_read(cli: Cli, runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "compared"
    chosen = [runs / "a" / "run", runs / "b" / "run", runs / "other"]
    report = compared(cli, out, *chosen, "--split", "calibration", "--criterion", "margin")
    assert (report["split"], report["images"]) == ("calibration", 6)
    names = ["a/run", "b/run", "other"]
    if report["runs"][2]["run"] != "other":
        names[2] = f"{runs.name}/other"
    assert [record["run"] for record in report["runs"]] == names
    pairs = [(pair["first"], pair["second"]) for pair in report["pairs"]]
    assert pairs == [(names[0], names[1]), (names[0], names[2]), (names[1], names[2])]
    assert set(contents(out)) == {"compare.json", "compare.csv", "compare.png"}
    assert json.loads((out / "compare.json").read_text()) == report
    with (out / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, record in zip(rows, report["runs"], strict=True):
        assert row.pop("run") == record["run"]
        assert {key: float(value) for key, value in row.items()} == {key: record[key] for key in row}
    assert {"accuracy", "gflops", "plain_gflops", "area", "dominated_area"} <= rows[0].keys()
    with Image.open(out / "compare.png") as picture:
        assert min(picture.size) > 400


def test_a_run_given_twice_is_numbered(cli: Cli, runs: Path, tmp_path: Path) -> None:
    report = compared(cli, tmp_path, runs / "other", runs / "other")
    names = [record["run"] for record in report["runs"]]
    assert len(set(names)) == 2
    assert all("other" in name for name in names)


def test_one_run_is_not_compared(cli: Cli, runs: Path, tmp_path: Path) -> None:
    result = cli("compare", runs / "other", "--out", tmp_path / "out")
    assert (result.code, result.out, result.sentence) == (2, "", "give at least two runs to compare")
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_there_is_named(cli: Cli, runs: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path / "nowhere.safetensors"):
        result = cli("compare", runs / "other", path, "--out", tmp_path / "out")
        assert (result.code, result.out) == (1, "")
        assert result.sentence.startswith(f"{path}")
        assert "no such checkpoint" in result.sentence
    assert not (tmp_path / "out").exists()


def test_runs_on_different_images_are_refused(cli: Cli, runs: Path, config: Path, tmp_path: Path) -> None:
    settings = ["--set", "train.epochs=1", "--set", "data.calibration_per_class=3"]
    assert cli("train", "--config", config, *settings, "--out", tmp_path / "more").code == 0
    more = tmp_path / "more" / "best.safetensors"
    result = cli("compare", runs / "a" / "run", more, "--split", "calibration", "--out", tmp_path / "out")
    assert (result.code, result.out) == (1, "")
    assert result.sentence == (
        f"{more}: its calibration images are not those of {runs / 'a' / 'run'}; compare runs on one data set (--data)"
    )
    assert not (tmp_path / "out").exists()
    assert cli("compare", runs / "a" / "run", more, "--out", tmp_path / "out").code == 0  # val is the same


def test_runs_on_another_data_set_are_refused_unless_one_is_given(
    cli: Cli, runs: Path, weights: Path, prepared: Path, tmp_path: Path
) -> None:
    source = write_official_layout(tmp_path / "source")
    write_image(source / "val" / "images" / "val_0.JPEG", 77)
    prepare([source], tmp_path / "data")
    moved = changed_checkpoint(
        weights,
        tmp_path / "moved" / "best.safetensors",
        config=lambda text: text.replace(str(prepared), str(tmp_path / "data")),
    )
    result = cli("compare", runs / "a" / "run", moved, "--out", tmp_path / "out")
    assert (result.code, result.out) == (1, "")
    assert f"{moved}: its val images are not those of {runs / 'a' / 'run'}" in result.sentence
    assert not (tmp_path / "out").exists()
    report = compared(cli, tmp_path / "out", runs / "a" / "run", moved, "--data", prepared)
    assert report["pairs"][0]["accuracy"] == 0


def test_an_unknown_criterion_and_a_folder_that_cannot_be_written_are_one_sentence(
    cli: Cli, runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("mine")
    pair = [runs / "a" / "run", runs / "other"]
    wrong = cli("compare", *pair, "--criterion", "magrin", "--out", tmp_path / "out")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.sentence == "criterion: there is no 'magrin'; did you mean 'margin'?"
    assert not (tmp_path / "out").exists()
    result = cli("compare", *pair, "--out", tmp_path / "taken")
    assert (result.code, result.out) == (1, "")
    assert result.sentence.startswith(f"{tmp_path / 'taken'}")
    assert "cannot be written" in result.sentence
    assert (tmp_path / "taken").read_text() == "mine"


def test_compare_with_static_networks_judges_every_curve_by_them(cli: Cli, runs: Path, tmp_path: Path) -> None:
    arguments = (runs / "a" / "run", runs / "other", "--static", runs / "b" / "run")
    report = compared(cli, tmp_path, *arguments)
    for record in report["runs"]:
        assert [each["name"] for each in record["static"]["choices"]][-1] == "run"
        assert record["static"]["advantage"] <= record["advantage"] + 1e-9  # a hull can only rise
