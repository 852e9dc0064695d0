"""Makes `former-run.tar.xz`, a very small run as commit 953dc14 wrote it, which later versions must go on reading.

In the root of a checkout of that commit, with its dependencies and the extras `timm` and `onnx`:

    PYTHONPATH=. python .../tests/compatibility/make_former_run.py .../tests/compatibility/former-run.tar.xz

The backbone is frozen and its weights are small multiples of 1/8, so that the copies of them compress well.

- `data`: a prepared data set of generated images.
- `interrupted`: a run of two epochs of which one is done, with the state to resume it by.
- `finished`: the same run at its end, with a policy, kept outputs, a sweep and evaluations.
- `exported`: its ONNX export, with `images.npy` and what the runner printed for them in `runner.txt`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

CONFIG = """\
data:
  path: data
  image_size: 32
  calibration_per_class: 6
augment:
  - horizontal_flip
model:
  backbone: timm/test_efficientnet
  weights: weights.safetensors
  exits:
    - {after: blocks.1, head: linear}
    - {after: blocks.3, head: linear}
train:
  epochs: 1
  batch_size: 8
  optimizer: {adam: {lr: 0.01}}
  freeze:
    - {until: head, epochs: 2}
  precision: float32
  device: cpu
sweep:
  thresholds: all
"""
THRESHOLDS = ("--criterion", "margin", "--thresholds", "0.2,0.15")
DROPPED = ("*.png", "*.csv", "best.safetensors")


def main(archive: Path) -> None:
    """Runs the commands of the version on PYTHONPATH, and packs what they wrote."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "former-run"
        root.mkdir()
        write_weights(root / "weights.safetensors")
        (root / "config.yaml").write_text(CONFIG)
        make_runs(root)
        for pattern in DROPPED:
            for path in root.rglob(pattern):
                path.unlink()
        for path in (root / "config.yaml", root / "weights.safetensors", root / "finished" / "last.state.pt"):
            path.unlink()
        shutil.rmtree(root / "source")
        with tarfile.open(archive, "w:xz", preset=9) as tar:
            tar.add(root, root.name, filter=anonymous)


def write_weights(path: Path) -> None:
    """Random weights of the backbone, rounded to multiples of 1/8."""
    import timm

    torch.manual_seed(0)
    state = timm.create_model("test_efficientnet", num_classes=3).state_dict()
    kernels = {name: tensor for name, tensor in state.items() if tensor.ndim == 4}
    rounded = {
        name: (torch.randn(each.shape) * (2 / each[0].numel()) ** 0.5 * 8).round() / 8 for name, each in kernels.items()
    }
    save_file({**state, **rounded}, path)


def make_runs(root: Path) -> None:
    """The runs, the export and what its runner prints."""
    greenedge(root, "data", "synth", "--out", "source", "--classes", "3", "--per-class", "30", "--val-per-class", "10")
    greenedge(root, "data", "prepare", "source", "--out", "data", "--size", "16")

    greenedge(root, "train", "--config", "config.yaml", "--out", "interrupted")
    own_config = root / "interrupted" / "config.yaml"
    own_config.write_text(own_config.read_text().replace("epochs: 1\n", "epochs: 2\n", 1))
    shutil.copytree(root / "interrupted", root / "finished")
    greenedge(root, "train", "--resume", "--out", "finished")

    weights = ("--weights", "finished/last.safetensors")
    greenedge(root, "sweep", *weights)
    greenedge(root, "tune", *weights, "--budget", "0.00205")
    greenedge(root, "eval", *weights, "--policy", "finished/policy.json")
    shutil.move(root / "finished" / "eval-val.json", root / "finished" / "eval-policy.json")
    greenedge(root, "eval", *weights, *THRESHOLDS)
    greenedge(root, "export", *weights, *THRESHOLDS, "--format", "onnx", "--out", "exported")

    images = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    np.save(root / "images.npy", images)
    command = [sys.executable, "exported/runner.py", "exported", "images.npy"]
    printed = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout
    (root / "runner.txt").write_text(printed)


def greenedge(root: Path, *arguments: str) -> None:
    """Runs one command in the folder."""
    subprocess.run([sys.executable, "-m", "greenedge", *arguments], cwd=root, check=True)


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The entry without its owner and date."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
