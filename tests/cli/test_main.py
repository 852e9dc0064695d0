from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from greenedge import __version__
from tests.cli.conftest import Cli
from tests.conftest import REPOSITORY

GROUPS = {
    "data": {"prepare", "check", "download", "synth"},
    "augment": {"preview"},
    "labels": {"show", "check", "build"},
    "config": {"schema"},
    "configs": {"show", "copy"},
    "list": {
        "backbones",
        "blocks",
        "heads",
        "augmentations",
        "loggers",
        "losses",
        "objectives",
        "optimizers",
        "schedules",
        "criteria",
        "configs",
    },
}
SINGLE = [
    "train",
    "lr-range",
    "eval",
    "sweep",
    "tune",
    "place",
    "cascade",
    "compare",
    "diagnose",
    "study",
    "robustness",
    "report",
    "predict",
    "bench",
    "export",
    "flops",
    "import-weights",
]
COMMANDS = [*SINGLE, *(f"{group} {command}" for group, commands in GROUPS.items() for command in commands)]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("command", ["", *GROUPS, *sorted(COMMANDS)])
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    result = cli(*command.split(), "--help")
    assert (result.code, result.err) == (0, "")
    assert f"greenedge {command}".rstrip() + " " in result.out.splitlines()[0]
    options = result.out.partition("Options:")[2]
    assert "--help" in options


def test_the_list_of_commands_is_complete(cli: Cli) -> None:
    def listed(*arguments: str) -> set[str]:
        lines = cli(*arguments, "--help").raw.partition("Commands:\n")[2].splitlines()
        return {line.split()[0] for line in lines if re.match("  [a-z]", line)}

    assert listed() == {*SINGLE, *GROUPS}
    for group, commands in GROUPS.items():
        assert listed(group) == commands


def test_the_version_is_printed(cli: Cli) -> None:
    result = cli("--version")
    assert (result.code, result.out, result.err) == (0, f"greenedge {__version__}\n", "")
    assert re.fullmatch(r"\d+\.\d+.*", __version__)


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    script = (
        "import sys, greenedge.cli.main;"
        "print(sorted({'torch', 'torchvision', 'matplotlib', 'fvcore', 'typer'} & sys.modules.keys()))"
    )
    assert python("-c", script).stdout == "['typer']\n"


