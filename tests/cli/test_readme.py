"""The commands of the README and the tutorial, in their order, on a small data set with the configs as shipped."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenedge.data.synth import SynthOptions, synthesize
from tests.cli.conftest import Cli
from tests.conftest import REPOSITORY, write_image

# What depends on more than a few generated images: how each may end besides well, and why.
_MAY_END_WITH = {
    "--min-accuracy": "no thresholds reach",  # after six steps no network is that good
    "--max-loss": "too few to certify",
}
# What a command is given besides, so that it takes less long.
_SHORTER = {"bench": ["--rounds", "1", "--batches", "1,8"], "train": ["--set", "train.epochs=2"]}


def documented_commands(document: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / document).read_text(), flags=re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as a newcomer has it: the configs, an archive in TinyImageNet's layout, and photos."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    synthesize(tmp_path / "synth" / "tiny-imagenet-200", SynthOptions(classes=3, per_class=40, val_per_class=20))
    (tmp_path / "data" / "raw").mkdir(parents=True)
    shutil.make_archive("data/raw/tiny-imagenet-200", "zip", tmp_path / "synth", "tiny-imagenet-200")
    for seed, name in enumerate(("photo.jpg", "photos/one.jpg", "more/of/them.jpg")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / name, seed, size=(200, 160))
    yield tmp_path
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)  # networks are large


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "used"),
    [
        ("README.md", {"data", "train", "sweep", "tune", "predict"}),
        (
            "docs/tutorial.md",
            {"data", "list", "configs", "flops", "augment", "train", "eval", "sweep", "diagnose", "tune", "predict"}
            | {"bench", "export", "compare"},
        ),
    ],
)
def test_documented_commands_work_in_their_order(cli: Cli, workplace: Path, document: str, used: set[str]) -> None:
    ran = set()
    for command in documented_commands(document):
        if "|" in command:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            subprocess.run(command, shell=True, check=True, env={**os.environ, "PATH": path})
            continue
        program, *arguments = shlex.split(command)
        if program == "pip":
            continue
        if program != "greenedge":
            assert (REPOSITORY / program).is_file()
            continue
        ran.add(arguments[0])
        if arguments[:2] == ["data", "download"]:  # tested with a server of its own
            continue
        result = cli(*arguments, *_SHORTER.get(arguments[0], []))
        may_end_with = next((end for option, end in _MAY_END_WITH.items() if option in arguments), None)
        if result.code != 0:
            assert may_end_with is not None, f"{command}\n{result.err}"
            assert may_end_with in result.sentence, f"{command}\n{result.err}"
    assert ran == used
    assert (workplace / "runs" / "resnet18-light" / "sweep.png").is_file()
