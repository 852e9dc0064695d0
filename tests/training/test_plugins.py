"""docs/plugins.md's example through the command line, and plugins that are wrong."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from greenedge.errors import UsageError
from greenedge.models.catalog import BACKBONE_FAMILIES, FAMILIES
from greenedge.models.exit_heads import EXIT_HEADS
from greenedge.training import plugins, plugins_in_use
from tests.cli.conftest import Cli, cli
from tests.conftest import REPOSITORY, write_image

__all__ = ["cli"]


def example(kind: str) -> str:
    (text,) = re.findall(rf"```{kind}\n(.*?)```", (REPOSITORY / "docs" / "plugins.md").read_text(), flags=re.DOTALL)
    return str(text)


Restart = Callable[[], None]


@pytest.fixture(autouse=True)
def restart() -> Iterator[Restart]:
    """Makes the tables what they are in a new process; so they are after each test."""
    tables = [*(table for table, _ in plugins._TABLES.values()), BACKBONE_FAMILIES, FAMILIES, plugins_in_use.IN_USE]
    before = [dict(each) for each in tables]

    def forget() -> None:
        for table, content in zip(tables, before, strict=True):
            table.clear()
            table.update(content)
        for name in [each for each in sys.modules if each.startswith("greenedge_plugin_")]:
            del sys.modules[name]

    yield forget
    forget()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(example("python"))
    return path


def test_the_example_is_listed_counted_trained_evaluated_and_exported(
    cli: Cli, own: Path, prepared: Path, tmp_path: Path
) -> None:
    config, run = tmp_path / "own.yaml", tmp_path / "run"
    config.write_text(example("yaml").replace("data/mine", str(prepared)))
    refused = cli("flops", "--config", config)
    assert (refused.code, "there is no 'small'" in refused.err) == (2, True)

    listed = {
        name: cli("list", name, "--plugin", own).raw for name in ("backbones", "heads", "losses", "augmentations")
    }
    assert "own.py: A small network, a head, a loss and an augmentation.\n    small\n" in listed["backbones"]
    assert "width  whole number at least 1; default 32; of the hidden layer." in listed["heads"]
    assert "focal: " in listed["losses"]
    assert "negative: " in listed["augmentations"]

    costs = json.loads(cli("flops", "--config", config, "--classes", 3, "--plugin", own, "--json").raw)
    by_hand = 3 * 9 * 16 * 16**2 + 16 * 9 * 32 * 8**2 + 32 * 16 + 16 * 3
    assert costs["exits"][0]["gflops"] * 1e9 == pytest.approx(by_hand)
    published = cli("flops", "--config", config, "--plugin", own, "--set", "model.weights=imagenet")
    assert "model.weights: torchvision has no weights of small, which is a plugin's" in published.sentence
    trained = cli("train", "--config", config, "--out", run, "--plugin", own, "--set", "train.device=cpu")
    assert trained.code == 0, trained.err
    weights = run / "best.safetensors"
    assert json.loads(cli("eval", "--weights", weights, "--plugin", own, "--json").raw)["images"] > 0
    pytest.importorskip("onnx")
    exported = cli("export", "--weights", weights, "--format", "onnx", "--out", tmp_path / "onnx", "--plugin", own)
    assert exported.code == 0, exported.err


def test_a_checkpoint_says_which_plugin_it_needs_and_that_its_content_changed(
    cli: Cli, restart: Restart, own: Path, prepared: Path, tmp_path: Path
) -> None:
    config, weights = tmp_path / "own.yaml", tmp_path / "run" / "best.safetensors"
    config.write_text(example("yaml").replace("data/mine", str(prepared)))
    assert cli("train", "--config", config, "--out", tmp_path / "run", "--plugin", own).code == 0
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    restart()
    refused = cli("eval", "--weights", weights)
    expected = f"its network needs the plugin own.py (SHA-256 {digest[:12]}); name the file with --plugin"
    assert (refused.code, refused.sentence) == (1, f"{weights}: {expected}")

    own.write_text(own.read_text() + "\n# another\n")
    changed = cli("eval", "--weights", weights, "--plugin", own)
    assert changed.code == 0
    assert "was trained with the plugin own.py" in changed.err.replace("\n  ", " ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("def f(:\n", "bad.py: line 1 is not valid Python (invalid syntax); fix it"),
        ("x = 1\n1 / 0\n", "fails when it is imported (bad.py, line 2: ZeroDivisionError: division by zero); fix it"),
        ("import sys\nsys.exit(3)\n", "fails when it is imported (bad.py, line 2: SystemExit: 3)"),
        ("HEADS = {}\n", "has none of the tables BACKBONES, EXIT_HEADS, LOSSES, AUGMENTATIONS"),
        ("LOSSES = ['focal']\n", "LOSSES is a list; make it a dict of names"),
        (
            "def h(shape, classes): ...\nEXIT_HEADS = {'fine': h, 'light': h}\n",
            "EXIT_HEADS['light']: the name is taken",
        ),
        ("BACKBONES = {'mine': print}\n", "BACKBONES['mine']: is a builtin_function_or_method; a backbone is a"),
        ("LOSSES = {'mine': 3}\n", "LOSSES['mine']: is a int; expected a function (logits, targets, *, options"),
        ("LOSSES = {'mine': lambda logits: 0}\n", "its signature does not fit (too many positional arguments)"),
        ("LOSSES = {'mine': lambda a, b, *, c=1: 0}\n", "LOSSES['mine']: the option c has no type; annotate it"),
        ("LOSSES = {'a/b': lambda a, b: 0}\n", "LOSSES['a/b']: a name is a text without a slash"),
    ],
)
def test_load_plugins_says_what_is_wrong_and_adds_nothing(content: str, words: str, tmp_path: Path) -> None:
    path, heads = tmp_path / "bad.py", dict(EXIT_HEADS)
    path.write_text(content)
    with pytest.raises(UsageError, match=re.escape(words)):
        plugins.load_plugins([path])
    assert heads == EXIT_HEADS


def test_load_plugins_names_the_files_own_line_where_others_code_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, leave = tmp_path / "bad.py", sys.exit
    path.write_text("import sys\n\nsys.exit(3)\n")
    monkeypatch.setattr(sys, "exit", lambda code: leave(code))  # as libraries do that want to know of it
    with pytest.raises(UsageError, match=r"imported \(bad\.py, line 3: SystemExit: 3\)"):
        plugins.load_plugins([path])


def test_load_plugins_takes_a_file_once_and_misses_one(own: Path, tmp_path: Path) -> None:
    plugins.load_plugins([own, own])
    plugins.load_plugins([own])
    assert plugins_in_use.named_files() == (own,)
    with pytest.raises(UsageError, match=r"nothing\.py: no such file; name a Python file"):
        plugins.load_plugins([tmp_path / "nothing.py"])


def test_load_plugins_takes_the_modules_of_installed_packages(
    own: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own.parent / "installed_own.py").write_text(own.read_text())
    (info := own.parent / "own-1.0.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[greenedge.plugins]\nown = installed_own\n")
    monkeypatch.syspath_prepend(str(own.parent))
    assert "focal: " in cli("list", "losses").raw
    assert plugins_in_use.named_files() == ()
    monkeypatch.delitem(sys.modules, "installed_own")
    with pytest.raises(UsageError, match="no module in a file"):
        plugins._load_installed(EntryPoint("own", "math:pi", plugins.GROUP))


def test_predict_and_resume_with_and_without_the_plugin(
    cli: Cli, own: Path, restart: Restart, prepared: Path, tmp_path: Path
) -> None:
    config, run = tmp_path / "own.yaml", tmp_path / "run"
    config.write_text(example("yaml").replace("data/mine", str(prepared)))
    assert cli("train", "--config", config, "--plugin", own, "--out", run).code == 0
    image = tmp_path / "a.png"
    write_image(image, 0)
    restart()
    result = cli("predict", "--weights", run / "best.safetensors", "--plugin", own, "--json", image)
    assert [each["image"] for each in json.loads(result.out)["predictions"]] == [str(image)]

    restart()
    for arguments in ([], ["--config", config]):
        result = cli("train", "--out", run, "--resume", *arguments)
        assert result.code == 2
        assert result.sentence.startswith(f"{run}: its config names 'focal', 'max', 'negative', 'small', which")
        assert result.sentence.endswith("if the run was started with a plugin, name its file again with --plugin")
    assert cli("train", "--out", run, "--resume", "--plugin", own, "--set", "train.epochs=2").code == 0
