"""What is done to the bytes of a sound file: each mutation is a function of them and a random generator."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

Random = np.random.Generator
Mutation = Callable[[bytes, Random], bytes]

_NUMBERS = (
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"Infinity",
    b"99999999999999999999",
    b"0.5",
    b"null",
    b"true",
    b'"x"',
    b"[]",
    b"{}",
)
_TEXTS = ("", "\x00", "\x1b[31m", "\u202e", "\ud800", "x" * 5000, "../../etc/passwd", "/dev/zero", "nan")
_VALUES: tuple[Any, ...] = (None, True, -1, 0, 1e300, 10**30, -0.5, "", "x", [], {}, [[]], {"a": 1}, *_TEXTS)


def flip_bits(content: bytes, random: Random) -> bytes:
    """A few bits turned."""
    changed = bytearray(content)
    for place in random.integers(0, max(len(changed), 1), random.integers(1, 9)).tolist():
        if changed:
            changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def overwrite(content: bytes, random: Random) -> bytes:
    """A run of bytes replaced by zeros, ones or noise."""
    changed = bytearray(content)
    start, length = int(random.integers(0, max(len(changed), 1))), int(random.integers(1, 65))
    fill = [bytes(length), b"\xff" * length, random.bytes(length)][int(random.integers(3))]
    changed[start : start + length] = fill[: len(changed[start : start + length])]
    return bytes(changed)


def truncate(content: bytes, random: Random) -> bytes:
    """The end is missing."""
    return content[: int(random.integers(0, max(len(content), 1)))]


def splice(content: bytes, random: Random) -> bytes:
    """A piece stands twice, or at another place."""
    start, end = sorted(random.integers(0, len(content) + 1, 2).tolist())
    target = int(random.integers(len(content) + 1))
    return content[:target] + content[start:end] + content[target:]


def insert(content: bytes, random: Random) -> bytes:
    """Bytes that mean something somewhere are put in."""
    target = int(random.integers(len(content) + 1))
    return content[:target] + _NUMBERS[int(random.integers(len(_NUMBERS)))] + content[target:]


def huge_integer(content: bytes, random: Random) -> bytes:
    """Four or eight bytes become a huge number, as lengths and sizes in headers are."""
    changed = bytearray(content)
    width = int(random.choice([4, 8]))
    start = int(random.integers(0, max(min(len(changed), 4096) - width, 1)))
    number = (
        int(random.choice([2**31 - 1, 2**32 - 1, 2**28, 2**20])) if width == 4 else int(random.choice([2**40, 2**62]))
    )
    changed[start : start + width] = number.to_bytes(width, str(random.choice(["little", "big"])))  # type: ignore[arg-type]
    return bytes(changed)


def other_content(content: bytes, random: Random) -> bytes:
    """Something else altogether."""
    choices = (
        b"",
        b"\x00" * 64,
        random.bytes(200),
        b"{}",
        b"[" * 100_000,
        b"PK\x03\x04",
        b"\x80\x04.",
        b"%PDF-1.4\n",
        content[::-1],
    )
    return choices[int(random.integers(len(choices)))]


def json_value(content: bytes, random: Random) -> bytes:
    """A value somewhere in a JSON text becomes another; a key vanishes, or is written otherwise."""
    try:
        lines = [
            json.loads(line)
            for line in ([content] if content.lstrip()[:1] != b"{" or b"\n{" not in content else content.splitlines())
        ]
    except ValueError:
        return insert(content, random)
    value = lines[int(random.integers(len(lines)))]
    _change_somewhere(value, random)
    return "\n".join(json.dumps(line) for line in lines).encode("utf-8", "surrogatepass")


def json_nesting(content: bytes, random: Random) -> bytes:
    """A value becomes a list within lists without end."""
    text = content.decode("utf-8", "replace")
    place = text.find(":", int(random.integers(0, max(len(text), 1)))) + 1
    depth = int(random.choice([50, 2000, 100_000]))
    return (text[:place] + "[" * depth + "]" * depth + "," + text[place:]).encode()


def _change_somewhere(value: Any, random: Random) -> None:
    """Changes one place below `value`, a list or a mapping, in place."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        if not keys:
            return
        key = keys[int(random.integers(len(keys)))]
        child = value[key]
        if isinstance(child, dict | list) and child and random.random() < 0.7:
            value = child
            continue
        action = random.random()
        if action < 0.15:
            del value[key]
        elif action < 0.25 and isinstance(value, dict):
            value[str(key) + "x"] = value.pop(key)
        elif action < 0.35 and isinstance(value, list):
            value.append(child)
        else:
            value[key] = _VALUES[int(random.integers(len(_VALUES)))]
        return


BYTES: tuple[Mutation, ...] = (flip_bits, overwrite, truncate, splice, insert, huge_integer, other_content)
JSON: tuple[Mutation, ...] = (*BYTES, json_value, json_value, json_value, json_nesting)
