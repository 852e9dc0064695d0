"""The plugins in use, and what checkpoints say of them; apart from `plugins`, whose tables import torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenedge.config import RunConfig


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
