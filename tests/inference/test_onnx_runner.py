from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from greenedge.data.layouts import ClassInfo
from greenedge.exits.policy import ExitPolicy, SavedPolicy, shared_policy, write_policy
from greenedge.inference import Engine, Predictions, onnx_runner, runner_criteria, runner_files, runner_images
from greenedge.inference.export import ExportMetadata, export_network
from greenedge.inference.onnx_runner import Runner
from greenedge.models.multi_exit import MultiExitNetwork
from tests.inference.helpers import CRITERION_NAMES, joined_by_hand, parting_policy, policy_of

MEANING = ExportMetadata(
    (0.4, 0.5, 0.6), (0.1, 0.2, 0.3), 64, tuple(ClassInfo(f"n {i}", f"name {i}") for i in range(3))
)


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


def check(found: onnx_runner.Predictions, expected: Predictions) -> None:
    """All columns are the engine's."""
    assert found.predictions.tolist() == expected.predictions.tolist()
    assert found.exits.tolist() == expected.exits.tolist()
    assert found.gflops.tolist() == pytest.approx(expected.gflops.tolist(), rel=1e-12)
    torch.testing.assert_close(torch.from_numpy(found.confidence), expected.confidence, rtol=1e-3, atol=1e-4)
    scale = expected.logits.abs().max().clamp_min(1)
    torch.testing.assert_close(torch.from_numpy(found.logits) / scale, expected.logits / scale, rtol=0, atol=1e-4)
    types = [str(column.dtype) for column in found._asdict().values()]
    assert types == ["int64", "int64", "float32", "float64", "float32"]


def distances(policy: ExitPolicy, logits: Tensor) -> list[float]:
    """How near the scores of the early exits come to their thresholds."""
    memory, found = None, []
    joined = joined_by_hand(logits, policy.temperatures, policy.ensemble)
    for index, threshold in enumerate(policy.thresholds):
        scores, memory = policy.get_criterion().score_exit(joined[index], memory)
        found.append(float((scores - threshold).abs().min()))
    return found


@pytest.mark.parametrize("name", CRITERION_NAMES)
@pytest.mark.parametrize(
    ("temperatures", "ensemble"), [(None, None), ((0.5, 2.0, 3.0), None), ((0.5, 2.0, 3.0), (0.2, 0.6))]
)
def test_answers_are_the_engines(
    network: MultiExitNetwork,
    engine: Engine,
    images: Tensor,
    logits: Tensor,
    own_folder: Path,
    name: str,
    temperatures: tuple[float, ...] | None,
    ensemble: tuple[float, ...] | None,
) -> None:
    policy = parting_policy(name, logits, temperatures, ensemble)
    if name != "patience":  # whose scores are whole numbers
        assert min(distances(policy, logits)) > 1e-4
    write_policy(own_folder / "policy.json", saved(network, policy))
    runner, engine.policy = Runner(own_folder), policy
    for count in (1, 4, 23):
        check(runner.predict(images[:count].numpy()), engine.predict(images[:count]))
    assert len(set(runner.predict(images.numpy()).exits.tolist())) > 1


@pytest.mark.parametrize("name", CRITERION_NAMES)
def test_all_images_may_stay_to_the_end(
    network: MultiExitNetwork, engine: Engine, images: Tensor, own_folder: Path, name: str
) -> None:
    engine.policy = policy = policy_of(name, (0.0, 0.0)).without_early_exit()
    write_policy(own_folder / "policy.json", saved(network, policy))
    found = Runner(own_folder).predict(images.numpy())
    assert found.exits.tolist() == [2] * 23
    check(found, engine.predict(images))


@pytest.mark.parametrize("name", CRITERION_NAMES)
def test_an_image_does_not_exit_exactly_at_the_threshold(
    network: MultiExitNetwork, images: Tensor, own_folder: Path, name: str
) -> None:
    policy = policy_of(name, (0.0, 0.0))
    towards = 1.0 if policy.get_criterion().exit_if_below else -1.0
    first = Runner(own_folder).sessions[0].run(["logits"], {"features": images[:1].numpy()})[0]
    score = float(runner_criteria.score_exit(dataclasses.asdict(policy), 0, first, np.zeros((1, 0)))[0][0])
    just_beyond = float(np.nextafter(score, towards * np.inf))  # in float64; in float32 they are one number
    for threshold, exit_index in ((score, 1), (just_beyond, 0)):
        policy = dataclasses.replace(
            policy, thresholds=(threshold, 9 * towards)
        )  # whatever comes to the second exit exits there
        write_policy(own_folder / "policy.json", saved(network, policy))
        assert Runner(own_folder).predict(images[:1].numpy()).exits.tolist() == [exit_index]


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
    exits = runner.predict(images.numpy()).exits
    assert sizes == [int((exits >= index).sum()) for index in range(3)]
    assert 23 > sizes[1] > sizes[2] > 0
    sizes.clear()
    runner.limits = [1e9, 1e9, np.inf]
    runner.predict(images.numpy())
    assert sizes == [23]


