"""Reads and checks the files of an exported folder for `runner.py`, beside which this file lies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def read_mapping(path: Path, pattern: dict[str, Any], more: set[str]) -> dict[str, Any]:
    """A JSON file's mapping, with the values of `pattern` checked, and no keys but those and `more`.

    Raises ValueError, in a sentence that names the file, and OSError.
    """
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
        seal, found = value.pop("digest", None), hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path}: is invalid: not JSON of one mapping, or nested too deeply") from None
    expected = pattern.get("format")
    if isinstance(expected, list) and value.get("format") not in expected:  # keys of another version mean nothing here
        raise ValueError(f"{path}: is not of {expected[0]}, which this runner knows; export again, or use its own")
    if seal not in (None, found):
        raise ValueError(f'{path}: was changed after it was written; without its "digest" line it is taken as it is')
    if wrong := [key for key, each in pattern.items() if key != "format" and not fits(value.get(key), each)]:
        raise ValueError(f"{path}: is invalid: {wrong[0]!r} is missing or of another type")
    if unknown := sorted(value.keys() - pattern.keys() - more):
        raise ValueError(
            f"{path}: has {unknown[0]!r}, which this runner does not know; export again to have a newer one"
        )
    return value


def read_listed(folder: Path, name: str, digests: Any) -> bytes:
    """The content of a file of the folder, which must be the one that was exported.

    Raises ValueError, in a sentence that names the file, and OSError.
    """
    path = folder / name
    if Path(name).name != name or "\\" in name or path.resolve().parent != folder.resolve():
        raise ValueError(f"{folder / 'manifest.json'}: names {name!r}, which is not a file of this folder")
    content = path.read_bytes()
    if isinstance(digests, dict) and digests.get(name) != hashlib.sha256(content).hexdigest():
        raise ValueError(f"{path}: is not the file that was exported with manifest.json; export again")
    return content


def find_doubt(manifest: dict[str, Any]) -> str:
    """A line on why predictions may be wrong on this machine; empty where nothing speaks for it."""
    if (manifest.get("quantization") or {}).get("weight_bits") != 8 or sums_are_exact():
        return ""
    return "note: this processor has no VNNI, so that sums of 8-bit products overflow; export again on it\n"


def sums_are_exact() -> bool:
    """Whether products of 8-bit integers add up without overflow here; where it is not known, the answer is yes."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "vnni")
    return "vnni" in flags or "amx_int8" in flags


def fits(value: Any, pattern: Any) -> bool:
    """Whether a value of JSON is of a type (float: any number), a list or a mapping of such, by example."""
    if isinstance(pattern, list):
        return isinstance(value, list) and all(fits(each, pattern[0]) for each in value)
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(fits(value.get(key), each) for key, each in pattern.items())
    return type(value) in (int, float) and abs(value) < 1e300 if pattern is float else type(value) is pattern
