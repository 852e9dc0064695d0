from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenedge.exits.outputs import ExitOutputs, ExpectedOutputs, load_outputs, save_outputs
from tests.exits.helpers import random_outputs

OUTPUTS = random_outputs(0, 3, 10, 4)
EXPECTED = ExpectedOutputs(OUTPUTS.labels, OUTPUTS.gflops, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_outputs(tmp_path / "outputs-val.npz", OUTPUTS, "these weights")
    return tmp_path / "outputs-val.npz"


def with_members(path: Path, compression: int = zipfile.ZIP_STORED, **changed: bytes) -> None:
    """The file with the content of some members replaced, their check sums right."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, each in {**content, **{f"{key}.npy": value for key, value in changed.items()}}.items():
            archive.writestr(name, each)


def npy(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def promising(shape: tuple[int, ...]) -> bytes:
    """The header of an array that is not there."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(64)


def test_outputs_come_back_as_they_were_kept(path: Path) -> None:
    found = load_outputs(path, "these weights", EXPECTED)
    assert found is not None
    np.testing.assert_array_equal(found.logits, OUTPUTS.logits)
    np.testing.assert_array_equal(found.labels, OUTPUTS.labels)
    np.testing.assert_array_equal(found.gflops, OUTPUTS.gflops)
    assert found.logits.dtype == np.float32


@pytest.mark.parametrize("source", ["other weights", "those weights", "these", ""])
def test_outputs_of_other_weights_are_not_taken(path: Path, source: str) -> None:
    assert load_outputs(path, source, EXPECTED) is None


def test_a_pickled_source_is_another(path: Path) -> None:
    np.savez(path, source=np.array([{}], dtype=object), allow_pickle=True)
    assert load_outputs(path, "these weights", EXPECTED) is None


def test_absent_outputs_are_none(tmp_path: Path) -> None:
    assert load_outputs(tmp_path / "absent.npz", "s", EXPECTED) is None


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_bytes(b"") and None,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:200]) and None,
    "a byte": lambda path: path.write_bytes(path.read_bytes().replace(npy(OUTPUTS.labels)[-80:], bytes(80))) and None,
    "other shape": lambda path: with_members(path, logits=npy(OUTPUTS.logits[:, :9])),
    "other type": lambda path: with_members(path, logits=npy(OUTPUTS.logits.astype(np.float64))),
    "object array": lambda path: with_members(path, labels=npy(np.array([{}] * 10), allow_pickle=True)),
    "terabytes": lambda path: with_members(path, logits=promising((3, 10, 4 * 10**12))),
    "nothing behind the header": lambda path: with_members(path, logits=promising((3, 10, 4))[:-64]),
    "no header": lambda path: with_members(path, gflops=b"x"),
    "other labels": lambda path: with_members(path, labels=npy((OUTPUTS.labels + 1) % 4)),
    "other costs": lambda path: with_members(path, gflops=npy(-OUTPUTS.gflops)),
    "not finite": lambda path: with_members(path, logits=npy(np.where(OUTPUTS.logits > 0, np.nan, OUTPUTS.logits))),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_outputs_are_told(path: Path, damage: str) -> None:
    DAMAGES[damage](path)
    with pytest.raises(ValueError, match=r"is damaged|that are NaN or infinite"):
        load_outputs(path, "these weights", EXPECTED)


def test_a_byte_changed_anywhere_is_told_or_changes_nothing(path: Path) -> None:
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(0, len(content), 400).tolist():
        changed = bytearray(content)
        changed[place] ^= 1 << random.integers(8)
        path.write_bytes(changed)
        try:
            found = load_outputs(path, "these weights", EXPECTED)
        except ValueError:
            continue
        if found is not None:
            np.testing.assert_array_equal(found.logits, OUTPUTS.logits)


def test_accuracy_of_each_exit() -> None:
    logits = np.array([[[1, 0], [1, 0]], [[1, 0], [0, 1]]], dtype=np.float32)
    outputs = ExitOutputs(logits, np.array([0, 1]), np.array([1.0, 2.0]))
    assert outputs.exit_accuracies().tolist() == [0.5, 1.0]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        ExitOutputs(np.zeros((2, 3, 4), np.float32), np.zeros(2, np.int64), np.zeros(2))
    with pytest.raises(ValueError, match="gflops"):
        ExitOutputs(np.zeros((2, 3, 4), np.float32), np.zeros(3, np.int64), np.zeros(3))
    with pytest.raises(ValueError, match="of no exit, no image or no class"):
        ExitOutputs(np.zeros((2, 0, 4), np.float32), np.zeros(0, np.int64), np.zeros(2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused_by_their_exit(value: float) -> None:
    logits = OUTPUTS.logits.copy()
    logits[1, 3, 2] = value
    with pytest.raises(ValueError, match="exit 2 gives logits that are NaN or infinite"):
        ExitOutputs(logits, OUTPUTS.labels, OUTPUTS.gflops)


@pytest.mark.parametrize("gflops", [[-1.0, 1.0, 2.0], [1.0, 3.0, 2.0], [1.0, np.nan, 2.0], [1.0, 2.0, np.inf]])
def test_costs_that_cannot_be_are_refused(gflops: list[float]) -> None:
    with pytest.raises(ValueError, match=re.escape("costs must be at least 0 and rise")):
        ExitOutputs(OUTPUTS.logits, OUTPUTS.labels, np.array(gflops))


@pytest.mark.parametrize("label", [-1, 4])
def test_labels_outside_the_classes_are_refused(label: int) -> None:
    labels = OUTPUTS.labels.copy()
    labels[7] = label
    with pytest.raises(ValueError, match=r"labels lie outside 0\.\.3"):
        ExitOutputs(OUTPUTS.logits, labels, OUTPUTS.gflops)
