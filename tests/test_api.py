"""The Python API, against the command line's own results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from torchvision.ops import StochasticDepth

import greenedge
from greenedge.api.networks import Exit
from greenedge.errors import CheckpointError, ConfigError, DataError, UsageError
from tests.archives import extract
from tests.conftest import REPOSITORY

pytest.importorskip("timm")


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    extract(REPOSITORY / "tests" / "compatibility" / "former-run.tar.xz", folder)
    (folder / "former-run" / "finished" / "last.safetensors").rename(
        folder / "former-run" / "finished" / "best.safetensors"
    )
    return folder / "former-run"


@pytest.fixture
def run(former: Path, monkeypatch: pytest.MonkeyPatch) -> greenedge.TrainedModel:
    monkeypatch.chdir(former)
    return greenedge.load_checkpoint("finished")


@pytest.mark.parametrize(
    "exits",
    [
        ["layer1", "layer3"],
        [("layer1", "light"), ("layer3", "light")],
        [{"after": "layer1"}, {"after": "layer3", "head": {"light": {"width": 128}}}],
    ],
)
def test_create_model_takes_exits_in_each_form(exits: list[Exit]) -> None:
    torch.manual_seed(0)
    expected = greenedge.create_model("resnet18", ["layer1", "layer3"], num_classes=5, image_size=32)
    torch.manual_seed(0)
    network = greenedge.create_model("resnet18", exits, num_classes=5, image_size=32)
    for one, other in zip(network.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [logits.shape for logits in network(torch.zeros(2, 3, 32, 32))] == [(2, 5)] * 3


def test_create_model_sets_the_rate_of_stochastic_depth_or_refuses_it() -> None:
    network = greenedge.create_model("efficientnet_b0", num_classes=5, image_size=32, stochastic_depth=0.0)
    rates = [each.p for each in network.modules() if isinstance(each, StochasticDepth)]
    assert rates == [0.0] * 16
    for backbone, rate, words in (
        ("efficientnet_b0", 1.5, "expected a rate from 0 to below 1, found 1.5"),
        ("resnet18", 0.1, "resnet18 is built without stochastic depth"),
    ):
        with pytest.raises(ConfigError, match=words):
            greenedge.create_model(backbone, stochastic_depth=rate)


@pytest.mark.parametrize(
    ("exits", "words"),
    [
        (["layer9"], "there is no block 'layer9'"),
        ([("layer1", "huge")], "there is no 'huge'"),
        ([{"at": 1}], "an exit is"),
    ],
)
def test_create_model_refuses_what_there_is_not(exits: list[Exit], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        greenedge.create_model("resnet18", exits, num_classes=5, image_size=32)


def test_lists_name_what_can_be_created() -> None:
    assert {"resnet18", "vgg16", "efficientnet_b0"} <= set(greenedge.list_models())
    assert greenedge.list_heads() == ["light", "linear", "paper", "pooled"]
    assert greenedge.list_criteria()[0] == "entropy"
    blocks = greenedge.list_blocks("resnet18")
    assert (blocks[0], blocks[-1], len(blocks)) == ("stem", "layer4.1", 9)


def test_collect_outputs_equals_the_kept_ones_whatever_the_loader(run: greenedge.TrainedModel) -> None:
    kept = np.load("finished/outputs-val.npz")
    loader = greenedge.load_data(run, split="val")
    outputs = greenedge.collect_outputs(run, loader)
    np.testing.assert_allclose(outputs.logits, kept["logits"], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(outputs.labels, kept["labels"])
    np.testing.assert_allclose(outputs.gflops, kept["gflops"])

    images, labels = (torch.cat(each) for each in zip(*loader, strict=True))
    batches = DataLoader(TensorDataset(images, labels), batch_size=7)
    again = greenedge.collect_outputs(run.network, batches)
    np.testing.assert_allclose(again.logits, outputs.logits, rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="gives no images"):
        greenedge.collect_outputs(run, [])
    with pytest.raises(UsageError, match="costs of such a module are not known"):
        greenedge.collect_outputs(torch.nn.Linear(1, 1), [])


def test_sweep_tune_and_evaluate_give_what_the_commands_gave(run: greenedge.TrainedModel) -> None:
    outputs = greenedge.collect_outputs(run, greenedge.load_data(run, split="val"))
    found, expected = greenedge.sweep(outputs), json.loads(Path("finished/sweep.json").read_text())
    assert found.points.accuracy.tolist() == pytest.approx([each["accuracy"] for each in expected["points"]])
    assert found.dominated_area.value == pytest.approx(expected["dominated_area"])
    assert [found.dominated_area.interval.low, found.dominated_area.interval.high] == pytest.approx(
        expected["dominated_area_interval"]
    )
    assert len(greenedge.plot_sweep(found).axes) == 1

    calibration = greenedge.collect_outputs(run, greenedge.load_data(run, split="calibration"))
    tuned = greenedge.tune(calibration, budget_gflops=0.00205, shown=outputs)
    policy = json.loads(Path("finished/policy.json").read_text())
    assert tuned.policy.thresholds == pytest.approx(policy["thresholds"], rel=1e-4)
    assert greenedge.evaluate(outputs, tuned.policy).accuracy == tuned.chosen.shown.accuracy
    for result in (found, tuned, outputs, run, greenedge.load_data(run)):
        assert len(repr(result)) < 200
    with pytest.raises(UsageError, match="say what to aim for"):
        greenedge.tune(calibration)


def test_engine_predicts_files_images_and_arrays_alike(run: greenedge.TrainedModel, tmp_path: Path) -> None:
    pixels = np.load("images.npy").transpose(0, 2, 3, 1)
    paths = [tmp_path / f"{index}.png" for index in range(len(pixels))]
    for path, each in zip(paths, pixels, strict=True):
        Image.fromarray(each).save(path)
    engine = greenedge.Engine(run, greenedge.ExitPolicy("margin", (0.2, 0.15)), precision="float32")
    by_file = engine.predict(paths)
    for others in (engine.predict(list(pixels)), engine.predict([Image.open(path) for path in paths])):
        assert torch.equal(others.logits, by_file.logits)
        assert torch.equal(others.exits, by_file.exits)
    with pytest.raises(DataError, match="image 0"):
        engine.predict([np.zeros((4, 4, 7), dtype=np.uint8)])
    with pytest.raises(UsageError, match="knows no preprocessing"):
        greenedge.Engine(run.network).predict(paths)


def test_engine_takes_a_policys_file_and_checks_it(run: greenedge.TrainedModel) -> None:
    assert greenedge.Engine(run, "finished/policy.json").policy.criterion == "entropy"
    with pytest.raises(UsageError, match="no such policy"):
        greenedge.Engine(run, "nothing.json")


def test_load_data_of_a_folder_and_its_errors(run: greenedge.TrainedModel) -> None:
    images, labels = next(iter(greenedge.load_data("data", "val", image_size=16, batch_size=4)))
    assert (images.shape, labels.shape) == ((4, 3, 16, 16), (4,))
    with pytest.raises(UsageError, match="a folder has no calibration images"):
        greenedge.load_data("data", "calibration")
    with pytest.raises(CheckpointError):
        greenedge.load_checkpoint("nothing.safetensors")


def test_train_trains_a_config_by_name(run: greenedge.TrainedModel, tmp_path: Path) -> None:
    overrides = ["data.path=data", "data.image_size=32", "data.calibration_per_class=6", "train.epochs=1"]
    overrides += ["model.backbone=timm/test_efficientnet", "model.exits=[{after: blocks.1, head: linear}]"]
    outcome = greenedge.train("quickstart", overrides, out=str(tmp_path / "run"))
    assert (len(outcome.history), outcome.stopped_by) == (1, None)
    assert greenedge.load_checkpoint(tmp_path / "run").num_exits == 2
