from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from greenedge.exits.outputs import ExitOutputs, load_outputs, save_outputs
from tests.exits.helpers import random_outputs


def test_outputs_come_back_as_they_were_kept(tmp_path: Path) -> None:
    outputs = random_outputs(0, 3, 10, 4)
    save_outputs(tmp_path / "outputs-val.npz", outputs, "these weights")
    found = load_outputs(tmp_path / "outputs-val.npz", "these weights")
    assert found is not None
    np.testing.assert_array_equal(found.logits, outputs.logits)
    np.testing.assert_array_equal(found.labels, outputs.labels)
    np.testing.assert_array_equal(found.gflops, outputs.gflops)
    assert found.logits.dtype == np.float32


def test_outputs_of_other_weights_are_not_taken(tmp_path: Path) -> None:
    save_outputs(tmp_path / "outputs-val.npz", random_outputs(0, 3, 10, 4), "these weights")
    assert load_outputs(tmp_path / "outputs-val.npz", "other weights") is None


@pytest.mark.parametrize("damage", ["absent", "truncated", "pickle"])
def test_absent_or_damaged_outputs_are_not_taken(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "outputs-val.npz"
    if damage == "truncated":
        save_outputs(path, random_outputs(0, 3, 10, 4), "s")
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "pickle":
        np.savez(path, source=np.array([{}], dtype=object))
    assert load_outputs(path, "s") is None


def test_accuracy_of_each_exit() -> None:
    logits = np.array([[[1, 0], [1, 0]], [[1, 0], [0, 1]]], dtype=np.float32)
    outputs = ExitOutputs(logits, np.array([0, 1]), np.array([1.0, 2.0]))
    assert outputs.exit_accuracies().tolist() == [0.5, 1.0]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        ExitOutputs(np.zeros((2, 3, 4), np.float32), np.zeros(2, np.int64), np.zeros(2))
    with pytest.raises(ValueError, match="gflops"):
        ExitOutputs(np.zeros((2, 3, 4), np.float32), np.zeros(3, np.int64), np.zeros(3))
