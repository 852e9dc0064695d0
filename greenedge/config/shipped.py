"""The configs and label maps that come with greenedge, in an installed package as in a checkout.

In a wheel they lie in the package's folder `shipped`; an editable checkout has them in the repository's root.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from greenedge.config.convert import did_you_mean
from greenedge.config.nodes import shortened
from greenedge.errors import ConfigError, UsageError
from greenedge.files import write_text

LABEL_MAPS = ("labels_map.pkl", "deeplake_labels_map.pkl")
_ENDING = ".yaml"


def shipped_folder() -> Path:
    """The folder that holds `configs/`, `labels_map.pkl` and `deeplake_labels_map.pkl`."""
    package = Path(str(files("greenedge")))
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent


def shipped_configs() -> dict[str, Path]:
    """Name (`quickstart`, `paper/table1-plain`) -> file, sorted by folder and name."""
    folder = shipped_folder() / "configs"
    paths = sorted(folder.rglob(f"*{_ENDING}"), key=lambda path: (len(path.parts), path))
    return {path.relative_to(folder).as_posix().removesuffix(_ENDING): path for path in paths}


def shipped_file(name: str) -> Path:
    """The file of a shipped config.

    Raises:
        ConfigError: there is none of that name.
    """
    shipped = shipped_configs()
    if name not in shipped:
        raise ConfigError(f"there is no shipped config {shortened(name)!r}; {_advice(name)}")
    return shipped[name]


def copy_shipped(name: str, out: Path | None) -> Path:
    """Copies a shipped config.

    Args:
        name: of the config.
        out: the file to write; None: the last part of the name, in the working directory.

    Returns:
        The file that was written.

    Raises:
        ConfigError: there is no such config.
        UsageError: the file exists already.
    """
    source = shipped_file(name)
    target = Path(source.name) if out is None else out
    if target.exists():
        raise UsageError(f"{target}: exists already; choose another --out, or remove it first")
    write_text(target, source.read_text(encoding="utf-8"))
    return target


def find_config(config: Path) -> Path:
    """The file of a config that is given as a path or by the name of a shipped one; a path that exists is preferred.

    Args:
        config: a path or a name.

    Raises:
        ConfigError: neither a file nor a name.
    """
    name, shipped = config.as_posix(), shipped_configs()
    if config.exists():
        return config
    if name in shipped:
        return shipped[name]
    message = f"cannot be read: no such file, and no shipped config of that name; {_advice(name)}"
    raise ConfigError(message, where=str(config))


def _advice(name: str) -> str:
    # A path such as configs/quickstart.yaml was written for another folder: the name in it may be what is meant.
    hint = did_you_mean(name.removeprefix("configs/").removesuffix(_ENDING), shipped_configs())
    return hint or "`greenedge list configs` prints the names"


def find_label_map(path: Path) -> Path:
    """The file of a label map: the path itself, or the shipped file where it is a bare name that is missing here."""
    if path.name not in LABEL_MAPS or path != Path(path.name) or path.exists():
        return path
    return shipped_folder() / path.name


@dataclass(frozen=True)
class ShippedConfig:
    """A config that comes with greenedge.

    Attributes:
        name: as `--config` takes it.
        description: one sentence.
        path: its file.
    """

    name: str
    description: str
    path: Path


def describe_configs() -> tuple[ShippedConfig, ...]:
    """Lists the shipped configs, sorted by folder and name."""
    return tuple(
        ShippedConfig(name, describe_config(path.read_text(encoding="utf-8")), path)
        for name, path in shipped_configs().items()
    )


def describe_config(text: str) -> str:
    """The first sentence of a shipped config's leading comment, which follows the line with the command."""
    lines = []
    for line in text.splitlines()[1:]:
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return re.split(r"(?<=\.)\s+(?=[A-Z(])", " ".join(lines), maxsplit=1)[0]
