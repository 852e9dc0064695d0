"""Plugins: a user's own backbones, heads, losses and augmentations, from Python files that the user names.

A plugin is a module with dicts named like the tables that they are added to. Only the user names one, with `--plugin`
or by installing a package that does: a config or a checkpoint never has code imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from greenedge.augment import AUGMENTATIONS
from greenedge.config.components import option_parameters
from greenedge.config.docstrings import summary
from greenedge.errors import UsageError
from greenedge.models.backbones import BACKBONES
from greenedge.models.catalog import BACKBONE_FAMILIES, FAMILIES
from greenedge.models.exit_heads import EXIT_HEADS
from greenedge.models.family import Family
from greenedge.training.losses import LOSSES
from greenedge.training.plugins_in_use import IN_USE, Plugin, PluginFile

GROUP = "greenedge.plugins"  # of entry points, each a module

# A plugin's tables -> where they go, and what the program gives an entry, in words; a backbone is a `Family`.
_TABLES: dict[str, tuple[dict[str, Any], str]] = {
    "BACKBONES": (BACKBONES, ""),
    "EXIT_HEADS": (EXIT_HEADS, "shape, num_classes"),
    "LOSSES": (LOSSES, "logits, targets"),
    "AUGMENTATIONS": (AUGMENTATIONS, "batch, generator"),
}


def load_plugins(files: Sequence[Path]) -> None:
    """Adds what installed packages and the given files offer to the tables; a file that was loaded stays as it is.

    Args:
        files: Python files.

    Raises:
        UsageError: a file is missing, fails, holds no table or an invalid entry, or a name is taken.
    """
    for entry_point in entry_points(group=GROUP):
        _add(f"the plugin {entry_point.name} of an installed package", _load_installed(entry_point), named=False)
    for file in files:
        if file.resolve() not in IN_USE:
            _add(str(file), _import_file(file), named=True)


def _load_installed(entry_point: EntryPoint) -> ModuleType:
    name = f"the plugin {entry_point.name} of an installed package"
    module = _guarded(name, entry_point.load)
    if not isinstance(module, ModuleType) or module.__file__ is None:
        raise UsageError(f"{name}: {entry_point.value} is no module in a file; its entry point has to name one")
    return module


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"--plugin {path}: no such file; name a Python file")
    name = f"greenedge_plugin_{path.stem}"
    if name in sys.modules:
        raise UsageError(f"--plugin {path}: another plugin is named {path.name}; rename one of the files")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--plugin {path}: is not named like a Python file; let its name end in .py")
    module = importlib.util.module_from_spec(spec)
    loader = spec.loader
    sys.modules[name] = module
    try:
        _guarded(str(path), lambda: loader.exec_module(module))
    except UsageError:
        del sys.modules[name]
        raise
    return module


def _guarded(name: str, load: Callable[[], Any]) -> Any:
    """Imports foreign code, whose errors of any kind are the user's to fix."""
    try:
        return load()
    except SyntaxError as error:
        raise UsageError(f"{name}: line {error.lineno} is not valid Python ({error.msg}); fix it") from error
    except (Exception, SystemExit) as error:  # whatever it is, the user gets a sentence
        lines = traceback.extract_tb(error.__traceback__)
        # What it calls may be others' code, as sys.exit is where a library has replaced it.
        own = [each for each in lines if Path(each.filename).resolve() == Path(name).resolve()]
        line = (own or lines)[-1]
        first = str(error).partition("\n")[0]
        where = f"{Path(line.filename).name}, line {line.lineno}"
        raise UsageError(
            f"{name}: fails when it is imported ({where}: {type(error).__name__}: {first}); fix it"
        ) from error


def _add(name: str, module: ModuleType, *, named: bool) -> None:
    """Checks all that a plugin offers, then adds it to the tables.

    Raises:
        UsageError: it offers nothing, something invalid, or a name that is taken.
    """
    path = Path(str(module.__file__)).resolve()
    if path in IN_USE:
        return
    found = {table: getattr(module, table) for table in _TABLES if hasattr(module, table)}
    if not found:
        raise UsageError(f"{name}: has none of the tables {', '.join(_TABLES)}; give it one, a dict of names")
    for table, entries in found.items():
        if not isinstance(entries, Mapping):
            raise UsageError(f"{name}: {table} is a {type(entries).__name__}; make it a dict of names")
        for key, entry in entries.items():
            _check_entry(f"{name}: {table}[{key!r}]", table, key, entry)

    for table, entries in found.items():
        _TABLES[table][0].update(entries)
    backbones = found.get("BACKBONES", {})
    if backbones:
        BACKBONE_FAMILIES.update(dict.fromkeys(backbones, path.name))
        FAMILIES[path.name] = summary(module) or f"Of the plugin {path.name}."
    added = frozenset((table, key) for table, entries in found.items() for key in entries)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    IN_USE[path] = Plugin(path, PluginFile(path.name, digest), named, added)


def _check_entry(where: str, table: str, key: object, entry: object) -> None:
    """Refuses a name that is none or taken, and an entry of the wrong kind."""
    taken, given = _TABLES[table]
    if not isinstance(key, str) or not key or "/" in key:
        raise UsageError(f"{where}: a name is a text without a slash; rename it")
    if key in taken:
        raise UsageError(f"{where}: the name is taken; choose another")
    if table == "BACKBONES":
        if not isinstance(entry, Family):
            raise UsageError(f"{where}: is a {type(entry).__name__}; a backbone is a greenedge.models.family.Family")
        return

    wanted = f"expected a function ({given}, *, options with types)"
    if not callable(entry):
        raise UsageError(f"{where}: is a {type(entry).__name__}; {wanted}")
    try:
        inspect.signature(entry).bind(*given.split(", "), **dict.fromkeys(option_parameters(entry)))
        hints = get_type_hints(entry)
    except (TypeError, ValueError, NameError) as error:
        raise UsageError(f"{where}: {wanted}, and its signature does not fit ({error})") from None
    untyped = [option for option in option_parameters(entry) if option not in hints]
    if untyped:
        raise UsageError(f"{where}: the option {untyped[0]} has no type; annotate it")