def test_bad_images_are_one_sentence(folder: Path, images: Tensor) -> None:
    runner = Runner(folder)
    for array, what in (
        (np.zeros((2, 3, 64, 64), dtype=np.float32), r"float32 \(2, 3, 64, 64\)"),
        (np.zeros((3, 32, 32), dtype=np.float32), r"float32 \(3, 32, 32\)"),
        (np.zeros((), dtype=np.float32), r"float32 \(\)"),
        (np.zeros((0, 3, 32, 32), dtype=np.float32), r"float32 \(0, 3, 32, 32\)"),
        (np.zeros((2, 3, 64, 64), dtype=np.uint8), r"uint8 \(2, 3, 64, 64\)"),
        (np.zeros((2, 3, 32, 32), dtype=np.int64), r"int64 \(2, 3, 32, 32\)"),
    ):
        with pytest.raises(ValueError, match=rf"^images must be float32 or uint8 \(N, 3, 32, 32\), found {what}$"):
            runner.predict(array)
    for value in (float("nan"), float("inf")):
        broken = images.numpy().copy()
        broken[4, 1, 2, 3] = value
        with pytest.raises(ValueError, match=r"^image 4 holds pixels that are NaN or infinite; fix or leave it out$"):
            runner.predict(broken)


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The same file with other content, as if it had been written like that: with no seal."""
    content = json.loads(path.read_text())
    content.pop("digest", None)
    change(content)
    path.unlink()  # it is a link to the shared export
    path.write_text(json.dumps(content))


def test_a_folder_that_is_no_export_is_refused(own_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        Runner(tmp_path)
    original = (own_folder / "policy.json").read_bytes()
    for changes in ({"thresholds": [1.0]}, {"exits": ["layer1.1", "layer2.1", "layer4.1"]}):
        rewrite(own_folder / "policy.json", lambda content, changes=changes: content.update(changes))
        with pytest.raises(ValueError, match=r"policy\.json is for a network with other exits"):
            Runner(own_folder)
        (own_folder / "policy.json").write_bytes(original)
    for changes, words in (
        ({"kind": "torch"}, "is not an ONNX export of greenedge"),
        ({"format": "greenedge-export/1"}, "is not of greenedge-export/2, which this runner knows; export again"),
    ):
        rewrite(own_folder / "manifest.json", lambda content, changes=changes: content.update(changes))
        with pytest.raises(ValueError, match=words):
            Runner(own_folder)


DAMAGED: list[tuple[str, str, Any, str]] = [
    ("manifest.json", "image_size", 0, "image_size is out of range"),
    ("manifest.json", "image_size", True, "'image_size'"),
    ("manifest.json", "image_size", "32", "'image_size'"),
    ("manifest.json", "preprocessing.stored_size", 0, "stored_size, mean or std"),
    ("manifest.json", "preprocessing.mean", [0.1, 0.2], "stored_size, mean or std"),
    ("manifest.json", "preprocessing.std", [0.1, 0.2, 0], "stored_size, mean or std"),
    ("manifest.json", "preprocessing.std", [0.1, 0.2, float("nan")], "'preprocessing'"),
    ("manifest.json", "preprocessing.pixel_range", [-1, 1], "asks for another pixel_range of the images"),
    ("manifest.json", "preprocessing.resize", [], "asks for another resize of the images"),
    ("manifest.json", "preprocessing.colour", "BGR", "asks for another colour of the images"),
    ("manifest.json", "preprocessing", None, "'preprocessing'"),
    ("manifest.json", "precision", None, "'precision'"),
    ("manifest.json", "precision", "int8", "a precision of no use here"),
    ("manifest.json", "classes", None, "'classes'"),
    ("manifest.json", "classes", [{"id": 1}], "'classes'"),
    ("manifest.json", "exits", {}, "'exits'"),
    ("manifest.json", "exits", [{"after": "layer1.1", "gflops": 10**400, "file": "a"}], "'exits'"),
    ("manifest.json", "leaves_below", [], "'leaves_below'"),
    ("manifest.json", "leaves_below", {"entropy": 1}, "the criterion 'entropy' of policy.json is unknown here"),
    ("policy.json", "criterion", "confidence", "the criterion 'confidence' of policy.json is unknown here"),
    ("policy.json", "criterion", ["entropy"], "'criterion'"),
    ("policy.json", "thresholds", [1.0, float("inf")], "'thresholds'"),
    ("policy.json", "thresholds", [1.0, True], "'thresholds'"),
    ("policy.json", "temperatures", [1.0, 1.0], "temperatures, weights or a precision"),
    ("policy.json", "temperatures", [1.0, 1.0, 0.0], "temperatures, weights or a precision"),
    ("policy.json", "temperatures", "111", "temperatures, weights or a precision"),
    ("policy.json", "ensemble", [0.5], "temperatures, weights or a precision"),
    ("policy.json", "ensemble", [0.5, 1.0], "temperatures, weights or a precision"),
    ("policy.json", "ensemble", [0.5, float("nan")], "temperatures, weights or a precision"),
    ("policy.json", "ensemble", 0.5, "temperatures, weights or a precision"),
    ("policy.json", "precision", "bf16", "temperatures, weights or a precision"),
    ("policy.json", "gain", [[0.0] * 9, [0.0] * 14], "coefficients of gain that do not fit"),
    ("policy.json", "criterion", "gain", "coefficients of gain that do not fit"),
    ("policy.json", "patience", 3, "has 'patience', which this runner does not know; export again"),
    ("manifest.json", "quantised", True, "has 'quantised', which this runner does not know; export again"),
]


@pytest.mark.parametrize(("name", "key", "value", "words"), DAMAGED)
def test_a_value_that_cannot_be_is_named(own_folder: Path, name: str, key: str, value: Any, words: str) -> None:
    if key == "precision" and name == "manifest.json":
        rewrite(own_folder / "policy.json", lambda content: content.update(precision="float32"))
    *above, last = key.split(".")
    rewrite(own_folder / name, lambda content: (content[above[0]] if above else content).update({last: value}))
    with pytest.raises(ValueError, match=re.escape(words)):
        Runner(own_folder)


@pytest.mark.parametrize("name", ["manifest.json", "policy.json"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[]", "not JSON of one mapping"),
        (b"", "not JSON"),
    ],
)
def test_a_file_that_is_no_json_is_refused(own_folder: Path, name: str, content: bytes, words: str) -> None:
    (own_folder / name).unlink()
    (own_folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        Runner(own_folder)


@pytest.mark.parametrize("name", ["manifest.json", "policy.json"])
def test_a_change_in_place_is_noticed(own_folder: Path, name: str) -> None:
    text = (own_folder / name).read_text()
    (own_folder / name).unlink()
    (own_folder / name).write_text(text.replace("layer1.1", "layer1.0"))
    with pytest.raises(ValueError, match="was changed after it was written"):
        Runner(own_folder)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../segment-0.onnx", "sub/segment-0.onnx", "..", "", "link.onnx", "a\\b"]
)
def test_files_outside_of_the_folder_are_not_read(own_folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(own_folder / "segment-0.onnx", tmp_path / "segment-0.onnx")
    (own_folder / "link.onnx").symlink_to(tmp_path / "segment-0.onnx")
    rewrite(own_folder / "manifest.json", lambda content: (content["exits"][0].update(file=name), content.pop("files")))
    with pytest.raises(ValueError, match="which is not a file of this folder"):
        Runner(own_folder)


def test_a_segment_that_is_another_is_refused(own_folder: Path) -> None:
    path = own_folder / "segment-1.onnx"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"segment-1\.onnx: is not the file that was exported with manifest\.json"):
        Runner(own_folder)


def test_uint8_images_are_normalised_as_the_manifest_says(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    mean, std = (np.array(each, dtype=np.float64).reshape(1, 3, 1, 1) for each in (MEANING.mean, MEANING.std))
    expected = Runner(folder).predict(((pixels / 255 - mean) / std).astype(np.float32))
    found = Runner(folder).predict(pixels)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-3, atol=1e-4)
    assert found.exits.tolist() == expected.exits.tolist()


def test_logits_that_are_no_numbers_are_no_answer(
    folder: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(folder)

    class Broken:
        def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [np.full((len(inputs["features"]), 3), np.nan, dtype=np.float32)]

    monkeypatch.setattr(runner, "sessions", [*runner.sessions[:2], Broken()])
    runner.limits = [-1e9, -1e9, np.inf]
    with pytest.raises(ValueError, match=r"^exit 3 gives logits that are not finite"):
        runner.predict(images.numpy())


GAIN = [[0.1] * 9, [0.1] * 14]
INVALID_GAINS: list[Any] = [
    *(None, [], 1, "gain", [1, 2], GAIN[:1], [GAIN[0], GAIN[0]], [*GAIN, GAIN[1]], [GAIN[0], "0" * 14]),
    *([GAIN[0], [float("nan")] * 14], [GAIN[0], [10**400] * 14], [GAIN[0], [True] * 14], {"0": 1, "1": 2}),
]


@pytest.mark.parametrize("gain", INVALID_GAINS, ids=lambda each: str(each)[:40])
def test_coefficients_that_cannot_be_are_refused(own_folder: Path, gain: Any) -> None:
    rewrite(own_folder / "policy.json", lambda content: content.update(criterion="gain", gain=gain))
    with pytest.raises(
        ValueError, match=r"policy\.json has coefficients of gain that do not fit its criterion and exits"
    ):
        Runner(own_folder)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.sampled_from([0.1, 3.0, 100.0]))
def test_gains_are_those_of_greenedge(seed: int, classes: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    gain = tuple(tuple(random.normal(scale=0.01, size=count).tolist()) for count in (9, 14, 14))
    policy = ExitPolicy("gain", (0.0,) * 3, None, None, None, gain)
    logits = random.normal(scale=scale, size=(4, 20, classes)).astype(np.float32)
    state, found = np.zeros((20, 0)), []
    for index in range(4):
        scores, state = runner_criteria.score_exit(dataclasses.asdict(policy), index, logits[index], state)
        found.append(scores)
    np.testing.assert_allclose(np.stack(found), policy.get_criterion().uncertainty(logits), atol=1e-9)
    own = runner_criteria.own_gflops(dataclasses.asdict(policy), classes)
    assert own.tolist() == policy.own_gflops(classes).tolist()


@pytest.mark.parametrize("module", [onnx_runner, runner_criteria, runner_files, runner_images])
def test_the_file_is_short_and_needs_numpy_and_onnxruntime_alone(module: ModuleType) -> None:
    text = Path(str(module.__file__)).read_text()
    assert len(text.splitlines()) < (150 if module is onnx_runner else 200)
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    optional = {"PIL"} if module is runner_images else set()
    assert imported - set(sys.stdlib_module_names) <= {"numpy", "onnxruntime"} | optional


@pytest.mark.parametrize("missing", ["numpy", "onnxruntime"])
def test_the_script_says_which_package_is_missing(folder: Path, missing: str) -> None:
    without = f"import runpy, sys; sys.modules[{missing!r}] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    command = [sys.executable, "-I", "-c", without, str(folder / "runner.py"), str(folder), "photo.jpg"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert missing in line


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
    answers = Runner(folder).predict(many.numpy())
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == [f"n {index}" for index in answers.predictions]
    assert [int(row[1]) for row in rows] == [index + 1 for index in answers.exits]
    assert [float(row[2]) for row in rows] == pytest.approx(answers.confidence.tolist(), abs=1e-4)


def test_the_script_answers_bad_input_with_one_line(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.zeros((2, 3, 64, 64), dtype=np.float32))
    np.save(tmp_path / "number.npy", np.float32(1))
    (tmp_path / "text.npy").write_text("not an array")
    Image.effect_noise((90, 60), 50).save(tmp_path / "photo.jpg")
    (tmp_path / "photo.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes()[:700])
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    whole = (folder / "segment-0.onnx").read_bytes()
    broken: Path = shutil.copytree(folder, tmp_path / "broken")
    rewrite(broken / "manifest.json", lambda content: content.pop("files"))
    (broken / "segment-0.onnx").write_bytes(whole[:1000])
    missing: Path = shutil.copytree(folder, tmp_path / "missing")
    (missing / "segment-1.onnx").unlink()
    sized = "images must be float32 or uint8 (N, 3, 32, 32), found float32"
    for arguments, words in (
        ([folder], "usage: python runner.py FOLDER IMAGES..."),
        ([folder, "missing.npy"], "error: missing.npy: no such file"),
        ([folder, "wrong.npy"], f"error: wrong.npy: {sized} (2, 3, 64, 64)"),
        ([folder, "number.npy"], f"error: number.npy: {sized} (1,)"),
        ([folder, "text.npy"], "error: text.npy: is no image that can be read (UnidentifiedImageError)"),
        ([folder, "photo.jpg"], "error: photo.jpg: is no image that can be read (OSError)"),
        ([folder, "objects.npy"], "error: objects.npy: "),
        ([broken, "wrong.npy"], "error: "),
        ([missing, "wrong.npy"], "segment-1.onnx"),
        ([tmp_path, "wrong.npy"], "manifest.json"),
    ):
        result = run_script(folder, *arguments, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert "allow_pickle" not in result.stderr
