from __future__ import annotations

import ast
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from greenedge.data.layouts import ClassInfo
from greenedge.exits.confidence import CRITERIA
from greenedge.exits.policy import ExitPolicy, SavedPolicy, shared_policy, write_policy
from greenedge.inference import Answers, Engine, onnx_runner
from greenedge.inference.export import Meaning, export_network
from greenedge.inference.onnx_runner import Runner
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import parting_policy

MEANING = Meaning((0.4, 0.5, 0.6), (0.1, 0.2, 0.3), 64, tuple(ClassInfo(f"n {i}", f"name {i}") for i in range(3)))


@pytest.fixture(scope="module")
def engine(network: MultiExitNetwork, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """One for all policies: making it takes longer than the answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return Engine(network, shared_policy("entropy", 0.0, 2), precision="float32")


@pytest.fixture(scope="module")
def folder(network: MultiExitNetwork, logits: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export, for reading only."""
    path = tmp_path_factory.mktemp("exported")
    export_network(network, saved(network, parting_policy("entropy", logits)), MEANING, path, "onnx")
    return path


@pytest.fixture
def own_folder(folder: Path, tmp_path: Path) -> Path:
    """The same graphs; everything else may be replaced."""
    copied: Path = shutil.copytree(folder, tmp_path / "copied", copy_function=os.link)
    return copied


def saved(network: MultiExitNetwork, policy: ExitPolicy) -> SavedPolicy:
    return SavedPolicy(policy, tuple(segment.after for segment in network.segments))


def check(found: onnx_runner.Answers, expected: Answers) -> None:
    """All columns are the engine's."""
    assert found.predictions.tolist() == expected.predictions.tolist()
    assert found.exits.tolist() == expected.exits.tolist()
    assert found.gflops.tolist() == pytest.approx(expected.gflops.tolist())
    torch.testing.assert_close(torch.from_numpy(found.confidence), expected.confidence, rtol=1e-3, atol=1e-4)
    scale = expected.logits.abs().max().clamp_min(1)
    torch.testing.assert_close(torch.from_numpy(found.logits) / scale, expected.logits / scale, rtol=0, atol=1e-4)
    types = [str(column.dtype) for column in vars(found).values()]
    assert types == ["int64", "int64", "float32", "float64", "float32"]


def distances(policy: ExitPolicy, logits: Tensor) -> list[float]:
    """How near the scores of the early exits come to their thresholds."""
    memory, found = None, []
    for index, threshold in enumerate(policy.thresholds):
        scores, memory = policy.rule.step(logits[index] / policy.temperature(index), memory)
        found.append(float((scores - threshold).abs().min()))
    return found


@pytest.mark.parametrize("name", sorted(CRITERIA))
@pytest.mark.parametrize("temperatures", [None, (0.5, 2.0, 3.0)])
def test_answers_are_the_engines(
    network: MultiExitNetwork,
    engine: Engine,
    images: Tensor,
    logits: Tensor,
    own_folder: Path,
    name: str,
    temperatures: tuple[float, ...] | None,
) -> None:
    policy = parting_policy(name, logits, temperatures)
    if name != "patience":  # whose scores are whole numbers
        assert min(distances(policy, logits)) > 1e-4
    write_policy(own_folder / "policy.json", saved(network, policy))
    runner, engine.policy = Runner(own_folder), policy
    for count in (1, 4, 23):
        check(runner.answer(images[:count].numpy()), engine.answer(images[:count]))
    assert len(set(runner.answer(images.numpy()).exits.tolist())) > 1


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_all_images_may_stay_to_the_end(
    network: MultiExitNetwork, engine: Engine, images: Tensor, own_folder: Path, name: str
) -> None:
    engine.policy = policy = shared_policy(name, None, 2)
    write_policy(own_folder / "policy.json", saved(network, policy))
    found = Runner(own_folder).answer(images.numpy())
    assert found.exits.tolist() == [2] * 23
    check(found, engine.answer(images))


@pytest.mark.parametrize(("name", "towards"), [("entropy", 1.0), ("max_probability", -1.0)])
def test_a_score_on_the_threshold_does_not_leave(
    network: MultiExitNetwork, images: Tensor, own_folder: Path, name: str, towards: float
) -> None:
    first = Runner(own_folder).sessions[0].run(["logits"], {"features": images[:1].numpy()})[0]
    score = float(onnx_runner._scores(name, first, None)[0][0])
    just_beyond = float(np.nextafter(score, towards * np.inf))  # in float64; in float32 they are one number
    for threshold, exit_index in ((score, 1), (just_beyond, 0)):
        policy = ExitPolicy(name, (threshold, 9 * towards))  # whatever comes to the second exit leaves
        write_policy(own_folder / "policy.json", saved(network, policy))
        assert Runner(own_folder).answer(images[:1].numpy()).exits.tolist() == [exit_index]


def test_only_survivors_reach_the_next_segment(folder: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner(folder)
    sizes: list[int] = []

    @dataclasses.dataclass
    class Noting:
        session: object

        def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            sizes.append(len(inputs["features"]))
            results: list[np.ndarray] = self.session.run(outputs, inputs)  # type: ignore[attr-defined]
            return results

    monkeypatch.setattr(runner, "sessions", [Noting(session) for session in runner.sessions])
    exits = runner.answer(images.numpy()).exits
    assert sizes == [int((exits >= index).sum()) for index in range(3)]
    assert 23 > sizes[1] > sizes[2] > 0
    sizes.clear()
    runner.limits = [1e9, 1e9, np.inf]
    runner.answer(images.numpy())
    assert sizes == [23]


def test_bad_images_are_one_sentence(folder: Path, images: Tensor) -> None:
    runner = Runner(folder)
    for array, what in (
        (np.zeros((2, 3, 64, 64), dtype=np.float32), r"float32 \(2, 3, 64, 64\)"),
        (np.zeros((3, 32, 32), dtype=np.float32), r"float32 \(3, 32, 32\)"),
        (np.zeros((), dtype=np.float32), r"float32 \(\)"),
        (np.zeros((0, 3, 32, 32), dtype=np.float32), r"float32 \(0, 3, 32, 32\)"),
        (np.zeros((2, 3, 32, 32), dtype=np.uint8), r"uint8 \(2, 3, 32, 32\)"),
    ):
        with pytest.raises(ValueError, match=rf"^images must be float32 \(N, 3, 32, 32\), found {what}$"):
            runner.answer(array)
    for value in (float("nan"), float("inf")):
        broken = images.numpy().copy()
        broken[4, 1, 2, 3] = value
        with pytest.raises(ValueError, match=r"^image 4 holds pixels that are NaN or infinite; mend or leave it out$"):
            runner.answer(broken)


def test_a_folder_that_is_no_export_is_refused(own_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        Runner(tmp_path)
    policy = json.loads((own_folder / "policy.json").read_text())
    for changes in ({"thresholds": [1.0]}, {"exits": ["layer1.1", "layer2.1", "layer4.1"]}):
        (own_folder / "policy.json").unlink()
        (own_folder / "policy.json").write_text(json.dumps({**policy, **changes}))
        with pytest.raises(ValueError, match=r"policy\.json is for a network with other exits"):
            Runner(own_folder)
    manifest = json.loads((own_folder / "manifest.json").read_text())
    for changes in ({"format": "greenedge-export/2"}, {"kind": "torch"}):
        (own_folder / "manifest.json").unlink()
        (own_folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))
        with pytest.raises(ValueError, match="is no export of greenedge in ONNX"):
            Runner(own_folder)


def test_the_file_is_short_and_needs_numpy_and_onnxruntime_alone() -> None:
    text = Path(onnx_runner.__file__).read_text()
    assert len(text.splitlines()) < 100
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


def run_script(folder: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python runner.py ...` where neither torch nor greenedge can be imported."""
    without = (
        "import runpy, sys; sys.modules.update(torch=None, greenedge=None); "
        "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-I", "-W", "error", "-c", without, str(folder / "runner.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_the_copy_in_the_folder_runs_without_torch_and_greenedge(folder: Path, images: Tensor, tmp_path: Path) -> None:
    many = torch.cat([images, images, images, images])
    np.save(tmp_path / "images.npy", many.numpy())
    result = run_script(folder, folder, "images.npy", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    answers = Runner(folder).answer(many.numpy())
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == [f"n {index}" for index in answers.predictions]
    assert [int(row[1]) for row in rows] == [index + 1 for index in answers.exits]
    assert [float(row[2]) for row in rows] == pytest.approx(answers.confidence.tolist(), abs=1e-4)


def test_the_script_answers_bad_input_with_one_line(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.zeros((2, 3, 64, 64), dtype=np.float32))
    np.save(tmp_path / "number.npy", np.float32(1))
    (tmp_path / "text.npy").write_text("not an array")
    for arguments, words in (
        ([folder], "usage: python runner.py FOLDER IMAGES.npy"),
        ([folder, "missing.npy"], "missing.npy"),
        ([folder, "wrong.npy"], "error: images must be float32 (N, 3, 32, 32), found float32 (2, 3, 64, 64)"),
        ([folder, "number.npy"], "error: images must be float32 (N, 3, 32, 32), found float32 (1,)"),
        ([folder, "text.npy"], "error: "),
        ([tmp_path, "wrong.npy"], "manifest.json"),
    ):
        result = run_script(folder, *arguments, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
