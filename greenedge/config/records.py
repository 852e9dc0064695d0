"""Reads greenedge's own JSON files into frozen dataclasses, which define what each key may hold.

A record is checked by the same annotations as a config (`config/convert.py`): types, ranges, lengths, no unknown and no
missing key. A record is valid as a whole, or refused with the key that is invalid; no part of it is used then.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, TypeVar

from greenedge.config.convert import convert
from greenedge.config.nodes import node_of
from greenedge.errors import ConfigError
from greenedge.files import SEAL, seal_of

T = TypeVar("T")

_LARGEST_BYTES = 64_000_000


class RecordError(ValueError):
    """An invalid record; the message is a fragment such as `is damaged: epoch: expected a whole number, found 'x'`."""


def read_record(path: Path, kind: type[T], largest_bytes: int = _LARGEST_BYTES) -> T:
    """Reads a JSON file of one mapping.

    Args:
        path: the file.
        kind: a dataclass whose fields are the file's keys.
        largest_bytes: a larger file is refused before it is read.

    Raises:
        RecordError: it holds something else, or was changed after it was written.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(largest_bytes + 1)
    if len(content) > largest_bytes:
        raise RecordError(f"is damaged: it is larger than {largest_bytes / 1e6:g} MB")
    return parse_record(content, kind)


def parse_record(content: bytes | str, kind: type[T]) -> T:
    """Reads a record, as `read_record` does, from the content of a file or of a line.

    Raises:
        RecordError: it holds something else, or was changed after it was written.
    """
    value = parse_json(content)
    if not isinstance(value, dict):
        raise RecordError(f"is damaged: expected a mapping, found {type(value).__name__}")
    seal = value.pop(SEAL, None)
    if seal is not None and seal != _seal(value):
        raise RecordError(f'was changed after it was written; without its "{SEAL}" line it is taken as it is')
    return convert_record(value, kind)


def convert_record(value: Any, kind: type[T]) -> T:
    """Converts plain mappings, lists and scalars to a dataclass.

    Raises:
        RecordError: a key is unknown, missing, or of another type or range.
    """
    try:
        record: T = convert(node_of(value), kind, "")
    except ConfigError as error:
        first = error.errors[0]
        where = f"{first.key}: " if first.key else ""
        raise RecordError(f"is damaged: {where}{first.message}") from None
    except RecursionError:
        raise RecordError("is damaged: it is nested too deeply") from None
    return record


def parse_json(content: bytes | str) -> Any:
    """Parses JSON strictly: UTF-8, no NaN or infinity, no repeated key, limited depth.

    Raises:
        RecordError: anything else.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        return json.loads(text, parse_constant=_refused, parse_float=_finite, object_pairs_hook=_unique)
    except RecursionError:
        raise RecordError("is damaged: it is nested too deeply") from None
    except UnicodeDecodeError:
        raise RecordError("is damaged: it is not UTF-8 text") from None
    except RecordError:
        raise
    except ValueError as error:  # also of numbers with too many digits
        raise RecordError(f"is damaged: it is not JSON ({error})") from None


def digest_of(content: bytes | memoryview) -> str:
    """Computes the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _seal(value: dict[str, Any]) -> str:
    try:
        return seal_of(value)
    except RecursionError:
        raise RecordError("is damaged: it is nested too deeply") from None


def _refused(name: str) -> Any:
    raise RecordError(f"is damaged: it holds {name}, which is no finite number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refused(text[:20])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RecordError("is damaged: a key is given twice in it")
    return found