@pytest.mark.parametrize("arguments", [["trian"], ["data", "prepair"], ["--verison"], ["train", "--no-such-option"]])
def test_what_is_no_command_or_option_is_a_usage_error(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert arguments[-1] in result.err.splitlines()[-1]
    assert "Traceback" not in result.err


def test_an_error_is_exactly_one_line(cli: Cli, tmp_path: Path) -> None:
    result = cli("data", "prepare", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert result.code == 1
    assert result.out == ""
    assert result.err == f"error: {tmp_path / 'nowhere'}: no such file or folder\n"


@pytest.mark.parametrize("place", [0, 2, 5])
def test_debug_may_stand_anywhere_and_keeps_sentence_and_code(cli: Cli, tmp_path: Path, place: int) -> None:
    arguments: list[object] = ["data", "prepare", tmp_path / "nowhere", "--out", tmp_path / "out"]
    arguments.insert(place, "--debug")
    result = cli(*arguments)
    assert result.code == 1
    assert result.sentence == f"{tmp_path / 'nowhere'}: no such file or folder"


def test_an_error_of_the_system_names_the_file(cli: Cli, config: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    result = cli("flops", "--config", config, "--out", tmp_path / "taken")
    assert result.code == 1
    assert result.sentence.startswith(f"{tmp_path / 'taken'}")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("error", [ValueError("first\nsecond"), KeyError("k"), RecursionError(), MemoryError()])
def test_what_should_not_happen_ends_in_a_sentence_too(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("greenedge.data.synth.synthesize", fail)
    monkeypatch.setattr("greenedge.workflows.data.synthesize", fail)
    result = cli("data", "synth", "--out", tmp_path / "out")
    assert result.code == 1
    if isinstance(error, MemoryError):
        assert "not enough memory" in result.sentence
    else:
        assert result.sentence.startswith(f"unexpected {type(error).__name__}: ")
        assert result.sentence.endswith("this is a fault of greenedge, --debug shows where")
        assert "second" not in result.sentence


def test_names_of_others_do_nothing_to_the_terminal(cli: Cli, tmp_path: Path) -> None:
    nasty = tmp_path / "\x1b[31mred\x07\u202e\nerror: fake\udce9"
    result = cli("data", "prepare", nasty, "--out", tmp_path / "out")
    assert result.code == 1
    assert result.sentence == f"{tmp_path}/\\x1b[31mred\\x07\\u202e\\nerror: fake\\udce9: no such file or folder"


def test_a_long_sentence_loses_its_middle(cli: Cli, tmp_path: Path) -> None:
    result = cli("data", "prepare", tmp_path / ("x" * 200) / ("y" * 200), "--out", tmp_path / "out")
    assert len(result.err) <= 310
    assert "…" in result.sentence
    assert result.sentence.endswith("no such file or folder")


def test_h_is_help_everywhere(cli: Cli) -> None:
    for command in ["", *GROUPS, *COMMANDS]:
        assert cli(*command.split(), "-h").out == cli(*command.split(), "--help").out != ""


@pytest.mark.parametrize("module", ["greenedge.cli.main", "typer", "greenedge.cli.tune", "greenedge.workflows.data"])
def test_an_interrupt_while_modules_are_imported_is_one_line(module: str, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "class Interrupter:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupter())\n"
        "from greenedge.cli.start import run\n"
        f"sys.argv = ['greenedge', 'data', 'synth', '--out', {str(tmp_path / 'out')!r}]\n"
        "run()"
    )
    result = python("-c", script)
    assert (result.returncode, result.stdout) == (130, "")
    assert result.stderr in ("", "error: interrupted\n")  # typer itself says nothing


def test_an_interrupt_ends_with_its_own_code_and_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; import PIL.Image; from greenedge.cli.main import run\n"
        "def interrupt(*_, **__): raise KeyboardInterrupt\n"
        "PIL.Image.Image.save = interrupt\n"
        "sys.argv = ['greenedge', 'data', 'synth', '--out', sys.argv[1]]\n"
        "run()"
    )
    result = python("-c", script, str(tmp_path / "synth"))
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_torchvision_that_does_not_fit_torch_is_explained(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    config = str(REPOSITORY / "configs" / "resnet50-paper.yaml")
    result = python("-m", "greenedge", "flops", "--config", config, PYTHONPATH=paths)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: torch ")
    assert "do not fit each other (operator torchvision::nms does not exist)" in line
    assert "pip install --force-reinstall torch torchvision" in line


def test_completion_offers_commands_without_the_heavy_libraries() -> None:
    script = (
        "import atexit, sys; from greenedge.cli.main import run; sys.argv = ['greenedge'];"
        "atexit.register(lambda: print({'torch', 'torchvision', 'matplotlib'} & sys.modules.keys())); run()"
    )
    asked = {"_GREENEDGE_COMPLETE": "complete_bash", "COMP_WORDS": "greenedge fl", "COMP_CWORD": "1"}
    assert python("-c", script, **asked).stdout.splitlines() == ["flops", "set()"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_and_installed(cli: Cli, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    result = cli("--show-completion")
    assert (result.code, result.err) == (0, "")
    assert "_GREENEDGE_COMPLETE=complete_" in result.out
    assert "--install-completion" in cli("--help").out


def test_torchrun_may_start_several_trainings_but_no_other_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = cli("list", "heads")
    assert refused.code == 2
    assert refused.sentence.startswith("torchrun started 2 processes of list, which would write the same files")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert cli("list", "heads").code == 0
