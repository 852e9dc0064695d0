from __future__ import annotations

import csv
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import open_prepared
from greenedge.exits.bootstrap import bootstrap_weights
from greenedge.training.trained import load_model
from tests.cli.conftest import Cli
from tests.cli.helpers import all_points, kept_outputs, point_of, with_other_answers, without_exits
from tests.conftest import REPOSITORY, write_official_layout


def test_eval_reports_what_a_plain_loop_finds(cli: Cli, weights: Path, prepared: Path) -> None:
    result = cli("eval", "--weights", weights, "--json")
    assert result.code == 0
    report = json.loads(result.out)

    network = load_model(weights).network
    split = open_prepared(prepared).splits["val"]
    pixels = torch.nn.functional.interpolate(
        torch.from_numpy(np.array(split.images)).float() / 255, (32, 32), mode="bicubic", antialias=True
    ).clamp(0, 1)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        logits = network((pixels - mean) / std)
    for exit_report, exit_logits in zip(report["exits"], logits, strict=True):
        assert exit_report["accuracy"] == pytest.approx((exit_logits.argmax(1).numpy() == split.labels).mean())
    assert report["split"] == "val"
    assert report["images"] == 15
    assert report["accuracy"] == report["exits"][-1]["accuracy"]  # nothing leaves early by default
    assert report["exit_shares"] == [0, 0, 1]
    assert (report["criterion"], report["thresholds"], report["temperatures"]) == ("entropy", [0, 0], None)
    assert "threshold" not in report
    stored = np.load(weights.parent / "outputs-val.npz")
    np.testing.assert_allclose(stored["logits"], torch.stack(logits).numpy(), rtol=1e-3, atol=1e-4)
    assert stored["gflops"].tolist() == [each["gflops"] for each in report["exits"]]


def test_eval_at_a_threshold_agrees_with_the_sweep(cli: Cli, weights: Path) -> None:
    evaluated = json.loads(cli("eval", "--weights", weights, "--threshold", "0.5", "--json").out)
    swept = json.loads(cli("sweep", "--weights", weights, "--thresholds", "0.5", "--json").out)
    (point,) = swept["points"]
    assert point["thresholds"] == [0.5, 0.5]
    assert evaluated["thresholds"] == [0.5, 0.5]
    for key in ("accuracy", "gflops", "exit_shares"):
        assert point[key] == evaluated[key]


