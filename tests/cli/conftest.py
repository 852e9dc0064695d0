"""The command line as a user meets it, and one small trained run."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from greenedge.cli.main import run
from greenedge.workflows.train import train

RECIPE = """\
data:
  path: {data}
  image_size: 32
  calibration_per_class: 2
augment:
  - horizontal_flip
  - cutmix
model:
  backbone: resnet18
  exits:
    - {{after: layer1, head: light}}
    - {{after: layer3, head: linear}}
train:
  epochs: 2
  batch_size: 8
  optimizer: adam
  precision: float32
sweep:
  thresholds: [0, 0.5, 1.0]
"""


@dataclass(frozen=True)
class Result:
    """How a command ended.

    Attributes:
        code: of its end.
        raw: standard output as it stands.
        err: standard error.
    """

    code: int
    raw: str
    err: str

    @property
    def out(self) -> str:
        """Standard output with sentences in one line each."""
        return re.sub(r"((?<=.{60})|(?<=[a-z)]:))\n  (?=\S)", " ", self.raw)

    @property
    def sentence(self) -> str:
        """The error's one line."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0], self.err
        return lines[0].removeprefix("error: ")


Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in this process."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["greenedge", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
        try:
            run()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:  # a training keeps its handlers until its process ends
            for number, handler in handlers.items():
                signal.signal(number, handler)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def config(tmp_path: Path, prepared: Path) -> Path:
    """A config that trains in a few seconds."""
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE.format(data=prepared))
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """A finished run directory, for reading only."""
    folder = tmp_path_factory.mktemp("trained")
    path = folder / "small.yaml"
    path.write_text(RECIPE.format(data=prepared))
    train(path, [], folder / "run")
    return folder / "run"


@pytest.fixture
def tiny_config(config: Path) -> Path:
    """A config whose network has 400,000 parameters, for commands that are run again and again."""
    pytest.importorskip("timm")
    config.write_text(config.read_text().replace("backbone: resnet18", "backbone: timm/test_resnet"))
    return config


@pytest.fixture
def weights(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained checkpoint in a folder of its own."""
    copy = tmp_path / "copied" / "best.safetensors"
    copy.parent.mkdir()
    copy.write_bytes((trained / "best.safetensors").read_bytes())
    return copy
