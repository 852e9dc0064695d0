"""What a config says of the store, against what the data set is."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from greenedge.api import Engine
from greenedge.config import RunConfig
from greenedge.data.originals import ORIGINALS
from greenedge.data.prepare import PrepareOptions, prepare
from greenedge.data.prepared import image_paths
from greenedge.errors import ConfigError
from greenedge.exits.policy import shared_policy
from greenedge.training.completion import complete_config
from greenedge.training.configs import parse_config
from greenedge.training.run import build_run
from greenedge.training.trained import load_model
from greenedge.workflows.outputs import PassOptions, load_or_compute_outputs
from greenedge.workflows.train import train
from tests.conftest import write_official_layout

CONFIG = """\
data: {{path: {path}, calibration_per_class: 2}}
model: {{backbone: resnet18, exits: [{{after: layer1, head: linear}}]}}
train: {{epochs: 1, batch_size: 8, device: cpu}}
"""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    prepare([write_official_layout(folder / "source")], folder / "data", PrepareOptions(size=32, store=ORIGINALS))
    return folder / "data"


def completed(path: Path, *overrides: str) -> RunConfig:
    return complete_config(parse_config(CONFIG.format(path=path), "c.yaml", overrides))


def test_complete_config_decodes_originals_to_the_size_asked_for(originals: Path, tmp_path: Path) -> None:
    config = completed(originals, "data.store=originals", "data.training_crop.min_area=0.5")
    assert config.data.input_size == 32
    run = build_run(completed(originals, "data.image_size=48"), tmp_path, pretrained=False)
    assert run.splits.train.image_size == run.splits.monitor.image_size == 48
    assert run.settings.crops is not None
    assert (run.settings.crops.min_area, run.settings.crops.max_ratio) == (0.08, pytest.approx(4 / 3))
    centred = build_run(completed(originals, "data.training_crop.kind=centre"), tmp_path, pretrained=False)
    assert centred.settings.crops is None


def test_complete_config_refuses_another_store(originals: Path, prepared: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        completed(originals, "data.store=arrays")
    assert f"data.store: is arrays, and {originals} keeps originals; prepare it again with" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        completed(prepared, "data.store=originals")
    assert "keeps arrays; prepare it again with --store originals, or leave this key out" in str(caught.value)
    with pytest.raises(ConfigError, match="expected") as caught:
        completed(prepared, "data.store=tapes")
    assert "arrays" in str(caught.value)


def test_complete_config_refuses_crops_of_arrays(prepared: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        completed(prepared, "data.training_crop.kind=random")
    assert "data.training_crop: is for originals, and" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        completed(prepared, "data.training_crop.kind=random", "data.store=arrays")
    assert "data.training_crop: is for originals, and store is arrays" in str(caught.value)


def test_complete_config_says_that_originals_are_enlarged(originals: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="greenedge"):
        completed(originals, "data.image_size=64")
        assert caplog.messages == []
        completed(originals, "data.image_size=72")
    assert caplog.messages == [
        "note: half of the originals have a shorter side of at most 64 px; they are enlarged to 72 px"
    ]


def test_predicting_files_gives_what_evaluating_their_originals_or_arrays_gives(
    originals: Path, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG.format(path=originals))
    train(tmp_path / "c.yaml", ["data.image_size=40", "train.precision=float32"], tmp_path / "run")
    model = load_model(tmp_path / "run" / "last.safetensors")
    assert model.stored_size == 40

    evaluated = load_or_compute_outputs(model, PassOptions(), tmp_path)
    source = originals.parent / "source"
    files = [source / path for path in image_paths(evaluated.split) or ()]
    predictions = Engine(model, shared_policy("entropy", None, 1), precision="float32").predict(files)
    final = evaluated.outputs.logits[-1]
    assert predictions.predictions.tolist() == final.argmax(axis=1).tolist()
    expected = np.exp(final - final.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        predictions.confidence, (expected / expected.sum(axis=1, keepdims=True)).max(axis=1), rtol=1e-4
    )

    prepare([source], tmp_path / "arrays", PrepareOptions(size=40))
    arrays = load_or_compute_outputs(model, PassOptions(tmp_path / "arrays"), tmp_path / "other")
    np.testing.assert_array_equal(arrays.outputs.logits, evaluated.outputs.logits)