@pytest.mark.parametrize("criterion", ["entropy", "margin", "patience"])
def test_a_threshold_for_each_exit_routes_as_by_hand(cli: Cli, weights: Path, criterion: str) -> None:
    assert cli("eval", "--weights", weights).code == 0
    outputs = kept_outputs(weights.parent, "val")
    by_hand = [point for point in all_points(outputs, criterion) if len(set(point.exits)) == 3]
    if criterion == "patience":
        by_hand = [point_of(outputs, criterion, thresholds) for thresholds in [(0.0, 1.0), (1.0, 1.0), (1.0, 0.0)]]
    for option, point in zip(
        ("--threshold", "--thresholds", "--threshold"), by_hand[:: len(by_hand) // 3], strict=False
    ):
        text = ",".join(map(repr, point.thresholds))
        report = json.loads(cli("eval", "--weights", weights, option, text, "--criterion", criterion, "--json").out)
        assert (report["criterion"], report["thresholds"]) == (criterion, list(point.thresholds))
        assert report["accuracy"] == pytest.approx(point.accuracy)
        assert report["gflops"] == pytest.approx(point.gflops)
        assert report["exit_shares"] == pytest.approx([point.exits.count(e) / 15 for e in range(3)])
        with (weights.parent / "predictions-val.csv").open() as file:
            assert [int(row["exit"]) - 1 for row in csv.DictReader(file)] == point.exits


def test_intervals_are_those_of_resampled_images_and_hold_the_point(cli: Cli, weights: Path) -> None:
    assert cli("eval", "--weights", weights).code == 0
    outputs = kept_outputs(weights.parent, "val")
    point = next(point for point in all_points(outputs, "entropy") if len(set(point.exits)) == 3)
    text = ",".join(map(repr, point.thresholds))
    report = json.loads(cli("eval", "--weights", weights, "--threshold", text, "--json").out)
    for key, values in (("accuracy", None), ("gflops", outputs.gflops[point.exits])):
        low, high = report[f"{key}_interval"]
        assert low < report[key] < high
        if key == "accuracy":  # of 15 images: Wilson's, whose ends p solve (a - p)^2 = z^2 p (1 - p) / 15
            for end in (low, high):
                assert (report[key] - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 15, rel=1e-5)
            continue
        resampled = [float((share * values).sum()) for share in bootstrap_weights(15)]
        assert [low, high] == pytest.approx(list(np.quantile(resampled, [0.025, 0.975])), rel=1e-5)


@pytest.mark.parametrize("options", [["--budget", 0.025], ["--budget", 0.03, "--shared", "--criterion", "margin"]])
def test_a_tuned_policy_gives_exactly_what_tuning_said(cli: Cli, weights: Path, options: list[object]) -> None:
    tuned = json.loads(cli("tune", "--weights", weights, "--json", *options).out)
    policy = tuned["policies"][tuned["chosen"]]
    for split, where in (("val", "val"), ("calibration", "chosen_on")):
        arguments = ["--weights", weights, "--policy", weights.parent / "policy.json", "--split", split, "--json"]
        report = json.loads(cli("eval", *arguments).out)
        for key in ("criterion", "thresholds", "temperatures"):
            assert report[key] == policy[key]
        for key in ("accuracy", "gflops", "exit_shares"):
            assert report[key] == policy[where][key]


def test_a_policy_that_is_not_for_this_network_is_refused(cli: Cli, weights: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    assert cli("tune", "--weights", weights, "--budget", 1, "--out", policy).code == 0
    other = with_other_answers(weights, tmp_path / "other" / "best.safetensors")
    plain = without_exits(weights, tmp_path / "plain" / "best.safetensors")
    content = {key: value for key, value in json.loads(policy.read_text()).items() if key != "digest"}
    damaged, short, renamed = (tmp_path / f"{name}.json" for name in ("damaged", "short", "renamed"))
    damaged.write_text(policy.read_text()[:40])
    short.write_text(json.dumps({**content, "thresholds": [0.5], "temperatures": None}))
    renamed.write_text(json.dumps({**content, "exits": ["layer1.1", "layer2.1", "layer4.1"]}))
    for path, arguments, words in [
        (other, ["--policy", policy], f"{policy}: was chosen for other weights of this network; tune again"),
        (plain, ["--policy", policy], f"{policy}: has 2 thresholds, the network has 0 early exits; tune again"),
        (weights, ["--policy", short], f"{short}: has 1 thresholds, the network has 2 early exits; tune again"),
        (weights, ["--policy", renamed], f"{renamed}: is for a network with exits after layer1.1, layer2.1, layer4.1"),
        (weights, ["--policy", damaged], f"{damaged}: is no policy"),
        (weights, ["--policy", tmp_path / "no.json"], f"{tmp_path / 'no.json'}: no such policy"),
        (weights, ["--policy", policy, "--threshold", "1"], "--policy says criterion and thresholds itself; leave out"),
        (weights, ["--policy", policy, "--criterion", "margin"], "--policy says criterion and thresholds itself"),
        (weights, ["--threshold", "1,2,3"], "3 thresholds were given; the network has 2 early exits"),
        (weights, ["--threshold", "1,-2"], "threshold -2 is not a finite number of at least 0"),
        (weights, ["--threshold", ""], "no threshold was given"),
    ]:
        result = cli("eval", "--weights", path, *arguments)
        assert (result.code, result.out) == (2, "")
        assert result.sentence.startswith(words)
        assert not (path.parent / "eval-val.json").exists()
        assert not (path.parent / "predictions-val.csv").exists()


def test_sweep_writes_table_json_csv_and_picture(cli: Cli, weights: Path) -> None:
    result = cli("sweep", "--weights", weights)  # the config's thresholds
    assert result.code == 0
    assert "GFLOPs" in result.out
    report = json.loads((weights.parent / "sweep.json").read_text())
    assert [point["thresholds"][0] for point in report["points"]] == [0, 0.5, 1.0]
    with (weights.parent / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["accuracy"]) for row in rows] == [point["accuracy"] for point in report["points"]]
    with Image.open(weights.parent / "sweep.png") as picture:
        assert min(picture.size) > 400


def test_another_split_has_results_of_its_own_name(cli: Cli, weights: Path) -> None:
    assert cli("sweep", "--weights", weights, "--split", "calibration").code == 0
    assert {path.name for path in weights.parent.glob("sweep*")} == {
        f"sweep-calibration.{x}" for x in ("json", "csv", "png")
    }


def test_another_criterion_gives_another_curve_and_an_unknown_one_a_sentence(cli: Cli, weights: Path) -> None:
    margin = json.loads(cli("sweep", "--weights", weights, "--criterion", "margin", "--thresholds", "1", "--json").out)
    assert (margin["criterion"], margin["points"][0]["exit_shares"]) == ("margin", [0, 0, 1])
    wrong = cli("sweep", "--weights", weights, "--criterion", "magrin")
    assert (wrong.code, wrong.sentence) == (2, "criterion: there is no 'magrin'; did you mean 'margin'?")


def test_the_configs_thresholds_belong_to_the_configs_criterion(cli: Cli, weights: Path) -> None:
    own, other, named = (
        json.loads(cli("sweep", "--weights", weights, "--json", *options).out)
        for options in ([], ["--criterion", "max_probability"], ["--criterion", "entropy"])
    )
    assert [point["thresholds"][0] for point in own["points"]] == [0, 0.5, 1.0]
    assert named["points"] == own["points"]
    outputs = kept_outputs(weights.parent, "val")
    routes = {tuple(point.exits) for point in all_points(outputs, "max_probability", shared=True)}
    assert len(other["points"]) == len(routes)


@pytest.mark.parametrize("command", [["sweep", "--thresholds"], ["eval", "--threshold"]])
def test_a_threshold_that_no_score_can_reach_is_refused(cli: Cli, weights: Path, command: list[str]) -> None:
    result = cli(command[0], "--weights", weights, "--criterion", "max_probability", command[1], "90")
    assert (result.code, result.out) == (2, "")
    assert "at a threshold of 90 no image could ever exit early" in result.sentence
    assert "between 0.3333 and 1" in result.sentence


@pytest.mark.parametrize("command", [["sweep", "--thresholds"], ["eval", "--threshold"]])
def test_thresholds_that_decide_for_all_images_are_named_in_words(cli: Cli, weights: Path, command: list[str]) -> None:
    always = cli(command[0], "--weights", weights, command[1], "9")
    assert always.code == 0
    assert "every image exits at the first exit" in always.out
    never = cli(command[0], "--weights", weights, command[1], "0")
    assert never.code == 0
    assert ("never" if command[0] == "sweep" else "no image exits early") in never.out


def test_sweep_verdict_follows_its_interval(cli: Cli, weights: Path) -> None:
    result = cli("sweep", "--weights", weights, "--thresholds", "all")
    report = json.loads((weights.parent / "sweep.json").read_text())
    low, high = report["advantage_interval"]
    assert low <= report["advantage"]["accuracy"] <= high
    assert report["pays"] == (low > 0)
    assert ("early exit pays: at least" in result.out) == report["pays"]
    assert ("early exit does not pay" in result.out) != report["pays"]


def test_data_that_have_moved_are_asked_for(cli: Cli, config: Path, prepared: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(prepared, moved)
    settings = ["--set", f"data.path={moved}", "--set", "train.epochs=1", "--set", "model.exits=[]"]
    assert cli("train", "--config", config, "--out", tmp_path / "run", *settings).code == 0
    shutil.rmtree(moved)
    weights = tmp_path / "run" / "best.safetensors"
    result = cli("eval", "--weights", weights)
    assert (result.code, result.sentence) == (
        1,
        f"{moved}: the data set that {weights} was trained on is not here; give --data",
    )
    assert cli("eval", "--weights", weights, "--data", prepared).code == 0


def test_sweep_of_all_starts_at_the_full_cost_and_ends_at_the_first_exit(cli: Cli, weights: Path) -> None:
    report = json.loads(cli("sweep", "--weights", weights, "--thresholds", "all", "--json").out)
    assert report["points"][0]["exit_shares"] == [0, 0, 1]
    assert report["points"][0]["gflops"] == pytest.approx(report["reference_gflops"])
    assert report["points"][-1]["exit_shares"] == [1, 0, 0]
    evaluated = json.loads(cli("eval", "--weights", weights, "--json").out)
    assert report["exits"] == evaluated["exits"]
    for key in ("area", "dominated_area"):
        low, high = report[f"{key}_interval"]
        assert low < report[key] < high


def test_sweep_compares_with_an_oracle_and_with_fixed_exits(cli: Cli, weights: Path) -> None:
    result = cli("sweep", "--weights", weights, "--thresholds", "all")
    report = json.loads((weights.parent / "sweep.json").read_text())
    outputs = kept_outputs(weights.parent, "val")
    right = outputs.correct()
    first_right = [next((e for e in range(3) if right[e, image]), 2) for image in range(15)]
    assert report["oracle"]["accuracy"] == pytest.approx(right.any(axis=0).mean())
    assert report["oracle"]["gflops"] == pytest.approx(outputs.gflops[first_right].mean())
    assert "an oracle that exits at the first correct exit" in result.out

    fixed = [(each["alone_gflops"], each["accuracy"]) for each in report["exits"]]

    def best_by_lot(gflops: float) -> float:
        within = [accuracy for cost, accuracy in fixed if cost <= gflops * (1 + 1e-9)]
        mixed = [
            a + (gflops - low) / (high - low) * (b - a) for low, a in fixed for high, b in fixed if low <= gflops < high
        ]
        return max([*within, *mixed])

    gains = [(point["accuracy"] - best_by_lot(point["gflops"]), point["gflops"]) for point in report["points"]]
    assert report["advantage"]["accuracy"] == pytest.approx(max(gains)[0])
    best = [gflops for gain, gflops in gains if gain == pytest.approx(max(gains)[0])]
    assert any(report["advantage"]["gflops"] == pytest.approx(gflops) for gflops in best)


def test_kept_answers_are_used_until_the_weights_change(cli: Cli, weights: Path, trained: Path) -> None:
    assert "need not run" not in cli("eval", "--weights", weights).err
    assert "need not run" in cli("sweep", "--weights", weights).err
    state = safetensors.torch.load_file(weights)
    with safetensors.safe_open(weights, "pt") as file:
        metadata = {key: text for key, text in file.metadata().items() if key != "digest"}
    state["backbone.fc.bias"] += 1
    safetensors.torch.save_file(state, weights, metadata)
    assert "need not run" not in cli("sweep", "--weights", weights).err


def test_the_calibration_split_is_apart_from_the_training_images(cli: Cli, weights: Path) -> None:
    calibration = json.loads(cli("eval", "--weights", weights, "--split", "calibration", "--json").out)
    training = json.loads(cli("eval", "--weights", weights, "--split", "train", "--json").out)
    assert (calibration["images"], training["images"]) == (6, 30)


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ("0,x", "threshold 'x' is not a number"),
        ("0,,1", "threshold '' is not a number"),
        ("-1", "threshold -1 is not a finite number of at least 0"),
        ("nan", "threshold nan is not a finite number"),
        ("inf", "threshold inf is not a finite number"),
        ("", "no threshold was given; give numbers such as 0,0.63,1.26"),
        (" ", "no threshold was given; give numbers such as 0,0.63,1.26"),
    ],
)
def test_thresholds_that_are_none_are_refused(cli: Cli, weights: Path, thresholds: str, words: str) -> None:
    result = cli("sweep", "--weights", weights, f"--thresholds={thresholds}")
    assert result.code == 2
    assert words in result.sentence


