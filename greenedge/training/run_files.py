"""What the files of a run directory are called."""

from __future__ import annotations

from pathlib import Path

LOCK, CONFIG, ENVIRONMENT, STATE, HISTORY = (
    *(".lock", "config.yaml", "environment.json"),
    *("last.state.pt", "history.jsonl"),
)
BEST, LAST = "best.safetensors", "last.safetensors"
FEATURES = "features"  # a folder, of a run that trains heads on kept features


def checkpoint_path(path: Path) -> Path:
    """The best weights of a run directory; any other path as it is."""
    return path / BEST if path.is_dir() else path
