"""The plugins in use, and what checkpoints say of them; apart from `plugins`, whose tables import torchvision."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenedge.config import RunConfig
from greenedge.errors import ConfigError, UsageError


@dataclass(frozen=True)
class PluginFile:
    """What a checkpoint says of a plugin.

    Attributes:
        name: of the file, without its folder.
        digest: SHA-256 of its content.
    """

    name: str
    digest: str


@dataclass(frozen=True)
class Plugin:
    """A plugin in use.

    Attributes:
        path: its file.
        file: what checkpoints say of it.
        named: whether it was named as a file, not installed.
        entries: (table, name) of all that it adds.
    """

    path: Path
    file: PluginFile
    named: bool
    entries: frozenset[tuple[str, str]]


IN_USE: dict[Path, Plugin] = {}  # those of this process, as the tables are


def named_files() -> tuple[Path, ...]:
    """The files that the user named in this process."""
    return tuple(each.path for each in IN_USE.values() if each.named)


def plugins_of(config: RunConfig) -> tuple[PluginFile, ...]:
    """The plugins in use that a config needs."""
    used = {("BACKBONES", config.model.backbone), ("LOSSES", config.train.loss.name)}
    used |= {("EXIT_HEADS", exit.head.name) for exit in config.model.exits}
    used |= {("AUGMENTATIONS", each.name) for each in config.augment}
    return tuple(each.file for each in IN_USE.values() if used & each.entries)


def missing_plugins(files: Sequence[PluginFile]) -> tuple[PluginFile, ...]:
    """Those that are not in use, or not with this content."""
    digests = {each.file.digest for each in IN_USE.values()}
    return tuple(each for each in files if each.digest not in digests)


def unknown_names(run: Path, error: ConfigError) -> UsageError | None:
    """What to tell who resumes a run whose config has nothing wrong but names that are not known, as of a plugin.

    Args:
        run: the run directory.
        error: of its config.

    Returns:
        None where something else is wrong with it.
    """
    names = [re.match("there is no ('.*?')", each.message) for each in error.errors]
    if not all(names):
        return None
    listed = ", ".join(sorted({match[1] for match in names if match}))
    return UsageError(
        f"{run}: its config names {listed}, which greenedge itself does not have; if the run was started with a "
        "plugin, name its file again with --plugin"
    )