def test_a_reference_cost_must_be_positive(cli: Cli, weights: Path) -> None:
    result = cli("sweep", "--weights", weights, "--reference-gflops", "0")
    assert result.code == 2
    assert "above 0 GFLOPs" in result.sentence


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.marker,)


def test_broken_checkpoints_are_one_sentence_and_run_no_code(cli: Cli, weights: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    truncated, pickled, plain, resized = (tmp_path / f"{name}.safetensors" for name in "abcd")
    truncated.write_bytes(weights.read_bytes()[:5000])
    pickled.write_bytes(pickle.dumps(Malicious(marker)))
    state = safetensors.torch.load_file(weights)
    safetensors.torch.save_file(state, plain)
    with safetensors.safe_open(weights, "pt") as file:
        metadata = {key: text for key, text in file.metadata().items() if key != "digest"}
    state["backbone.fc.weight"], state["backbone.fc.bias"] = torch.zeros(7, 512), torch.zeros(7)
    safetensors.torch.save_file(state, resized, metadata)
    for path, words in (
        (tmp_path / "absent.safetensors", "no such checkpoint"),
        (truncated, "truncated or not a .safetensors checkpoint"),
        (pickled, "truncated or not a .safetensors checkpoint"),
        (plain, "was not written by `greenedge train`"),
        (resized, "belongs to another network"),
    ):
        result = cli("eval", "--weights", path)
        assert result.code == 1
        assert str(path) in result.sentence
        assert words in result.sentence
    assert not marker.exists()


def test_data_of_other_classes_are_refused(cli: Cli, weights: Path, tmp_path: Path) -> None:
    source = write_official_layout(tmp_path / "source")
    prepare([source], tmp_path / "two", PrepareOptions(classes=2))
    result = cli("eval", "--weights", weights, "--data", tmp_path / "two")
    assert result.code == 1
    assert "was trained on 3 other classes than the 2 of" in result.sentence


def test_data_without_validation_images_says_how_to_go_on(
    cli: Cli, weights: Path, official: Path, tmp_path: Path
) -> None:
    for path in (official / "val" / "images").iterdir():
        path.unlink()
    (official / "val" / "val_annotations.txt").unlink()
    assert cli("data", "prepare", official, "--out", tmp_path / "trainonly").code == 0
    result = cli("eval", "--weights", weights, "--data", tmp_path / "trainonly")
    assert result.code == 1
    assert "has no val images" in result.sentence


def test_a_cached_eval_loads_no_library_that_it_does_without(cli: Cli, weights: Path) -> None:
    """Each takes a quarter to a whole second of CPU to import."""
    assert cli("eval", "--weights", weights).code == 0
    script = (
        "import sys; from greenedge.cli.main import run\n"
        f"sys.argv = ['greenedge', 'eval', '--weights', {str(weights)!r}, '--threshold', '1']\n"
        "try: run()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torchvision', 'torch._dynamo', 'matplotlib', 'fvcore', 'timm', 'scipy'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert "need not run" in result.stderr
    assert result.stdout.splitlines()[-1] == "[]"


def test_sweep_with_static_networks_judges_the_curve_by_them(cli: Cli, weights: Path, tmp_path: Path) -> None:
    other = with_other_answers(weights, tmp_path / "other" / "best.safetensors")
    result = cli("sweep", "--weights", weights, "--static", other, "--static", weights.parent)
    assert result.code == 0, result.err
    assert "static" in result.out
    report = json.loads((weights.parent / "sweep.json").read_text())["static"]
    by_name = {choice["name"]: choice for choice in report["choices"]}
    assert list(by_name) == ["exit 1 alone", "exit 2 alone", "the backbone without exits", "other", "copied"]
    own, named = by_name["the backbone without exits"], by_name["copied"]
    assert (own["accuracy"], own["gflops"]) == (named["accuracy"], named["gflops"])
    assert report["advantage_interval"][0] <= report["advantage"] <= report["advantage_interval"][1]
    affordable = [each for each in report["choices"] if each["gflops"] <= own["gflops"]]
    assert by_name[report["instead"]]["accuracy"] == max(each["accuracy"] for each in affordable)


def test_sweep_with_a_policy_shows_what_eval_says_of_it(cli: Cli, weights: Path) -> None:
    assert cli("tune", "--weights", weights, "--max-loss", "0.5", "--confidence", "0.1").code == 0
    policy = weights.parent / "policy.json"
    evaluated = json.loads(cli("eval", "--weights", weights, "--policy", policy, "--json").out)
    swept = json.loads(cli("sweep", "--weights", weights, "--policy", policy, "--static", weights, "--json").out)
    assert swept["criterion"] == evaluated["criterion"]
    assert swept["policy"]["thresholds"] == evaluated["thresholds"]
    for key in ("accuracy", "gflops", "exit_shares"):
        assert swept["policy"][key] == pytest.approx(evaluated[key])
    low, high = swept["policy"]["above_static_interval"]
    assert low <= swept["policy"]["above_static"] <= high

    twice = cli("sweep", "--weights", weights, "--policy", policy, "--criterion", "margin")
    assert (twice.code, "leave out" in twice.err) == (2, True)


def test_eval_with_confusion_writes_what_each_exit_makes_of_each_class(cli: Cli, weights: Path, prepared: Path) -> None:
    folder = weights.parent
    assert "classes" not in json.loads(cli("eval", "--weights", weights, "--json").out)
    assert not (folder / "confusion-val.png").exists()
    report = json.loads(cli("eval", "--weights", weights, "--confusion", "--json").out)

    outputs = kept_outputs(folder, "val")
    with np.load(folder / "confusion-val.npz", allow_pickle=False) as arrays:
        counts, ids = arrays["counts"], arrays["classes"].tolist()
    assert ids == [each.id for each in open_prepared(prepared).classes]
    assert [np.trace(each) / 15 for each in counts] == pytest.approx([each["accuracy"] for each in report["exits"]])
    with (folder / "per-class-val.csv").open() as file:
        rows = list(csv.DictReader(file))
    for index, (row, listed) in enumerate(zip(rows, report["classes"], strict=True)):
        right = (outputs.logits.argmax(2) == index)[:, outputs.labels == index].mean(axis=1)
        assert [float(row[f"accuracy_{exit}"]) for exit in (1, 2, 3)] == pytest.approx(right)
        assert listed == {"label": ids[index], "images": 5, "accuracy": pytest.approx(right)}
    first = report["most_confused"][0]
    pair = [ids.index(first[key]) for key in ("label", "prediction")]
    assert first["images"] == counts[:, pair[0], pair[1]].tolist()
    with Image.open(folder / "confusion-val.png") as figure:
        assert figure.width > figure.height
