"""Export in 8 bits as a user meets it: on a small network that has learnt drawn shapes."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from greenedge.data.loader import build_transform
from greenedge.data.prepare import prepare
from greenedge.data.prepared import open_prepared
from greenedge.data.run_splits import open_named_split
from greenedge.data.synth import SynthOptions, synthesize
from greenedge.device import processor
from greenedge.exits.policy import ExitPolicy, SavedPolicy, read_policy, write_policy
from greenedge.files import SEAL, seal_of
from greenedge.inference import runner_files
from greenedge.inference.manifest import read_manifest
from greenedge.inference.onnx_runner import Runner
from greenedge.inference.runtimes import open_graph
from greenedge.training.trained import load_model
from greenedge.workflows.calibration_parts import divide_calibration
from greenedge.workflows.train import train
from tests.cli.conftest import Cli

pytest.importorskip("onnxruntime")
pytest.importorskip("timm")

RECIPE = """\
data:
  path: {data}
  image_size: 32
  calibration_per_class: 30
model:
  backbone: timm/{backbone}
  exits:
    - {{after: {after}, head: light}}
train:
  epochs: 4
  batch_size: 32
  optimizer: adam
  schedule: {{one_cycle: {{max_lr: 0.005}}}}
  precision: float32
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    synthesize(folder / "drawn", SynthOptions(classes=4, per_class=90, val_per_class=25))
    prepare([folder / "drawn"], folder / "data")
    return folder / "data"


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.yaml").write_text(RECIPE.format(data=data, backbone="test_resnet", after="layer2"))
    train(folder / "small.yaml", [], folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def policy(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `greenedge tune` chooses it, with the module's own command line."""
    from greenedge.exits.goal import Goal
    from greenedge.workflows.tune import TuneOptions, tune

    path = tmp_path_factory.mktemp("tuned") / "policy.json"
    cost = load_model(run / "best.safetensors").cost
    budget = (cost.exits[0].gflops + cost.exits[1].gflops) / 2
    tune(run / "best.safetensors", None, TuneOptions(Goal(budget_gflops=budget), criterion="margin"), path)
    return path


@pytest.fixture(scope="module")
def exported(run: Path, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from greenedge.workflows.export import export
    from greenedge.workflows.policies import PolicyOptions
    from greenedge.workflows.quantize import Int8Options

    out = tmp_path_factory.mktemp("exported") / "int8"
    export(run / "best.safetensors", PolicyOptions(policy), out, "onnx", None, Int8Options(max_loss=0.2))
    return out


def test_the_policy_is_fitted_anew_on_images_that_ranges_were_not_taken_from(
    run: Path, policy: Path, exported: Path
) -> None:
    model, manifest = load_model(run / "best.safetensors"), read_manifest(exported, sealed=True)
    before = read_policy(policy, model.exits, model.digest)
    after = read_policy(exported / "policy.json", model.exits, model.digest)
    assert after.policy.precision == "int8"
    assert after.policy.criterion == before.policy.criterion
    assert after.policy.thresholds != before.policy.thresholds
    record = manifest.quantization
    assert record is not None
    calibration = 4 * 30
    assert record["range_images"] + record["search_images"] + after.chosen["images"] == calibration
    assert after.chosen["images"] >= calibration / 2
    assert after.chosen["former"] == before.chosen
    assert "in float32" in after.chosen["goal"]  # not the goal of the former one, which does not hold for it


def test_images_serve_one_purpose_each(run: Path, data: Path) -> None:
    model = load_model(run / "best.safetensors")
    split = open_named_split(open_prepared(data), "calibration", model.config.data)
    parts = [set(part.rows.tolist()) for part in divide_calibration(split)]
    assert [len(part) for part in parts] == [30, 30, 60]
    assert set.union(*parts) == set(split.rows.tolist())
    assert sum(map(len, parts)) == len(split)


def test_what_the_manifest_says_is_what_eval_finds(cli: Cli, exported: Path, data: Path, tmp_path: Path) -> None:
    record = read_manifest(exported).quantization
    assert record is not None
    found = cli("eval", "--weights", exported, "--policy", exported / "policy.json", "--out", tmp_path, "--json")
    assert found.code == 0
    told = json.loads(found.raw)
    assert told["precision"] == "int8"
    said = record["comparison"]["policy"]["int8"]
    assert told["accuracy"] == pytest.approx(said["value"])
    assert told["exit_shares"] == pytest.approx(record["comparison"]["exit_rates"]["int8"])
    assert told["accuracy"] > 0.5  # of four classes
    card = (exported / "README.md").read_text()
    assert f"**{100 * told['accuracy']:.2f} %**" in card
    assert "int8 minus float32" in card


@pytest.fixture
def images(data: Path, run: Path) -> np.ndarray:
    """All validation images, normalised."""
    split = open_prepared(data).split("val")
    transform = build_transform(load_model(run / "best.safetensors").config.data, channels_last=False)
    pixels: np.ndarray = transform(torch.from_numpy(split.read(split.rows))).numpy()
    return pixels


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return found


def test_the_runner_predicts_exactly_what_eval_predicts(
    cli: Cli, exported: Path, images: np.ndarray, tmp_path: Path
) -> None:
    folder = copied(exported, tmp_path / "copy")
    (outputs,) = folder.glob("outputs-*.npz")
    margins = np.sort(softmax(np.load(outputs)["logits"][0]), axis=1)
    half = float(np.median(margins[:, -1] - margins[:, -2]))
    outputs.unlink()  # so that eval runs the graphs
    manifest = read_manifest(folder)
    parting = SavedPolicy(ExitPolicy("margin", (half,), precision="int8"), manifest.exit_names, manifest.weights)
    write_policy(folder / "policy.json", parting)
    assert cli("eval", "--weights", folder, "--policy", folder / "policy.json", "--out", tmp_path / "found").code == 0
    with (tmp_path / "found" / "predictions-val.csv").open() as file:
        rows = list(csv.DictReader(file))
    answers = Runner(folder).predict(images)
    classes = Runner(folder).manifest["classes"]
    assert [classes[index]["id"] for index in answers.predictions] == [row["prediction"] for row in rows]
    assert [str(index + 1) for index in answers.exits] == [row["exit"] for row in rows]
    assert len(set(answers.exits.tolist())) == 2


def test_the_whole_graph_and_predict_and_sweep_take_the_folder(
    cli: Cli, exported: Path, images: np.ndarray, data: Path, tmp_path: Path
) -> None:
    whole = open_graph((exported / "network.onnx").read_bytes(), "onnxruntime", 1)({"images": images})
    outputs = np.load(next(exported.glob("outputs-val-int8-*.npz")))["logits"]
    np.testing.assert_allclose(np.stack(whole), outputs, rtol=0, atol=1e-4)

    found = cli("sweep", "--weights", exported, "--criterion", "entropy", "--out", tmp_path, "--json")
    assert found.code == 0
    split = open_prepared(data).split("val")
    from PIL import Image

    picture = tmp_path / "picture.png"
    Image.fromarray(split.read(split.rows[:1])[0].transpose(1, 2, 0)).save(picture)
    told = cli("predict", "--weights", exported, "--json", picture)
    answer = Runner(exported).predict(images[:1])
    (each,) = json.loads(told.raw)["predictions"]
    assert each["probability"] == pytest.approx(float(answer.confidence[0]), abs=1e-3)
    assert each["exit"] == int(answer.exits[0]) + 1


def test_a_float32_export_evaluates_as_its_checkpoint(cli: Cli, run: Path, policy: Path, tmp_path: Path) -> None:
    weights, out = run / "best.safetensors", tmp_path / "exported"
    assert cli("export", "--weights", weights, "--policy", policy, "--format", "onnx", "--out", out).code == 0
    told = [
        json.loads(cli("eval", "--weights", each, "--policy", chosen, "--out", tmp_path / each.name, "--json").raw)
        for each, chosen in ((weights, policy), (out, out / "policy.json"))
    ]
    assert told[0]["accuracy"] == told[1]["accuracy"]
    assert told[0]["exit_shares"] == told[1]["exit_shares"]
    assert told[0]["gflops"] == pytest.approx(told[1]["gflops"])


def test_bench_times_an_export_beside_its_checkpoint(
    cli: Cli, run: Path, exported: Path, weights: Path, tmp_path: Path
) -> None:
    arguments = ("bench", "--export", exported, "--batches", "1,4", "--rounds", 1, "--out", tmp_path)
    result = cli(*arguments, "--weights", run / "best.safetensors", "--only", "engine,onnxruntime int8", "--json")
    assert result.code == 0
    report = json.loads(result.raw)
    timed = report["contenders"]["onnxruntime int8, policy"]
    assert timed["precision"] == "int8"
    assert sum(timed["exit_shares"]) == pytest.approx(1)
    assert report["batches"]["4"]["onnxruntime int8, none leaves"]["images_per_second"] > 0

    refused = cli(*arguments, "--weights", weights)
    assert refused.sentence == f"{exported}: was exported from other weights than {weights}"
    other = cli("bench", "--weights", weights, "--export", tmp_path)
    assert other.sentence.startswith(f"{tmp_path}: is no export")
    own = cli(*arguments, "--weights", run / "best.safetensors", "--policy", exported / "policy.json")
    assert own.sentence == f"{exported / 'policy.json'}: was chosen for an export in int8; name that with --export"


def test_bench_times_an_export_alone_under_its_own_policy(
    cli: Cli, run: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenedge.cost.benchmark.IMAGES_PER_TURN", 4)
    float32 = tmp_path / "float32"
    assert cli("export", "--weights", run / "best.safetensors", "--format", "onnx", "--out", float32).code == 0
    arguments = ("bench", "--weights", exported, "--batches", "1,4", "--rounds", 1, "--out", tmp_path / "timed")
    beside = "onnxruntime float32 of float32"
    only = f"onnxruntime int8 of {exported.name},{beside}"
    result = cli(*arguments, "--export", float32, "--only", only)
    assert result.code == 0
    report = json.loads((tmp_path / "timed" / "bench.json").read_text())
    lead = f"onnxruntime int8 of {exported.name}"
    assert list(report["contenders"]) == [
        f"{name}, {ending}" for name in (lead, beside) for ending in ("backbone", "none leaves", "policy")
    ]
    own = json.loads((exported / "policy.json").read_text())
    assert report["contenders"][f"{lead}, policy"]["policy"]["thresholds"] == own["thresholds"]
    assert report["contenders"][f"{beside}, policy"]["exit_shares"] == [0, 1]
    assert [report[key] for key in ("precision", "lead", "executed")] == [
        *("int8", lead, {"gflops": None, "table_gflops": None})
    ]
    assert report["plain_gflops"] == load_model(run / "best.safetensors").cost.plain_gflops
    for batch in report["batches"].values():
        backbone = batch[f"{lead}, backbone"]["median_s"]
        for each in batch.values():
            assert each["over_plain"] == each["over_backbone"] == pytest.approx(each["median_s"] / backbone)
    assert f"backbone in {lead}: the whole graph without its early exits, in int8" in " ".join(result.out.split())
    assert "layout and precision save" not in result.out

    assert cli(*arguments, "--compile").sentence.startswith("--compile is for PyTorch, which runs no export")
    assert cli(*arguments, "--precision", "float32").sentence == (
        f"{exported}: is an export in int8, and does not run in float32"
    )
    assert cli(*arguments, "--only", "engine").sentence.startswith("there is no contender 'engine'; there are onnx")


def test_tune_fits_a_policy_to_an_export_on_images_new_to_its_graphs(
    cli: Cli, exported: Path, run: Path, tmp_path: Path
) -> None:
    before = json.loads((exported / "policy.json").read_text())["chosen"]
    budget = read_manifest(exported).exits[0].gflops * 1.5
    out = tmp_path / "policy.json"
    arguments = ("--weights", exported, "--budget", budget, "--criterion", "margin")
    result = cli("tune", *arguments, "--out", out, "--json")
    assert result.code == 0
    record = read_manifest(exported).quantization
    assert record is not None
    made_with = record["range_images"] + record["search_images"]
    assert f"{made_with} calibration images, with which the graphs were made, are left out" in result.err
    chosen = json.loads(out.read_text())["chosen"]
    assert (chosen["precision"], chosen["runtime"]) == ("int8", "onnxruntime")
    assert chosen["images"] == before["images"]
    assert chosen["gflops"] <= budget

    evaluated = cli("eval", "--weights", exported, "--policy", out, "--out", tmp_path, "--json")
    told, tuned = json.loads(evaluated.raw), json.loads(result.raw)
    shown = tuned["policies"][tuned["chosen"]]["val"]
    assert [told[key] for key in ("accuracy", "gflops")] == pytest.approx(
        [shown[key] for key in ("accuracy", "gflops")]
    )
    refused = cli("eval", "--weights", run / "best.safetensors", "--policy", out, "--precision", "float32")
    assert f"{out}: was chosen in int8" in refused.sentence


def test_an_export_whose_own_policy_tune_replaced_still_checks(cli: Cli, exported: Path, tmp_path: Path) -> None:
    again = shutil.copytree(exported, tmp_path / "again")
    budget = read_manifest(exported).exits[0].gflops * 1.5
    result = cli("tune", "--weights", again, "--budget", budget, "--criterion", "entropy")
    assert result.code == 0
    assert f"{again / 'policy.json'} is replaced, of which the model card speaks" in result.err
    assert json.loads((again / "policy.json").read_text())["criterion"] == "entropy"
    checked = cli("export", "--check", again)
    assert checked.code == 0


def test_compare_and_diagnose_take_an_export(cli: Cli, exported: Path, run: Path, tmp_path: Path) -> None:
    compared = cli("compare", run, exported, "--out", tmp_path, "--json")
    assert compared.code == 0
    told = json.loads(cli("eval", "--weights", exported, "--out", tmp_path, "--json").raw)
    accuracies = [each["accuracy"] for each in json.loads(compared.raw)["runs"]]
    exact = json.loads(cli("eval", "--weights", run / "best.safetensors", "--out", tmp_path, "--json").raw)
    assert accuracies == pytest.approx([each["exits"][-1]["accuracy"] for each in (exact, told)])
    diagnosed = cli("diagnose", "--weights", exported, "--out", tmp_path)
    assert diagnosed.code == 0
    assert "exported for onnxruntime" in " ".join(diagnosed.out.split())


def test_the_python_api_runs_an_export(exported: Path, images: np.ndarray) -> None:
    import greenedge

    model = greenedge.load_checkpoint(exported)
    engine = greenedge.Engine(model, exported / "policy.json")
    found, expected = engine.predict(torch.from_numpy(images)), Runner(exported).predict(images)
    assert found.exits.tolist() == expected.exits.tolist()
    assert found.predictions.tolist() == expected.predictions.tolist()
    assert len(model.classes) == 4
    with pytest.raises(greenedge.GreenedgeError, match="is an export, which holds no PyTorch network"):
        _ = model.network
    with pytest.raises(greenedge.GreenedgeError, match="an export runs on the CPU"):
        greenedge.Engine(model, compiled=True)


def ruin(model: onnx.ModelProto) -> None:
    """Makes the last features all alike."""
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_scale") and len(tensor.dims) == 0:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(1e4), tensor.name))


def test_a_network_that_int8_ruins_is_refused_with_the_figure(
    cli: Cli, run: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from greenedge.inference.quantization import Quantizer

    quantize = Quantizer.quantize

    def ruined(self: Quantizer, *keep: object) -> onnx.ModelProto:
        model = quantize(self)
        ruin(model)
        return model

    monkeypatch.setattr(Quantizer, "quantize", ruined)
    out = tmp_path / "exported"
    arguments = ("export", "--weights", run / "best.safetensors", "--policy", policy, "--format", "onnx")
    result = cli(*arguments, "--precision", "int8", "--max-float", "0", "--out", out)
    assert result.code == 2
    assert result.sentence.startswith("int8 costs ")
    assert "more than the 1 of --max-loss; no export was written" in result.sentence
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--precision", "int8", "--format", "torch"), "--precision int8 goes with --format onnx"),
        (("--max-loss", "0.02", "--format", "onnx"), "--max-loss and --max-float say what int8 may cost"),
        (("--precision", "int8", "--format", "onnx", "--max-loss", "3"), "--max-loss must lie between 0 and 1"),
        (("--precision", "int8", "--format", "onnx", "--max-float", "2"), "--max-float must lie between 0 and 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    cli: Cli, run: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    result = cli("export", "--weights", run / "best.safetensors", "--out", tmp_path / "exported", *arguments)
    assert result.code == 2
    assert result.sentence.startswith(sentence)


def test_too_few_calibration_images_are_refused(cli: Cli, weights: Path, tmp_path: Path) -> None:
    arguments = ("export", "--weights", weights, "--format", "onnx", "--precision", "int8")
    result = cli(*arguments, "--out", tmp_path / "exported")
    assert result.sentence == (
        "int8 needs at least 20 calibration images, and there are 6; raise data.calibration_per_class"
    )


def edit(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Changes a manifest and removes its seal, as somebody would who knows what it is."""
    path = folder / "manifest.json"
    value = json.loads(path.read_text())
    change(value)
    value.pop("digest")
    path.write_text(json.dumps(value))


def copied(folder: Path, out: Path) -> Path:
    out.mkdir()
    for path in folder.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def test_what_an_export_cannot_do_is_said(cli: Cli, run: Path, policy: Path, exported: Path, tmp_path: Path) -> None:
    weights = run / "best.safetensors"
    refused = {
        f"{exported}: is an export in int8, and does not run in bf16": ("--weights", exported, "--precision", "bf16"),
        f"--runtime is for the folder of an export, and {weights} is none": (
            *("--weights", weights),
            *("--runtime", "openvino"),
        ),
        f"{weights}: runs in int8 only as an export": ("--weights", weights, "--policy", exported / "policy.json"),
    }
    for sentence, arguments in refused.items():
        result = cli("eval", "--out", tmp_path, *arguments)
        assert (result.code, result.sentence.startswith(sentence)) == (2, True), result.err

    damaged = copied(exported, tmp_path / "damaged")
    (damaged / "outputs-val-int8-onnxruntime.npz").unlink()
    segment = damaged / "segment-1.onnx"
    segment.write_bytes(segment.read_bytes()[:-100])
    result = cli("eval", "--weights", damaged, "--out", tmp_path)
    assert result.sentence.startswith(f"{segment}: is not the file that was exported")

    other = copied(exported, tmp_path / "other")
    edit(other, lambda value: value.update(format="greenedge-export/1"))
    result = cli("predict", "--weights", other, tmp_path / "x.png")
    assert "was written by another version of greenedge" in result.sentence


def test_a_runtime_that_is_missing_is_named(
    cli: Cli, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenedge.inference.runtimes.is_installed", lambda _: False)
    for command in (("eval", "--out", tmp_path), ("predict", tmp_path / "x.png")):
        result = cli(*command, "--weights", exported)
        assert result.sentence == "onnxruntime is not installed; pip install 'greenedge[onnx]'"


def test_weights_of_8_bits_are_doubted_where_sums_overflow(
    cli: Cli, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenedge.workflows.models.sums_are_exact", lambda: False)
    monkeypatch.setattr("greenedge.inference.export_check.sums_are_exact", lambda: False)
    copy = copied(exported, tmp_path / "copy")
    edit(copy, lambda value: value["quantization"].update(weight_bits=8))  # type: ignore[attr-defined]
    result = cli("eval", "--weights", copy, "--out", tmp_path / "found")
    assert f"its weights have 8 bits, and {processor.NO_VNNI}; export it again on this machine" in result.err

    path = copy / "manifest.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {SEAL: seal_of(value)}))
    result = cli("export", "--check", copy)
    assert result.sentence == (
        f"{copy}: its weights have 8 bits, and {processor.NO_VNNI}; export it again on this machine"
    )


def test_the_runner_doubts_weights_of_8_bits_where_sums_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_files, "sums_are_exact", lambda: False)
    assert runner_files.find_doubt({"quantization": {"weight_bits": 8}}).startswith("note: this processor has no VNNI")
    assert runner_files.find_doubt({"quantization": {"weight_bits": 7}}) == ""
    assert runner_files.find_doubt({"quantization": None}) == ""


def test_kept_outputs_of_another_processor_are_not_taken(
    cli: Cli, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("eval", "--weights", exported, "--policy", exported / "policy.json", "--out", tmp_path)
    assert "the network need not run" in cli(*arguments).err
    monkeypatch.setattr("greenedge.workflows.models.sums_are_exact", lambda: not processor.sums_are_exact())
    assert "the network need not run" not in cli(*arguments).err
