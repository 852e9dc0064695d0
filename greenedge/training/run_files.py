"""What the files of a run directory are called."""

from __future__ import annotations

from pathlib import Path

LOCK, CONFIG, ENVIRONMENT, STATE, HISTORY, HISTORY_TABLE = (
    *(".lock", "config.yaml", "environment.json"),
    *("last.state.pt", "history.jsonl", "history.csv"),
)
BEST, LAST = "best.safetensors", "last.safetensors"
LOGS = "logs"  # a folder, of a run that has loggers
FEATURES = "features"  # a folder, of a run that trains heads on kept features


def checkpoint_path(path: Path) -> Path:
    """The best weights of a run directory; any other path as it is."""
    return path / BEST if path.is_dir() else path
