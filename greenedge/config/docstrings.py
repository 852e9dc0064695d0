"""What the docstrings of dataclasses and components say, for schemas and listings."""

from __future__ import annotations

import inspect
import re
from typing import Any

_ENTRY = re.compile(r"(\w+): (.*)")


def summary(thing: Any) -> str:
    """The first sentence of a docstring in one line; empty where there is none."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def entries(thing: Any) -> dict[str, str]:
    """The entries of a docstring's `Args:` or `Attributes:` section: name -> text in one line."""
    found: dict[str, str] = {}
    _, header, below = re.split(
        r"^(Args|Attributes):\n", f"{inspect.getdoc(thing) or ''}\nArgs:\n", maxsplit=1, flags=re.M
    )
    lines = below.splitlines() if header else []
    name = ""
    for line in lines:
        if not line.startswith("    "):
            break  # a blank line, or the next section
        entry = _ENTRY.match(line[4:])
        if entry:
            name, text = entry.groups()
            found[name] = text
        elif name:
            found[name] += " " + line.strip()
    return found
